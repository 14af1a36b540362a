// What boards share: names, marks, the pulse, changing a document.
#include "store/board.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/race.h"
#include "store/board_marks.h"
#include "store/board_update.h"
#include "store/pulse.h"
#include "support/fake_random.h"
#include "support/fake_time.h"
#include "support/memory_board.h"

namespace keyfs::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class BoardTest : public ::testing::Test {
 protected:
  template <class T>
  T run(Task<T> task) {
    return time_.loop.run_task(std::move(task));
  }
  TimePoint soon() { return time_.loop.now() + 10s; }
  Result<void> note(std::vector<std::string> ids, unsigned shards = 1) {
    PulseNews news;
    news.changed = std::move(ids);
    return run(tell_pulse(faulty_, time_.loop, random_, std::move(news), shards, soon()));
  }
  Pulse pulse(unsigned shard = 0) {
    const auto found = run(board_.peek(pulse_name(shard), soon()));
    EXPECT_TRUE(found && *found);
    auto pulse = parse_pulse((*found)->text);
    EXPECT_TRUE(pulse) << pulse.error().message;
    return pulse ? *pulse : Pulse{};
  }

  FakeTimeLoop time_;
  FakeRandom random_;
  std::shared_ptr<MemoryDocuments> documents_ = std::make_shared<MemoryDocuments>();
  MemoryBoard board_{time_.loop, documents_};
  FaultyBoard faulty_{time_.loop, board_};
};

TEST(BoardMarks, a_write_is_found_in_the_trail_until_seven_others_have_followed) {
  FakeRandom random;
  const std::string mine = *new_board_mark(random);
  std::string trail = board_trail(mine, "");
  for (size_t others = 0; others < kBoardMarks; ++others) {
    EXPECT_TRUE(is_board_trail(trail)) << trail;
    EXPECT_TRUE(has_board_mark(trail, mine)) << others;
    trail = board_trail(*new_board_mark(random), trail);
  }
  EXPECT_FALSE(has_board_mark(trail, mine));
  EXPECT_TRUE(is_board_trail(trail));
  EXPECT_EQ(trail.size(), kBoardMarks * (kBoardMarkSize + 1) - 1);
}

TEST(BoardMarks, other_texts_are_no_trails) {
  const std::string mark(kBoardMarkSize, 'a');
  EXPECT_TRUE(is_board_trail(mark));
  for (const std::string& text :
       {std::string(), std::string("a"), mark + ",", mark + " " + mark, mark + mark,
        std::string(kBoardMarkSize, 'A'), std::string(kBoardMarkSize, 'g'), "," + mark}) {
    EXPECT_FALSE(is_board_trail(text)) << text;
  }
  // Not one that begins within another.
  EXPECT_FALSE(has_board_mark(mark + "," + std::string(kBoardMarkSize, 'b'),
                              std::string(kBoardMarkSize - 1, 'a') + ","));
}

TEST_F(BoardTest, a_change_is_made_anew_on_what_somebody_else_has_written) {
  int calls = 0;
  faulty_.before_write = [&] { documents_->write("run/head", R"(["b"])", ""); };
  const ChangeDocument change =
      [&](const BoardDocument* there) -> Result<std::optional<std::string>> {
    ++calls;
    return there == nullptr ? R"(["a"])" : R"(["b","a"])";
  };
  const auto changed = run(update_document(faulty_, time_.loop, "run/head", change, soon()));
  ASSERT_TRUE(changed && *changed);
  EXPECT_EQ((*changed)->text, R"(["b","a"])");
  EXPECT_EQ(calls, 2);
  EXPECT_EQ(faulty_.reads, 1) << "what was in the way came with the answer";
}

TEST_F(BoardTest, a_change_that_leaves_all_as_it_is_writes_nothing_and_one_that_fails_is_told) {
  const ChangeDocument keep = [](const BoardDocument*) -> Result<std::optional<std::string>> {
    return std::nullopt;
  };
  const auto kept = run(update_document(faulty_, time_.loop, "run/head", keep, soon()));
  ASSERT_TRUE(kept);
  EXPECT_FALSE(*kept);
  const ChangeDocument fails = [](const BoardDocument*) -> Result<std::optional<std::string>> {
    return fail(Code::kCorrupt, "no");
  };
  EXPECT_EQ(run(update_document(faulty_, time_.loop, "run/head", fails, soon())).error().code,
            Code::kCorrupt);
  EXPECT_EQ(faulty_.writes, 0);
}

TEST_F(BoardTest, who_never_gets_through_gives_up_at_the_deadline) {
  const ChangeDocument change =
      [&](const BoardDocument* there) -> Result<std::optional<std::string>> {
    const std::string old = there == nullptr ? "" : there->revision;
    documents_->write("run/head", "2", old);  // somebody else, each time
    return "1";
  };
  const auto changed = run(update_document(faulty_, time_.loop, "run/head", change, soon()));
  ASSERT_FALSE(changed);
  EXPECT_EQ(changed.error().code, Code::kTimeout);
}

