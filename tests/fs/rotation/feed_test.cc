#include "fs/rotation/feed.h"

#include "fs/rotation/fleet.h"

namespace keyfs::testing {
namespace {

class Feed : public ::testing::Test {
 protected:
  Feed() {
    FleetOptions options;
    options.watches = false;
    fleet.emplace(options);
    web = &fleet->add("web");
    other = &fleet->add("other");
  }
  void tell(std::vector<std::string> ids, uint64_t tickets = 0) {
    PulseNews news;
    news.changed = std::move(ids);
    news.tickets = tickets;
    ASSERT_TRUE(fleet->ask(
        tell_pulse(other->board, other->loop, other->random, news, 2, other->loop.now() + 10s)));
  }
  std::optional<Fleet> fleet;
  SimHost* web = nullptr;
  SimHost* other = nullptr;
};

TEST_F(Feed, changed_records_are_told_within_36_s_and_once) {
  tell({"old"});
  web->start(false);
  fleet->pass(1s);
  EXPECT_EQ(web->gaps, 1);  // what was cached before the first look may be old
  tell({"a", "b", "a"});
  fleet->pass(36s);
  EXPECT_EQ(web->changed, (std::vector<std::string>{"a", "b"}));
  fleet->pass(5min);
  EXPECT_EQ(web->changed.size(), 2u);
  EXPECT_EQ(web->gaps, 1);
}

TEST_F(Feed, more_than_64_missed_are_a_gap) {
  tell({"old"});
  web->start(false);
  fleet->pass(1s);
  std::vector<std::string> ids;
  for (int i = 0; i < 65; ++i) ids.push_back("k" + std::to_string(i));
  tell(ids);
  fleet->pass(36s);
  EXPECT_EQ(web->gaps, 2);
  EXPECT_TRUE(web->changed.empty());
}

TEST_F(Feed, another_pulse_under_the_name_is_a_gap) {
  tell({"old"});
  web->start(false);
  fleet->pass(1s);
  const auto there = fleet->shared.documents->find(pulse_name(0));
  fleet->shared.documents->remove(pulse_name(0), there->revision);
  tell({"x"});
  fleet->pass(36s);
  EXPECT_EQ(web->gaps, 2);
}

TEST_F(Feed, an_older_copy_is_not_looked_at) {
  tell({"a"});
  const auto old = *fleet->shared.documents->find(pulse_name(0));
  tell({"b"});
  web->start(false);
  fleet->pass(1s);
  EXPECT_EQ(web->gaps, 1);
  web->board.old[pulse_name(0)] = old;
  fleet->pass(2min);
  web->board.old.clear();
  fleet->pass(2min);
  EXPECT_EQ(web->gaps, 1);
  EXPECT_TRUE(web->changed.empty());
}

TEST_F(Feed, an_older_pulse_that_a_strong_read_confirms_is_of_a_restored_board_and_a_gap) {
  tell({"a"});
  const auto backup = *fleet->shared.documents->find(pulse_name(0));
  tell({"b"});
  web->start(false);
  fleet->pass(1s);
  const auto there = *fleet->shared.documents->find(pulse_name(0));
  fleet->shared.documents->write(pulse_name(0), backup.text, there.revision);
  fleet->pass(2min);
  EXPECT_EQ(web->gaps, 2);
  EXPECT_EQ(web->log.count("the board is another one than before"), 1u);
  tell({"c"});
  fleet->pass(36s);
  EXPECT_EQ(web->changed, std::vector<std::string>{"c"});
}

TEST_F(Feed, a_board_that_is_silent_is_told_of_once) {
  tell({"a"});
  web->start(false);
  fleet->pass(1s);
  web->board.error = Error(Code::kUnavailable, "no answer");
  fleet->pass(10min);
  EXPECT_EQ(web->log.count("the board is silent"), 1u);
  web->board.error.reset();
  tell({"b"});
  fleet->pass(1min);
  EXPECT_EQ(web->changed, std::vector<std::string>{"b"});
}

TEST_F(Feed, each_copy_of_the_pulse_is_told) {
  tell({"a"}, 3);
  for (unsigned shard = 0; shard < 2; ++shard) {
    const auto pulse = parse_pulse(fleet->shared.documents->find(pulse_name(shard))->text);
    EXPECT_EQ(pulse->changed, std::vector<std::string>{"a"});
    EXPECT_EQ(pulse->tickets, 3u);
  }
}

}  // namespace
}  // namespace keyfs::testing
