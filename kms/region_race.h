// Asks regions one after the other until one gives an answer that will do: the next one when one
// fails, and also while one is slower than it usually is. Internal to kms/regions.
//
// Thread-safety: none; on the loop's thread. Blocking: never. Ownership: refers to the slots and
// the loop; owns the calls that are under way, which end with it and then count as given up.
// Errors: by the table in kms/regions.h.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/loop.h"
#include "base/race.h"
#include "base/retry.h"
#include "kms/region_slot.h"
#include "kms/regions.h"

namespace keyfs {

template <class T>
struct RaceWon {
  T value;
  RegionSlot* winner;
  bool hedged;  // an earlier one had not answered yet
  size_t asked;
};

template <class T>
class RegionRace {
 public:
  using Ask = std::function<Task<Result<T>>(RegionSlot&)>;
  using Accept = std::function<Result<void>(const T&)>;

  // `ask` calls one region; `accept` has the last word on its answer.
  RegionRace(Loop& loop, const RegionsOptions& options, const RandomFraction& random,
             RegionCall call, TimePoint deadline, Ask ask, Accept accept)
      : loop_(loop),
        options_(options),
        random_(random),
        call_(call),
        deadline_(deadline),
        ask_(std::move(ask)),
        accept_(std::move(accept)),
        group_(loop) {}
  RegionRace(const RegionRace&) = delete;
  RegionRace& operator=(const RegionRace&) = delete;
  ~RegionRace() {
    for (const auto& [number, under_way] : running_) {
      if (*under_way.sent) under_way.slot->gave_up(call_, loop_.now() - **under_way.sent);
    }
  }

  // In this order. nullopt: none gave an answer; failures() and code() say why.
  Task<std::optional<RaceWon<T>>> run(std::vector<RegionSlot*> candidates) {
    for (unsigned round = 1;; ++round) {
      again_.clear();
      auto won = co_await run_round(std::move(candidates), round > 1);
      if (won || over_ || again_.empty() || round >= options_.rounds) co_return won;
      const TimePoint next = loop_.now() + pause_before_round(options_, random_, round + 1);
      if (next >= deadline_) co_return std::nullopt;
      co_await loop_.sleep_until(next);
      candidates = healthy_first(again_);
    }
  }

  const std::vector<RegionFailure>& failures() const { return failures_; }
  std::vector<RegionFailure> take_failures() { return std::move(failures_); }
  Code code() const { return combined_code(failures_, deadline_passed_); }

 private:
  enum class Why { kFirst, kSlow, kFailed };
  struct UnderWay {
    RegionSlot* slot;
    std::shared_ptr<std::optional<TimePoint>> sent;  // empty while it waits for its turn
    bool hedge;
  };

  Task<Result<T>> ask_in_turn(RegionSlot& slot, std::shared_ptr<std::optional<TimePoint>> sent) {
    FairTurns::Ticket ticket(std::nullopt);
    const FairTurns::Turn turn = co_await slot.calls.take(ticket);
    *sent = loop_.now();
    auto answer = co_await ask_(slot);
    co_return answer;
  }

  Task<std::optional<RaceWon<T>>> run_round(std::vector<RegionSlot*> candidates, bool extra) {
    waiting_ = std::move(candidates);
    extra_ = extra;
    start_next(Why::kFirst);
    while (!running_.empty()) {
      const TimePoint until = waiting_.empty() ? deadline_ : std::min(deadline_, hedge_at_);
      auto finished = co_await group_.next(until);
      if (finished) {
        const UnderWay done = running_.at(finished->number);
        running_.erase(finished->number);
        if (auto won = take_answer(done, std::move(finished->value))) co_return won;
        if (over_) co_return std::nullopt;
        start_next(Why::kFailed);
      } else if (loop_.now() >= deadline_) {
        time_out();
        co_return std::nullopt;
      } else {
        ask_another();
      }
    }
    co_return std::nullopt;
  }

  std::optional<RaceWon<T>> take_answer(const UnderWay& done, Result<T> answer) {
    const Duration latency = loop_.now() - **done.sent;
    if (answer) {
      auto accepted = accept_(*answer);
      if (accepted) {
        done.slot->succeeded(call_, latency);
        return RaceWon<T>{std::move(*answer), done.slot, done.hedge, asked_};
      }
      answer = fail(std::move(accepted.error()));
    }
    done.slot->failed(call_, answer.error(), latency);
    if (answer.error().code == Code::kInvalid) over_ = true;
    if (may_pass(answer.error().code)) again_.push_back(done.slot);
    if (answer.error().code == Code::kTimeout && loop_.now() >= deadline_) deadline_passed_ = true;
    note_failure(failures_, done.slot->name(), std::move(answer.error()));
    return std::nullopt;
  }

  // Starts the next region that may be asked.
  void start_next(Why why) {
    while (!waiting_.empty()) {
      RegionSlot& slot = *waiting_.front();
      if (extra_ || why == Why::kSlow || !slot.closed()) {
        if (auto refused = slot.ask_for_token()) {
          if (why == Why::kSlow) {
            // Not worth it for a mere hedge; but should the one under way never answer, there must
            // be time left for this one.
            const auto left = static_cast<Duration::rep>(waiting_.size() + 1);
            hedge_at_ = loop_.now() + (deadline_ - loop_.now()) / left;
            patience_ = true;
            return;
          }
          note_failure(failures_, slot.name(), std::move(*refused));
          again_.push_back(&slot);
          waiting_.erase(waiting_.begin());
          continue;
        }
      }
      waiting_.erase(waiting_.begin());
      begin(slot, why);
      return;
    }
  }

  void begin(RegionSlot& slot, Why why) {
    if (slot.observer != nullptr) {
      if (why == Why::kSlow) slot.observer->on_hedge(slot.name(), call_);
      if (why == Why::kFailed) slot.observer->on_fallback(slot.name(), call_);
    }
    patience_ = false;
    hedge_at_ = loop_.now() + slot.health.hedge_delay();
    const bool hedge = !running_.empty();
    ++asked_;
    auto sent = std::make_shared<std::optional<TimePoint>>();
    const size_t number = group_.start(ask_in_turn(slot, sent));
    running_.emplace(number, UnderWay{&slot, std::move(sent), hedge});
  }

  void ask_another() { start_next(patience_ ? Why::kFailed : Why::kSlow); }

  void time_out() {
    over_ = true;
    deadline_passed_ = true;
    for (const auto& [number, under_way] : running_) {
      Error error(Code::kTimeout, "too many calls to it are under way");
      if (*under_way.sent) {
        const Duration waited = loop_.now() - **under_way.sent;
        error.message = "timed out after " + to_text(waited);
        under_way.slot->failed(call_, error, waited);
      }
      note_failure(failures_, under_way.slot->name(), std::move(error));
      group_.cancel(number);
    }
    running_.clear();
  }

  Loop& loop_;
  const RegionsOptions& options_;
  const RandomFraction& random_;
  const RegionCall call_;
  const TimePoint deadline_;
  const Ask ask_;
  const Accept accept_;

  std::vector<RegionSlot*> waiting_;  // not asked yet in this round
  std::vector<RegionSlot*> again_;    // without success in this round, and worth another
  std::vector<RegionFailure> failures_;
  std::map<size_t, UnderWay> running_;
  TimePoint hedge_at_{};
  bool patience_ = false;  // at hedge_at_ the next one is asked as if this one had failed
  bool extra_ = false;     // every call of this round costs a token
  bool over_ = false;
  bool deadline_passed_ = false;
  size_t asked_ = 0;
  TaskGroup<Result<T>> group_;
};

}  // namespace keyfs
