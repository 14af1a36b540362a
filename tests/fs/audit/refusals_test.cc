#include "fs/audit/refusals.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <set>
#include <string>
#include <vector>

#include "support/fake_clock.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;

struct RefusalsTest : ::testing::Test {
  void add(const std::string& id, uid_t uid = 1, int error = EACCES) {
    AuditEvent event;
    event.key = cache.acquire(id);
    event.uid = uid;
    event.error = error;
    event.verdict = AuditVerdict::kDenied;
    refusals.add(std::move(event), clock.now());
    ++added;
  }
  std::vector<AuditEvent> take(bool all = false) {
    std::vector<AuditEvent> lines;
    refusals.take(lines, clock.now(), all);
    for (const AuditEvent& line : lines) told += line.count;
    written += lines.size();
    return lines;
  }
  // Advances the time and takes what is due, like the writer.
  void pass(Duration time) {
    for (Duration gone{}; gone < time; gone += 50ms) {
      clock.advance(50ms);
      take();
    }
  }

  FakeClock clock;
  KeyCache cache{CacheOptions{}};
  Refusals refusals;
  uint64_t added = 0;
  uint64_t told = 0;
  size_t written = 0;
};

TEST_F(RefusalsTest, a_few_in_a_second_are_lines_of_their_own_each_second_anew) {
  for (int second = 0; second < 10; ++second) {
    for (int i = 0; i < 5; ++i) add("a");
    const auto lines = take();
    ASSERT_EQ(lines.size(), 5u);
    for (const AuditEvent& line : lines) EXPECT_EQ(line.count, 1u);
    pass(1100ms);
  }
}

TEST_F(RefusalsTest, a_flood_is_a_line_every_ten_seconds_and_every_one_is_counted) {
  for (int i = 0; i < 60 * 20; ++i) {
    for (int n = 0; n < 50; ++n) add("a");
    pass(50ms);
  }
  EXPECT_LE(written, 5u + 1u + 6u);
  take(true);
  EXPECT_EQ(told, added);
}

TEST_F(RefusalsTest, users_ids_and_errors_are_counted_apart) {
  for (int i = 0; i < 10; ++i) {
    add("a", 1);
    add("a", 2);
    add("b", 1);
    add("a", 1, EIO);
  }
  EXPECT_EQ(take().size(), 20u);
  clock.advance(1s);
  const auto sums = take();
  ASSERT_EQ(sums.size(), 4u);
  for (const AuditEvent& sum : sums) EXPECT_EQ(sum.count, 5u);
}

TEST_F(RefusalsTest, signing_keys_have_no_entry_and_are_counted_apart_by_their_ids) {
  const auto refuse = [this](const std::string& id) {
    AuditEvent event;
    event.kind = AuditEvent::Kind::kSign;
    auto facts = std::make_shared<SigningFacts>();
    facts->id = id;
    event.signing = facts;
    event.uid = 1;
    event.error = EACCES;
    event.verdict = AuditVerdict::kDenied;
    refusals.add(std::move(event), clock.now());
    ++added;
  };
  for (int i = 0; i < 10; ++i) {
    refuse("ca");
    refuse("cb");
    add("ca");
  }
  EXPECT_EQ(take().size(), 15u);
  clock.advance(1s);
  EXPECT_EQ(take().size(), 3u);
  for (int i = 0; i < 10'000; ++i) refuse("probe-" + std::to_string(i));
  EXPECT_LE(refusals.size(), 1u + RefusalLimits().ids);
  take(true);
  EXPECT_EQ(told, added);
}

TEST_F(RefusalsTest, ids_beyond_the_table_are_one_line_of_their_user_and_others_keep_theirs) {
  for (int i = 0; i < 100'000; ++i) add("probe-" + std::to_string(i), 1);
  EXPECT_LE(refusals.size(), 1u + RefusalLimits().ids);
  EXPECT_LT(cache.usage().entries, 200u);
  add("orders", 2);
  clock.advance(1s);
  bool others = false;
  bool second_user = false;
  for (const AuditEvent& line : take()) {
    if (!line.key) {
      others = true;
      EXPECT_EQ(line.uid, 1u);
      EXPECT_FALSE(line.anybody);
      EXPECT_EQ(line.count, 100'000u - RefusalLimits().ids);
    }
    second_user |= line.uid == 2u && line.key && line.key->id() == "orders";
  }
  EXPECT_TRUE(others);
  EXPECT_TRUE(second_user);
  EXPECT_EQ(told, added);
}

TEST_F(RefusalsTest, what_one_user_can_write_is_bounded_whatever_it_tries) {
  // Always other ids, always a few of each, for ten minutes.
  uint64_t next = 0;
  for (int i = 0; i < 600 * 4; ++i) {
    for (int id = 0; id < 8; ++id, ++next) {
      for (int n = 0; n < 6; ++n) add("probe-" + std::to_string(next % 5000));
    }
    clock.advance(250ms);
    take();
  }
  EXPECT_LE(written, 100u + 2 * 600u + 60u + 1u);
  take(true);
  EXPECT_EQ(told, added);
}

TEST_F(RefusalsTest, users_beyond_the_table_are_counted_together) {
  for (uid_t uid = 0; uid < 10'000; ++uid) add("a", uid);
  EXPECT_LE(refusals.size(), 2 * RefusalLimits().users);
  take(true);
  EXPECT_EQ(told, added);
}

TEST_F(RefusalsTest, nothing_stays_when_it_is_over) {
  for (uid_t uid = 0; uid < 100; ++uid) {
    for (int i = 0; i < 200; ++i) add("id-" + std::to_string(i % 50), uid);
  }
  pass(3min);
  EXPECT_EQ(told, added);
  EXPECT_EQ(refusals.size(), 0u);
  EXPECT_FALSE(refusals.counting());
  EXPECT_EQ(cache.usage().entries, 0u);
}

}  // namespace
}  // namespace keyfs
