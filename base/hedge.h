// Asks targets in order until one gives an acceptable answer: the next one is asked when one fails,
// or is slower than usual. The first good answer counts; calls still running then are dropped.
//
//   class Read : public HedgedWork<Target, Result<Item>> { ask, judge, refused, timed_out };
//   Hedge<Target, Result<Item>> hedge(loop, work, deadline);
//   auto answer = co_await hedge.run(healthy_first(targets, HalfOpen::kInItsPlace));
//
// A hedge costs a token of the additional target. Without one the call keeps waiting, and goes to
// the next target anyway once those that it waits for are known to be silent (their breakers have
// opened), or when no more time may be lost.
//
// Thread-safety: none; on the loop's thread. Blocking: never. Ownership: refers to the loop, the
// work and the targets; owns the running calls, which end with it and then count as abandoned.
// Errors: those of the answers; refused() and timed_out() report targets that gave none.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/loop.h"
#include "base/race.h"
#include "base/target.h"

namespace keyfs {

enum class Verdict {
  kTake,  // acceptable
  kNext,  // another target may do better
  kStop,  // a failure, and any other target would say the same
};

enum class AskedFor {
  kFirst,
  kSlow,    // another one is slow
  kFailed,  // another one failed
};

// The work: what to ask, and how to judge the answer. `Who` is a Target.
template <class Who, class Answer>
class HedgedWork {
 public:
  virtual ~HedgedWork() = default;
  // One call.
  virtual Task<Answer> ask(Who& who) = 0;
  virtual void asked(Who&, AskedFor) {}
  // Reports the answer, which came after `latency`, to the target's health, and judges it.
  virtual Verdict judge(Who& who, Answer& answer, Duration latency) = 0;
  // It was not asked: it had no token for the call.
  virtual void refused(Who& who, Error why) = 0;
  // The deadline passed while it was asked; `waited` is empty when its turn never came.
  virtual void timed_out(Who& who, std::optional<Duration> waited) = 0;
  // The call was dropped after `waited`.
  virtual void gave_up(Who& who, Duration waited) {
    Target& target = who;
    target.gave_up(waited);
  }
};

template <class Who, class Answer>
class Hedge {
 public:
  struct Taken {
    Answer answer;
    Who* who;
    Verdict verdict;  // kTake or kStop
    bool hedged;      // an earlier call had not answered yet
    size_t asked;     // calls that it took
  };

  Hedge(Loop& loop, HedgedWork<Who, Answer>& work, TimePoint deadline)
      : loop_(loop), work_(work), deadline_(deadline), group_(loop) {}
  Hedge(const Hedge&) = delete;
  Hedge& operator=(const Hedge&) = delete;
  ~Hedge() {
    for (const auto& [number, call] : running_) {
      if (call->sent) work_.gave_up(*call->who, loop_.now() - *call->sent);
    }
  }

  // Asks in this order, each at most once; with `extra` every call costs a token. nullopt: none
  // gave an acceptable answer, and `work` got all of them. Then it may be called again.
  Task<std::optional<Taken>> run(std::vector<Who*> order, bool extra = false) {
    waiting_ = std::move(order);
    extra_ = extra;
    start_next(AskedFor::kFirst);
    while (!running_.empty()) {
      const TimePoint until = waiting_.empty() ? deadline_ : std::min(deadline_, hedge_at_);
      auto finished = co_await group_.next(until);
      if (finished) {
        const Call done = *running_.at(finished->number);
        running_.erase(finished->number);
        const Verdict verdict = work_.judge(*done.who, finished->value, loop_.now() - *done.sent);
        if (verdict != Verdict::kNext) {
          co_return Taken{std::move(finished->value), done.who, verdict, done.hedge, asked_};
        }
        start_next(AskedFor::kFailed);
      } else if (loop_.now() >= deadline_) {
        time_out();
      } else {
        start_next(nothing_to_wait_for() ? AskedFor::kFailed : AskedFor::kSlow);
      }
    }
    co_return std::nullopt;
  }

 private:
  struct Call {
    Who* who;
    bool hedge;
    std::optional<TimePoint> sent;  // empty while the call waits for its turn
  };

  Task<Answer> ask_in_turn(Call& call) {
    FairTurns::Ticket ticket(std::nullopt);
    const FairTurns::Turn turn = co_await call.who->calls->take(ticket);
    call.sent = loop_.now();
    auto answer = co_await work_.ask(*call.who);
    co_return answer;
  }

  // Asks the next permitted target.
  void start_next(AskedFor why) {
    while (!waiting_.empty()) {
      Who& who = *waiting_.front();
      if (extra_ || why == AskedFor::kSlow || who.health.costs_token()) {
        if (auto refusal = who.ask_for_token()) {
          if (why == AskedFor::kSlow) return look_again_later();
          work_.refused(who, std::move(*refusal));
          waiting_.erase(waiting_.begin());
          continue;
        }
      }
      waiting_.erase(waiting_.begin());
      return begin(who, why);
    }
  }

  void begin(Who& who, AskedFor why) {
    work_.asked(who, why);
    last_moment_.reset();
    hedge_at_ = loop_.now() + who.health.hedge_delay();
    look_again_ = std::max<Duration>(who.health.hedge_delay() / 4, std::chrono::milliseconds(20));
    ++asked_;
    auto call = std::make_unique<Call>(Call{&who, !running_.empty(), std::nullopt});
    const size_t number = group_.start(ask_in_turn(*call));
    running_.emplace(number, std::move(call));
  }

  // If the running calls never answer, there must be time left for the waiting targets.
  void look_again_later() {
    const TimePoint now = loop_.now();
    const auto left = static_cast<Duration::rep>(waiting_.size() + 1);
    if (!last_moment_) last_moment_ = now + (deadline_ - now) / left;
    hedge_at_ = std::min(*last_moment_, now + look_again_);
    look_again_ *= 2;
  }

  bool nothing_to_wait_for() const {
    if (waiting_.empty()) return false;
    if (last_moment_ && loop_.now() >= *last_moment_) return true;
    return !waiting_.front()->health.costs_token() &&
           std::none_of(running_.begin(), running_.end(),
                        [](const auto& one) { return one.second->who->closed(); });
  }

  void time_out() {
    for (const auto& [number, call] : running_) {
      std::optional<Duration> waited;
      if (call->sent) waited = loop_.now() - *call->sent;
      work_.timed_out(*call->who, waited);
      group_.cancel(number);
    }
    running_.clear();
    waiting_.clear();
  }

  Loop& loop_;
  HedgedWork<Who, Answer>& work_;
  const TimePoint deadline_;
  std::vector<Who*> waiting_;  // not asked yet
  std::map<size_t, std::unique_ptr<Call>> running_;
  TimePoint hedge_at_{};                  // when another one is asked in addition
  std::optional<TimePoint> last_moment_;  // set while there is no token for that
  Duration look_again_{};
  bool extra_ = false;
  size_t asked_ = 0;
  TaskGroup<Answer> group_;
};

}  // namespace keyfs
