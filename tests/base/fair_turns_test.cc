#include "base/fair_turns.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "base/race.h"
#include "support/fake_time.h"

namespace keyfs::testing {
namespace {

using namespace std::chrono_literals;

struct FairTurnsTest : ::testing::Test {
  // Work of a user, which takes a second once it is its turn.
  struct Job {
    Job(FairTurnsTest& the_test, ForUser user, std::string the_name)
        : test(the_test), ticket(user), name(std::move(the_name)) {}
    Task<bool> run() {
      FairTurns::Turn turn = co_await test.turns->take(ticket);
      test.begun.push_back(name);
      co_await test.time.loop.sleep_for(1s);
      co_return true;
    }
    FairTurnsTest& test;
    FairTurns::Ticket ticket;
    std::string name;
  };
  Job& start(ForUser user, const std::string& name) {
    jobs.push_back(std::make_unique<Job>(*this, user, name));
    numbers.push_back(group.start(jobs.back()->run()));
    return *jobs.back();
  }
  void settle() {
    for (int i = 0; i < 50; ++i) time.loop.turn(false);
  }
  void pass(Duration duration) {
    const auto sleep = [&]() -> Task<bool> {
      co_await time.loop.sleep_for(duration);
      co_return true;
    };
    time.loop.run_task(sleep());
    settle();
  }

  FakeTimeLoop time;
  std::unique_ptr<FairTurns> turns = std::make_unique<FairTurns>(time.loop, 4);
  std::vector<std::string> begun;
  std::vector<std::unique_ptr<Job>> jobs;
  std::vector<size_t> numbers;
  TaskGroup<bool> group{time.loop};
};

TEST_F(FairTurnsTest, a_user_alone_has_half_and_another_gets_one_at_once) {
  for (int i = 0; i < 10; ++i) start(1, "a" + std::to_string(i));
  settle();
  EXPECT_EQ(begun, (std::vector<std::string>{"a0", "a1"}));
  EXPECT_EQ(turns->waiting(), 8u);
  start(2, "b0");
  start(2, "b1");
  settle();
  EXPECT_EQ(begun.size(), 3u);
  EXPECT_EQ(begun.back(), "b0");
  start(3, "c0");
  settle();
  EXPECT_EQ(begun.back(), "c0");
  EXPECT_EQ(turns->free(), 0u);
}

TEST_F(FairTurnsTest, turns_go_round_the_users_and_within_one_in_order) {
  turns = std::make_unique<FairTurns>(time.loop, 1, FairTurns::Shares::kNone);
  for (int i = 0; i < 3; ++i) start(1, "a" + std::to_string(i));
  for (int i = 0; i < 2; ++i) start(2, "b" + std::to_string(i));
  start(std::nullopt, "k");
  settle();
  for (int i = 0; i < 6; ++i) pass(1s);
  EXPECT_EQ(begun, (std::vector<std::string>{"a0", "b0", "k", "a1", "b1", "a2"}));
  EXPECT_EQ(turns->free(), 1u);
}

TEST_F(FairTurnsTest, what_another_user_joins_has_that_users_turn) {
  for (int i = 0; i < 10; ++i) start(1, "a" + std::to_string(i));
  settle();
  jobs[9]->ticket.join(2);
  settle();
  EXPECT_EQ(begun.back(), "a9");
  pass(1s);
  EXPECT_EQ(begun, (std::vector<std::string>{"a0", "a1", "a9", "a2", "a3"}));
}

TEST_F(FairTurnsTest, who_leaves_gives_back_the_place_or_the_turn) {
  for (int i = 0; i < 4; ++i) start(1, "a" + std::to_string(i));
  settle();
  group.cancel(numbers[2]);  // waits
  EXPECT_EQ(turns->waiting(), 1u);
  group.cancel(numbers[0]);  // has a turn
  settle();
  EXPECT_EQ(begun, (std::vector<std::string>{"a0", "a1", "a3"}));
  for (const size_t number : {numbers[1], numbers[3]}) group.cancel(number);
  EXPECT_EQ(turns->free(), 4u);
  EXPECT_EQ(turns->waiting(), 0u);
}

TEST_F(FairTurnsTest, who_leaves_between_being_given_a_turn_and_taking_it_gives_it_on) {
  turns = std::make_unique<FairTurns>(time.loop, 1, FairTurns::Shares::kNone);
  for (int i = 0; i < 3; ++i) start(1, "a" + std::to_string(i));
  settle();
  group.cancel(numbers[0]);  // a1 has it now, and has not run yet
  group.cancel(numbers[1]);
  settle();
  EXPECT_EQ(begun, (std::vector<std::string>{"a0", "a2"}));
}

}  // namespace
}  // namespace keyfs::testing
