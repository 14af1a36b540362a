// What goes back, of versions.
#include "fs/keys/record_memory.h"

#include <gtest/gtest.h>

#include <functional>
#include <vector>

namespace keyfs {
namespace {

Version version(uint8_t check, const std::string& promoted = "") {
  Version made;
  made.created = "then";
  made.creator = "here";
  made.bytes = 32;
  made.check.emplace().fill(check);
  made.promoted = promoted;
  made.wrapped["a"] = Wrap{"master", "blob", "then", ""};
  return made;
}

// Rotated twice, the first version retired.
Record rotated() {
  Record record;
  record.id = "orders";
  record.versions[1] = version(1);
  record.versions[2] = version(2, "then");
  record.versions[3] = version(3, "now");
  record.current = record.last = 3;
  record.min = 2;
  record.serial = 4;
  return record;
}

using Change = std::function<void(Record&)>;

Record changed(const Change& change) {
  Record record = rotated();
  change(record);
  return record;
}

TEST(RecordMemory, rotating_promoting_retiring_and_destroying_go_forward) {
  const std::vector<Change> changes = {
      [](Record& r) { r.versions[4] = version(4), r.pending = r.last = 4; },
      [](Record& r) { r.versions[4] = version(4, "x"), r.current = r.last = 4, ++r.serial; },
      [](Record& r) { r.current = 2, ++r.serial; },
      [](Record& r) { r.min = 3, ++r.serial; },
      [](Record& r) { r.min = 1, ++r.serial; },
      [](Record& r) { r.versions.at(1).destroyed = "x", r.versions.at(1).wrapped.clear(); },
      [](Record& r) { r.versions.at(2).promoted = "again", r.current = 2, ++r.serial; },
  };
  for (size_t i = 0; i < changes.size(); ++i) {
    const Record now = changed(changes[i]);
    EXPECT_EQ(goes_back(rotated(), now), std::nullopt) << i;
    EXPECT_EQ(goes_back(remembered(rotated()), now), std::nullopt) << i;
  }
}

TEST(RecordMemory, neither_current_nor_min_changes_without_a_higher_serial) {
  const std::vector<Change> changes = {
      [](Record& r) { r.current = 2; },
      [](Record& r) { r.min = 1; },
      [](Record& r) { r.min = 3; },
      [](Record& r) { r.versions[4] = version(4, "x"), r.current = r.last = 4; },
  };
  for (size_t i = 0; i < changes.size(); ++i) {
    for (const uint64_t serial : {0, 4}) {
      Record before = rotated();
      Record now = changed(changes[i]);
      before.serial = now.serial = serial;
      EXPECT_TRUE(goes_back(before, now)) << i << " at serial " << serial;
      if (now.current != before.current) {
        EXPECT_TRUE(goes_back(remembered(before), now)) << i << " at serial " << serial;
      }
    }
  }
}

TEST(RecordMemory, a_lagging_answer_from_before_a_rotation_goes_back) {
  Record before = rotated();
  before.versions.erase(3);
  before.current = before.last = 2;
  before.serial = 3;
  EXPECT_TRUE(goes_back(rotated(), before));
  EXPECT_TRUE(goes_back(remembered(rotated()), before));
}

TEST(RecordMemory, what_was_destroyed_never_lives_again) {
  const Record before = changed(
      [](Record& r) { r.versions.at(1).destroyed = "x", r.versions.at(1).wrapped.clear(); });
  EXPECT_TRUE(goes_back(before, rotated())) << "an old answer";
  for (const uint32_t min : {1u, 2u, 3u}) {
    const Record now = changed([&](Record& r) { r.min = min, ++r.serial; });
    EXPECT_TRUE(goes_back(before, now)) << min;
  }
}

TEST(RecordMemory, every_version_stays_the_key_that_it_was) {
  for (const uint32_t number : {1u, 2u, 3u}) {
    const Record other = changed([&](Record& r) {
      r.versions.at(number).check->front() ^= 1;
      ++r.serial;
    });
    EXPECT_TRUE(goes_back(rotated(), other)) << number;
    const Record gone = changed([&](Record& r) { r.versions.erase(number), ++r.serial; });
    EXPECT_TRUE(goes_back(rotated(), gone)) << number;
  }
}

// The host remembers the current one, also over a restart; a process all that it has seen.
TEST(RecordMemory, what_a_signing_key_is_shown_as_is_part_of_what_it_was) {
  const auto signing = [](const std::string& shown) {
    return changed([&](Record& r) {
      r.kind = std::string(kSigningKind);
      r.versions.at(3).type = "EC_P256";
      r.versions.at(3).public_key = shown;
    });
  };
  const Record before = signing("ours");
  EXPECT_FALSE(goes_back(before, before));
  EXPECT_FALSE(goes_back(remembered(before), before));
  Record type = before;
  type.versions.at(3).type = "EC_P384";
  for (const Record& now : {signing("theirs"), signing(""), type}) {
    EXPECT_TRUE(goes_back(before, now));
    EXPECT_TRUE(goes_back(remembered(before), now));
  }
}

TEST(RecordMemory, a_version_that_was_current_was_current) {
  const Record now = changed([](Record& r) { r.versions.at(2).promoted.clear(), ++r.serial; });
  EXPECT_TRUE(goes_back(rotated(), now));
}

}  // namespace
}  // namespace keyfs
