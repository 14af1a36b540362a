#include "base/race.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "support/fake_time.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;
using Shared = Result<std::shared_ptr<const std::string>>;
using Flights = SingleFlight<Shared>;

Task<Result<int>> give_after(Loop& loop, Duration delay, int value) {
  co_await loop.sleep_for(delay);
  co_return value;
}

TEST(TaskGroup, next_gives_up_at_its_time_and_the_tasks_go_on) {
  testing::FakeTimeLoop time;
  const auto work = [&]() -> Task<std::vector<int>> {
    std::vector<int> seen;
    TaskGroup<Result<int>> group(time.loop);
    group.start(give_after(time.loop, 5s, 7));
    auto early = co_await group.next(time.loop.now() + 1s);
    seen.push_back(early ? 1 : 0);
    auto later = co_await group.next();
    seen.push_back(*later->value);
    co_return seen;
  };
  EXPECT_EQ(time.loop.run_task(work()), (std::vector{0, 7}));
}

TEST(Before, a_task_that_is_in_time_gives_its_result) {
  testing::FakeTimeLoop time;
  auto task = before(time.loop, time.loop.now() + 2s, "read", give_after(time.loop, 1s, 7));
  EXPECT_EQ(*time.loop.run_task(std::move(task)), 7);
}

TEST(Before, a_late_task_is_a_timeout_that_says_what_and_how_long) {
  testing::FakeTimeLoop time;
  auto task = before(time.loop, time.loop.now() + 2s, "region a", give_after(time.loop, 1h, 7));
  const auto result = time.loop.run_task(std::move(task));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Code::kTimeout);
  EXPECT_EQ(result.error().message, "region a: timed out after 2s");
}

struct FlightTest : ::testing::Test {
  Flights::Work slow_work(Duration delay) {
    return [this, delay](Flights::Flight& flight) -> Task<Shared> {
      return work(this, &flight, delay);
    };
  }
  static Task<Shared> work(FlightTest* self, Flights::Flight* flight, Duration delay) {
    ++self->started;
    if (self->pin) flight->pin();
    co_await self->time.loop.sleep_for(delay);
    ++self->finished;
    co_return std::make_shared<const std::string>("done");
  }

  testing::FakeTimeLoop time;
  Flights flights{time.loop};
  int started = 0;
  int finished = 0;
  bool pin = false;
};

TEST_F(FlightTest, a_thousand_waiters_of_one_key_share_one_flight) {
  TaskGroup<Shared> group(time.loop);
  for (int i = 0; i < 1000; ++i) group.start(flights.join("a", slow_work(1s)));
  const auto all = [&]() -> Task<int> {
    int served = 0;
    while (auto one = co_await group.next()) served += **one->value == "done";
    co_return served;
  };
  EXPECT_EQ(time.loop.run_task(all()), 1000);
  EXPECT_EQ(started, 1);
  EXPECT_EQ(flights.size(), 0u);
}

TEST_F(FlightTest, different_keys_fly_apart) {
  TaskGroup<Shared> group(time.loop);
  group.start(flights.join("a", slow_work(1s)));
  group.start(flights.join("b", slow_work(1s)));
  time.loop.turn(false);
  time.loop.turn(false);
  EXPECT_EQ(started, 2);
}

TEST_F(FlightTest, a_waiter_that_leaves_does_not_disturb_the_others) {
  TaskGroup<Shared> group(time.loop);
  const size_t first = group.start(flights.join("a", slow_work(1s)));
  group.start(flights.join("a", slow_work(1s)));
  time.loop.turn(false);
  time.loop.turn(false);
  group.cancel(first);
  const auto rest = [&]() -> Task<bool> { co_return (co_await group.next()).has_value(); };
  EXPECT_TRUE(time.loop.run_task(rest()));
  EXPECT_EQ(finished, 1);
}

TEST_F(FlightTest, the_last_waiter_out_cancels_the_flight) {
  {
    TaskGroup<Shared> group(time.loop);
    group.start(flights.join("a", slow_work(1s)));
    group.start(flights.join("a", slow_work(1s)));
    time.loop.turn(false);
    time.loop.turn(false);
    EXPECT_EQ(started, 1);
  }
  EXPECT_FALSE(flights.in_flight("a"));
  EXPECT_EQ(finished, 0);
}

TEST_F(FlightTest, a_pinned_flight_goes_on_with_nobody_waiting_and_can_be_joined_again) {
  pin = true;
  {
    TaskGroup<Shared> group(time.loop);
    group.start(flights.join("a", slow_work(1s)));
    time.loop.turn(false);
    time.loop.turn(false);
  }
  EXPECT_TRUE(flights.in_flight("a"));
  EXPECT_TRUE(time.loop.run_task(flights.join("a", slow_work(1s))).has_value());
  EXPECT_EQ(started, 1);
  EXPECT_EQ(finished, 1);
}

}  // namespace
}  // namespace keyfs
