#include "base/hedge.h"

#include <gtest/gtest.h>

#include <deque>

#include "support/fake_time.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;

// Targets that answer after a time with their names, or fail.
struct HedgeTest : ::testing::Test, HedgedWork<Target, Result<std::string>> {
  struct Behaviour {
    Duration takes = 10ms;
    std::optional<Code> fails;
  };
  using Asked = Hedge<Target, Result<std::string>>;

  void build(size_t calls_at_once = 8) {
    for (const char* name : {"a", "b", "c"}) {
      Health health(
          time.clock, [] { return 0.5; }, options);
      targets.emplace_back(name, targets.size(), std::move(health),
                           turns_for(time.loop, calls_at_once));
    }
  }

  Task<Result<std::string>> ask(Target& target) override {
    struct Counted {
      explicit Counted(int& under_way) : count(under_way) { ++count; }
      ~Counted() { --count; }
      int& count;
    } counted(under_way);
    log += "ask " + target.name + "; ";
    const Behaviour behaviour = behaves[target.index];
    co_await time.loop.sleep_for(behaviour.takes);
    if (behaviour.fails) co_return fail(*behaviour.fails, "told to");
    co_return target.name;
  }
  void asked(Target& target, AskedFor why) override {
    if (why == AskedFor::kSlow) log += "hedge " + target.name + "; ";
    if (why == AskedFor::kFailed) log += "fallback " + target.name + "; ";
  }
  Verdict judge(Target& target, Result<std::string>& answer, Duration latency) override {
    if (answer) {
      target.succeeded(latency);
      return Verdict::kTake;
    }
    target.failed(answer.error(), latency);
    return answer.error().code == Code::kInvalid ? Verdict::kStop : Verdict::kNext;
  }
  void refused(Target& target, Error) override { log += "refused " + target.name + "; "; }
  void timed_out(Target& target, std::optional<Duration> waited) override {
    log += "timed out " + target.name + " " + (waited ? to_text(*waited) : "unasked") + "; ";
  }
  void gave_up(Target& target, Duration waited) override {
    log += "gave up " + target.name + "; ";
    target.gave_up(waited);
  }

  Task<std::string> call(Duration time_left, bool extra = false) {
    std::vector<Target*> order;
    for (Target& target : targets) order.push_back(&target);
    Asked hedge(time.loop, *this, time.loop.now() + time_left);
    auto taken = co_await hedge.run(std::move(order), extra);
    if (!taken) co_return "none";
    if (!taken->answer) co_return "stopped";
    co_return *taken->answer + (taken->hedged ? " hedged" : "");
  }
  std::string run(Duration time_left = 10s, bool extra = false) {
    log.clear();
    const TimePoint begun = time.loop.now();
    std::string answer = time.loop.run_task(call(time_left, extra));
    took = time.loop.now() - begun;
    return answer;
  }
  void spend_tokens(Target& target) {
    while (!target.ask_for_token()) {
    }
  }

  testing::FakeTimeLoop time;
  HealthOptions options;
  std::deque<Target> targets;
  std::vector<Behaviour> behaves{3};
  int under_way = 0;
  std::string log;
  Duration took{};
};

TEST_F(HedgeTest, one_that_answers_in_time_is_the_only_one_asked) {
  build();
  EXPECT_EQ(run(), "a");
  EXPECT_EQ(log, "ask a; ");
}

TEST_F(HedgeTest, a_failure_goes_on_to_the_next_at_once) {
  build();
  behaves[0].fails = Code::kUnavailable;
  EXPECT_EQ(run(), "b");
  EXPECT_EQ(log, "ask a; fallback b; ask b; ");
  EXPECT_EQ(took, 20ms);
}

TEST_F(HedgeTest, one_slower_than_its_own_p95_is_overtaken_and_dropped) {
  build();
  for (int i = 0; i < 20; ++i) targets[0].succeeded(40ms);
  behaves[0].takes = 1h;
  EXPECT_EQ(run(), "b hedged");
  EXPECT_EQ(log, "ask a; hedge b; ask b; gave up a; ");
  EXPECT_EQ(took, 60ms) << "p95 and a quarter, and the answer";
  EXPECT_EQ(under_way, 0);
}

TEST_F(HedgeTest, the_first_good_answer_wins_though_its_target_was_asked_first) {
  build();
  behaves[0].takes = 250ms;
  behaves[1].takes = 1h;
  EXPECT_EQ(run(), "a");
  EXPECT_EQ(log, "ask a; hedge b; ask b; gave up b; ");
  EXPECT_TRUE(targets[1].closed()) << "it had hardly time to answer";
}

TEST_F(HedgeTest, an_answer_that_is_final_ends_the_call) {
  build();
  behaves[0].fails = Code::kInvalid;
  EXPECT_EQ(run(), "stopped");
  EXPECT_EQ(log, "ask a; ");
}