TEST_F(BoardTest, the_pulse_tells_what_changed_since_a_place_and_each_id_once) {
  ASSERT_TRUE(note({"a"}));
  const PulsePlace seen = pulse().place;
  EXPECT_THAT(*pulse().since(seen), IsEmpty());
  ASSERT_TRUE(note({"b", "c"}));
  ASSERT_TRUE(note({"b"}));
  EXPECT_THAT(*pulse().since(seen), ElementsAre("b", "c"));
  EXPECT_FALSE(pulse().since(PulsePlace{})) << "who has seen none does not know what it missed";
}

TEST_F(BoardTest, who_missed_64_changes_hears_of_all_and_who_missed_more_of_a_gap) {
  ASSERT_TRUE(note({"first"}));
  const PulsePlace first = pulse().place;
  ASSERT_TRUE(note({"second"}));
  const PulsePlace second = pulse().place;
  for (int i = 0; i < 64; ++i) ASSERT_TRUE(note({"id" + std::to_string(i)}));
  EXPECT_EQ(pulse().since(second)->size(), 64u);
  EXPECT_FALSE(pulse().since(first));
}

TEST_F(BoardTest, a_pulse_of_long_ids_stays_small_and_tells_of_a_gap_sooner) {
  ASSERT_TRUE(note({"first"}));
  const PulsePlace first = pulse().place;
  for (int i = 0; i < 64; ++i) ASSERT_TRUE(note({std::string(253, 'x') + std::to_string(i)}));
  const auto found = run(board_.peek(pulse_name(), soon()));
  EXPECT_LE((*found)->text.size(), kMaxPulseBytes);
  EXPECT_FALSE(pulse().since(first));
  PulsePlace recent = pulse().place;
  recent.serial -= 5;
  EXPECT_EQ(pulse().since(recent)->size(), 5u);
}

TEST_F(BoardTest, another_pulse_under_the_same_name_or_an_older_one_is_a_gap) {
  ASSERT_TRUE(note({"a"}));
  const PulsePlace seen = pulse().place;
  const std::string text = (*run(board_.get(pulse_name(), soon())))->text;
  ASSERT_TRUE(note({"b"}));
  const PulsePlace later = pulse().place;
  auto there = *run(board_.get(pulse_name(), soon()));
  documents_->write(pulse_name(), text, there->revision);  // restored from a backup
  EXPECT_FALSE(pulse().since(later));
  there = *run(board_.get(pulse_name(), soon()));
  documents_->remove(pulse_name(), there->revision);
  ASSERT_TRUE(note({"c"}));
  ASSERT_TRUE(note({"d"}));
  EXPECT_FALSE(pulse().since(seen));
}

TEST_F(BoardTest, a_damaged_pulse_is_made_anew_by_the_next_change) {
  ASSERT_TRUE(note({"a"}));
  const PulsePlace seen = pulse().place;
  for (const char* text : {"{}", "[]", "1", R"({"life":"x","serial":-1})",
                           R"({"life":"x","serial":0,"changed":["a"],"tickets":0,"run":""})",
                           R"({"life":"","serial":0,"changed":[],"tickets":0,"run":""})"}) {
    EXPECT_EQ(parse_pulse(text).error().code, Code::kCorrupt) << text;
  }
  const auto there = *run(board_.get(pulse_name(), soon()));
  documents_->write(pulse_name(), "{}", there->revision);
  ASSERT_TRUE(note({"b"}));
  EXPECT_FALSE(pulse().since(seen));
}

TEST_F(BoardTest, a_pulse_keeps_what_rotation_has_put_into_it) {
  Pulse mine;
  mine.place = {"life", 3};
  mine.tickets = 7;
  mine.run = "run-1";
  documents_->write(pulse_name(), to_text(mine), "");
  ASSERT_TRUE(note({"a"}));
  EXPECT_EQ(pulse().place, (PulsePlace{"life", 4}));
  EXPECT_EQ(pulse().tickets, 7u);
  EXPECT_EQ(pulse().run, "run-1");
}

TEST_F(BoardTest, hosts_are_spread_evenly_over_the_copies_and_stay_with_theirs) {
  std::vector<int> hosts(5);
  for (int i = 0; i < 1000; ++i) {
    const std::string host = "web-" + std::to_string(i);
    const unsigned shard = pulse_shard(host, 5);
    ASSERT_LT(shard, 5u);
    EXPECT_EQ(shard, pulse_shard(host, 5));
    EXPECT_EQ(pulse_shard(host, 1), 0u);
    ++hosts[shard];
  }
  for (const int here : hosts) EXPECT_NEAR(here, 200, 60);
}

TEST_F(BoardTest, a_change_is_noted_in_each_of_the_copies) {
  ASSERT_TRUE(note({"a"}, 3));
  for (const unsigned shard : {0u, 1u, 2u}) {
    EXPECT_THAT(pulse(shard).changed, ElementsAre("a")) << shard;
  }
  faulty_.error.emplace(Code::kUnavailable, "out");
  EXPECT_THAT(note({"b"}).error().message, HasSubstr("the pulse could not be changed"));
}

}  // namespace
}  // namespace keyfs::testing
