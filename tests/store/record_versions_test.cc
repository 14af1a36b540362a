#include "store/record_versions.h"

#include <gtest/gtest.h>

#include <chrono>

#include "base/clock.h"

namespace keyfs {
namespace {

Version made_by(const std::string& token, const std::string& promoted = "") {
  Version version;
  version.token = token;
  version.promoted = promoted;
  return version;
}

// 1 by creation, 2 and 4 by rotations, 3 superseded, 5 held.
Record rotated() {
  Record record;
  record.versions[1] = Version();
  record.versions[2] = made_by("t2", "then");
  record.versions[3] = made_by("t3");
  record.versions[4] = made_by("t4", "now");
  record.versions[5] = made_by("t5");
  record.current = 4;
  record.pending = record.last = 5;
  return record;
}

TEST(RecordVersions, what_was_current_is_readable_and_what_never_was_is_pending) {
  const Record record = rotated();
  EXPECT_EQ(readable_versions(record), (std::vector<uint32_t>{1, 2, 4}));
  EXPECT_EQ(version_state(record, 0), VersionState::kNever);
  EXPECT_EQ(version_state(record, 6), VersionState::kNever);
  EXPECT_EQ(version_state(record, 3), VersionState::kPending);
  EXPECT_EQ(version_state(record, 5), VersionState::kPending);
  EXPECT_EQ(version_state(record, 4), VersionState::kReadable);
}

TEST(RecordVersions, the_current_one_is_readable_whoever_made_it_current) {
  Record record = rotated();
  record.current = 3;  // by something that does not know `promoted`
  EXPECT_EQ(version_state(record, 3), VersionState::kReadable);
}

TEST(RecordVersions, those_below_min_are_retired_and_destroyed_ones_stay_so_above_it) {
  Record record = rotated();
  record.min = 4;
  record.versions.at(2).destroyed = "then";
  EXPECT_EQ(version_state(record, 1), VersionState::kRetired);
  EXPECT_EQ(version_state(record, 2), VersionState::kDestroyed);
  EXPECT_EQ(version_state(record, 3), VersionState::kRetired);
  EXPECT_EQ(readable_versions(record), (std::vector<uint32_t>{4}));
  record.min = 1;
  EXPECT_EQ(version_state(record, 2), VersionState::kDestroyed);
  EXPECT_EQ(readable_versions(record), (std::vector<uint32_t>{1, 4}));
}

TEST(RecordVersions, a_number_is_never_free_again_and_a_token_names_its_version) {
  Record record = rotated();
  EXPECT_EQ(last_version(record), 5u);
  record.last = 9;
  EXPECT_EQ(last_version(record), 9u);
  record.last = 0;  // of the first release
  EXPECT_EQ(last_version(record), 5u);
  EXPECT_EQ(last_version(Record()), 0u);
  EXPECT_EQ(newest_promoted(record), 4u);
  record.current = 1;
  EXPECT_EQ(newest_promoted(record), 4u) << "it was current once";
  EXPECT_EQ(version_of_token(record, "t3"), 3u);
  EXPECT_EQ(version_of_token(record, "t1"), 0u);
  EXPECT_EQ(version_of_token(record, ""), 0u) << "version 1 has none";
}

TEST(RecordVersions, the_one_before_the_current_is_told_by_their_times_and_not_by_their_numbers) {
  const auto at = [](int second) { return to_rfc3339(WallTime(std::chrono::seconds(second))); };
  Record record;
  record.versions[1].created = at(100);
  record.current = 1;
  EXPECT_EQ(previous_current(record), 0u);
  record.versions[2] = made_by("t2", at(200));
  record.current = 2;
  EXPECT_EQ(previous_current(record), 1u);
  record.versions[3] = made_by("t3", at(300));
  record.versions[4] = made_by("t4");  // held
  record.current = 3;
  EXPECT_EQ(previous_current(record), 2u);
  record.versions[1].promoted = at(400);  // back, by hand
  record.current = 1;
  EXPECT_EQ(previous_current(record), 3u);
  record.versions[4].promoted = at(400);
  record.current = 4;
  EXPECT_EQ(previous_current(record), 1u);
  record.versions[5] = made_by("t5", at(400));
  record.current = 5;
  EXPECT_EQ(previous_current(record), 4u) << "the higher one of two in one second";
  EXPECT_EQ(previous_current(Record()), 0u);
}

}  // namespace
}  // namespace keyfs