TEST_F(HedgeTest, when_all_failed_none_is_given_and_each_was_asked_once) {
  build();
  for (auto& one : behaves) one.fails = Code::kUnavailable;
  EXPECT_EQ(run(), "none");
  EXPECT_EQ(log, "ask a; fallback b; ask b; fallback c; ask c; ");
}

TEST_F(HedgeTest, at_the_deadline_all_under_way_are_told_and_dropped) {
  build();
  for (auto& one : behaves) one.takes = 1h;
  EXPECT_EQ(run(500ms), "none");
  EXPECT_EQ(took, 500ms);
  EXPECT_EQ(log,
            "ask a; hedge b; ask b; hedge c; ask c; timed out a 500ms; timed out b 300ms; "
            "timed out c 100ms; ");
  EXPECT_EQ(under_way, 0);
}

TEST_F(HedgeTest, a_caller_who_leaves_takes_its_calls_along) {
  build();
  behaves[0].takes = 1h;
  {
    Task<std::string> left = call(10s);
    TaskGroup<std::string> group(time.loop);
    group.start(std::move(left));
    EXPECT_FALSE(time.loop.run_task(group.next(time.loop.now() + 100ms)));
    EXPECT_EQ(under_way, 1);
  }
  EXPECT_EQ(under_way, 0);
  EXPECT_EQ(log, "ask a; gave up a; ");
}

TEST_F(HedgeTest, time_in_our_own_queue_is_no_latency_of_the_target) {
  options.hedge_unknown = 2s;
  build(1);
  TaskGroup<std::string> group(time.loop);
  for (int i = 0; i < 3; ++i) group.start(call(10s));
  while (time.loop.run_task(group.next())) {
  }
  EXPECT_EQ(*targets[0].health.expected(), 10ms);
}

TEST_F(HedgeTest, one_whose_turn_never_came_is_not_blamed) {
  build(1);
  FairTurns::Ticket ticket(std::nullopt);
  std::vector<FairTurns::Turn> held;
  for (Target& target : targets) held.push_back(time.loop.run_task(target.calls->take(ticket)));
  EXPECT_EQ(run(100ms), "none");
  EXPECT_EQ(log, "timed out a unasked; ");
}

TEST_F(HedgeTest, without_a_token_a_slow_one_is_waited_for) {
  options.tokens_per_second = 0;
  build();
  behaves[0].takes = 300ms;
  spend_tokens(targets[1]);
  EXPECT_EQ(run(), "a");
  EXPECT_EQ(log, "ask a; ");
}

TEST_F(HedgeTest, without_a_token_there_is_time_left_for_those_that_wait) {
  options.tokens_per_second = 0;
  build();
  behaves[0].takes = behaves[1].takes = 1h;
  for (Target& target : targets) spend_tokens(target);
  EXPECT_EQ(run(9s), "c hedged");
  EXPECT_EQ(log, "ask a; fallback b; ask b; fallback c; ask c; gave up a; gave up b; ");
  EXPECT_LT(took, 9s);
}

TEST_F(HedgeTest, once_the_slow_one_is_known_to_be_silent_no_token_is_needed) {
  options.tokens_per_second = 0;
  options.tokens = 3;
  build();
  behaves[0].takes = 1h;
  TaskGroup<std::string> group(time.loop);
  for (int i = 0; i < 10; ++i) group.start(call(1min));
  const TimePoint begun = time.loop.now();
  int answers = 0;
  while (auto finished = time.loop.run_task(group.next())) {
    EXPECT_EQ(finished->value, "b hedged");
    ++answers;
  }
  EXPECT_EQ(answers, 10);
  EXPECT_LT(time.loop.now() - begun, 1s) << "three had a token, and found out for all";
}

TEST_F(HedgeTest, one_that_is_left_alone_is_asked_for_a_token_only) {
  options.tokens = 1;
  options.tokens_per_second = 0;
  options.denied_open = 1h;
  build();
  for (auto& one : behaves) one.fails = Code::kDenied;
  EXPECT_EQ(run(), "none");
  EXPECT_EQ(run(), "none");
  EXPECT_EQ(log, "ask a; fallback b; ask b; fallback c; ask c; ");
  EXPECT_EQ(run(), "none");
  EXPECT_EQ(log, "refused a; refused b; refused c; ");
}

TEST_F(HedgeTest, one_that_is_left_alone_is_asked_all_the_same_where_that_costs_no_token) {
  options.tokens = 0;
  options.open_costs_token = false;
  build();
  for (auto& one : behaves) one.fails = Code::kDenied;
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(run(), "none");
    EXPECT_EQ(log, "ask a; fallback b; ask b; fallback c; ask c; ");
  }
}

TEST_F(HedgeTest, every_call_of_an_extra_round_costs_a_token) {
  options.tokens = 1;
  options.tokens_per_second = 0;
  build();
  EXPECT_EQ(run(10s, true), "a");
  EXPECT_EQ(run(10s, true), "b");
  EXPECT_EQ(log, "refused a; ask b; ");
}

}  // namespace
}  // namespace keyfs
