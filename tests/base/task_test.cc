#include "base/task.h"

#include <gtest/gtest.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "base/loop.h"
#include "base/race.h"
#include "base/worker.h"
#include "support/fake_time.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;

// Counts how many of it are alive, to see that a cancelled frame is really gone.
struct Alive {
  explicit Alive(int& count) : count(count) { ++count; }
  ~Alive() { --count; }
  Alive(const Alive&) = delete;
  Alive& operator=(const Alive&) = delete;
  int& count;
};

Task<int> give(int value) { co_return value; }

Task<int> give_after(Loop& loop, Duration delay, int value) {
  co_await loop.sleep_for(delay);
  co_return value;
}

TEST(Task, a_million_synchronous_awaits_do_not_overflow_the_stack) {
  testing::FakeTimeLoop time;
  const auto sum = [](int rounds) -> Task<long> {
    long total = 0;
    for (int i = 0; i < rounds; ++i) total += co_await give(i);
    co_return total;
  };
  EXPECT_EQ(time.loop.run_task(sum(1'000'000)), 499'999'500'000);
}

TEST(Task, an_exception_reaches_the_one_who_awaits) {
  testing::FakeTimeLoop time;
  const auto thrower = []() -> Task<int> {
    throw std::runtime_error("no");
    co_return 1;
  };
  const auto catcher = [&]() -> Task<std::string> {
    try {
      co_await thrower();
    } catch (const std::runtime_error& error) {
      co_return error.what();
    }
    co_return "nothing";
  };
  EXPECT_EQ(time.loop.run_task(catcher()), "no");
}

TEST(Task, dropping_a_task_destroys_every_frame_below_it_and_its_timers) {
  testing::FakeTimeLoop time;
  int alive = 0;
  const auto inner = [&]() -> Task<int> {
    Alive here(alive);
    co_await time.loop.sleep_for(1h);
    co_return 1;
  };
  const auto outer = [&]() -> Task<int> {
    Alive here(alive);
    co_return co_await inner();
  };
  {
    TaskGroup<int> group(time.loop);
    group.start(outer());
    time.loop.turn(false);
    EXPECT_EQ(alive, 2);
  }
  EXPECT_EQ(alive, 0);
  const TimePoint before = time.clock.now();
  time.loop.run_task(give(1));
  EXPECT_EQ(time.clock.now(), before) << "a timer of the dropped task was still there";
}

TEST(Task, a_task_that_is_due_can_still_be_dropped) {
  testing::FakeTimeLoop time;
  bool ran = false;
  const auto work = [&]() -> Task<int> {
    co_await time.loop.yield();
    ran = true;
    co_return 1;
  };
  {
    TaskGroup<int> group(time.loop);
    group.start(work());
    time.loop.turn(false);  // it is now in the ready queue
  }
  time.loop.turn(false);
  EXPECT_FALSE(ran);
}

TEST(Loop, what_is_made_ready_in_a_turn_waits_for_the_next_so_that_nobody_starves) {
  testing::FakeTimeLoop time;
  int spins = 0;
  int posted_after = -1;
  const auto spinner = [&]() -> Task<void> {
    for (;;) {
      ++spins;
      co_await time.loop.yield();
    }
  };
  time.loop.spawn(spinner());
  time.loop.turn(false);
  time.loop.post([&] { posted_after = spins; });
  time.loop.turn(false);
  EXPECT_EQ(posted_after, 1);
}

struct CountingPoller final : Poller {
  void wait(std::optional<Duration>) override { ++waits; }
  void wake() override { ++wakes; }
  int waits = 0;
  int wakes = 0;
};

TEST(Loop, what_goes_through_several_hands_costs_one_look_at_the_network) {
  testing::FakeTimeLoop time;
  CountingPoller poller;
  Loop loop(time.clock, poller);
  loop.run_task([](Loop& on) -> Task<void> {
    for (int hand = 0; hand < 8; ++hand) co_await on.yield();
  }(loop));
  EXPECT_EQ(poller.waits, 1);
}

TEST(Loop, a_task_that_never_rests_does_not_keep_the_network_waiting) {
  testing::FakeTimeLoop time;
  CountingPoller poller;
  Loop loop(time.clock, poller);
  const int rounds = loop.run_task([](Loop& on, const CountingPoller& network) -> Task<int> {
    int count = 0;
    while (network.waits < 3 && count < 10'000) {
      ++count;
      co_await on.yield();
    }
    co_return count;
  }(loop, poller));
  EXPECT_LE(rounds, 100);
}

TEST(Loop, a_loop_that_is_awake_need_not_be_woken) {
  testing::FakeTimeLoop time;
  CountingPoller poller;
  Loop loop(time.clock, poller);
  for (int i = 0; i < 3; ++i) loop.post([] {});
  EXPECT_EQ(poller.wakes, 0);
  loop.turn(true);  // runs them, and does not wait
  loop.turn(true);  // waits
  for (int i = 0; i < 3; ++i) loop.post([] {});
  EXPECT_EQ(poller.wakes, 1);
}

TEST(Loop, timers_fire_in_the_order_of_their_times) {
  testing::FakeTimeLoop time;
  std::vector<int> order;
  TaskGroup<int> group(time.loop);
  group.start(give_after(time.loop, 3s, 3));
  group.start(give_after(time.loop, 1s, 1));
  group.start(give_after(time.loop, 2s, 2));
  const auto collect = [&]() -> Task<int> {
    while (auto finished = co_await group.next()) order.push_back(finished->value);
    co_return 0;
  };
  time.loop.run_task(collect());
  EXPECT_EQ(order, (std::vector{1, 2, 3}));
}

TEST(Loop, shutdown_cancels_what_was_spawned) {
  int alive = 0;
  testing::FakeTimeLoop time;
  const auto forever = [&]() -> Task<void> {
    Alive here(alive);
    co_await time.loop.sleep_for(1h);
  };
  time.loop.spawn(forever());
  time.loop.turn(false);
  EXPECT_EQ(alive, 1);
  time.loop.shutdown();
  EXPECT_EQ(alive, 0);
}

TEST(Loop, post_from_another_thread_wakes_a_sleeping_loop) {
  SystemClock clock;
  IdlePoller poller;
  Loop loop(clock, poller);
  std::thread poster([&] { loop.post([&] { loop.stop(); }); });
  loop.run();
  poster.join();
}

TEST(Worker, runs_work_on_its_own_thread_and_hands_back_the_result) {
  testing::FakeTimeLoop time;
  Worker worker(time.loop, "test");
  auto task = worker.run<std::thread::id>([] { return std::this_thread::get_id(); });
  EXPECT_NE(time.loop.run_task(std::move(task)), std::this_thread::get_id());
}

TEST(Worker, a_dropped_task_lets_begun_work_finish_and_loses_only_its_result) {
  testing::FakeTimeLoop time;
  std::atomic<int> finished = 0;
  {
    Worker worker(time.loop, "test");
    {
      TaskGroup<int> group(time.loop);
      group.start(worker.run<int>([&] { return ++finished; }));
      time.loop.turn(false);
    }
  }
  EXPECT_EQ(finished, 1);
  time.loop.turn(false);
}

}  // namespace
}  // namespace keyfs
