// A hedged call to the regions (base/hedge.h), in several rounds when all of them failed and some
// might not if asked again. Internal to kms/regions.
//
// Thread-safety: none; on the loop's thread. Blocking: never. Ownership: refers to the slots and
// the loop; owns the running calls, which end with it and then count as abandoned.
// Errors: see the table in kms/regions.h.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/hedge.h"
#include "base/retry.h"
#include "kms/region_slot.h"
#include "kms/regions.h"

namespace keyfs {

template <class T>
class RegionRace final : private HedgedWork<RegionSlot, Result<T>> {
 public:
  using Ask = std::function<Task<Result<T>>(RegionSlot&)>;
  using Accept = std::function<Result<void>(const T&)>;
  struct Won {
    T value;
    RegionSlot* winner;
    bool hedged;  // an earlier call had not answered yet
    size_t asked;
  };

  // `ask` calls one region; `accept` decides whether its answer is good.
  RegionRace(Loop& loop, const RegionsOptions& options, const RandomFraction& random,
             RegionCall call, TimePoint deadline, Ask ask, Accept accept)
      : loop_(loop),
        options_(options),
        random_(random),
        call_(call),
        deadline_(deadline),
        ask_(std::move(ask)),
        accept_(std::move(accept)) {}
  RegionRace(const RegionRace&) = delete;
  RegionRace& operator=(const RegionRace&) = delete;

  // Asks in this order. nullopt: none gave an acceptable answer; failures() and code() say why.
  Task<std::optional<Won>> run(std::vector<RegionSlot*> candidates) {
    Hedge<RegionSlot, Result<T>> hedge(loop_, *this, deadline_);
    for (unsigned round = 1;; ++round) {
      again_.clear();
      auto taken = co_await hedge.run(std::move(candidates), round > 1);
      if (taken && taken->verdict == Verdict::kTake) {
        co_return Won{std::move(*taken->answer), taken->who, taken->hedged, taken->asked};
      }
      if (taken || deadline_passed_ || again_.empty() || round >= options_.rounds) break;
      const Backoff backoff = pauses_of(options_);
      const TimePoint next = loop_.now() + backoff.pause(round - 1, random_);
      if (next >= deadline_) break;
      co_await loop_.sleep_until(next);
      candidates = healthy_first(again_, HalfOpen::kBehind);
    }
    co_return std::nullopt;
  }

  const std::vector<RegionFailure>& failures() const { return failures_; }
  std::vector<RegionFailure> take_failures() { return std::move(failures_); }
  Code code() const { return combined_code(failures_, deadline_passed_); }

 private:
  Task<Result<T>> ask(RegionSlot& slot) override { return ask_(slot); }

  void asked(RegionSlot& slot, AskedFor why) override {
    if (slot.observer == nullptr) return;
    if (why == AskedFor::kSlow) slot.observer->on_hedge(slot.name, call_);
    if (why == AskedFor::kFailed) slot.observer->on_fallback(slot.name, call_);
  }

  Verdict judge(RegionSlot& slot, Result<T>& answer, Duration latency) override {
    if (answer) {
      auto accepted = accept_(*answer);
      if (accepted) {
        slot.succeeded(call_, latency);
        return Verdict::kTake;
      }
      answer = fail(std::move(accepted.error()));
    }
    const Code code = answer.error().code;
    slot.failed(call_, answer.error(), latency);
    if (may_pass(code)) again_.push_back(&slot);
    if (code == Code::kTimeout && loop_.now() >= deadline_) deadline_passed_ = true;
    note_failure(failures_, slot.name, std::move(answer.error()));
    // No code ends the search. Each region is asked with a request of its own (its credentials,
    // endpoint, master and wrap), so what one calls invalid another may answer.
    return Verdict::kNext;
  }

  void refused(RegionSlot& slot, Error why) override {
    note_failure(failures_, slot.name, std::move(why));
    again_.push_back(&slot);
  }

  void timed_out(RegionSlot& slot, std::optional<Duration> waited) override {
    deadline_passed_ = true;
    Error error(Code::kTimeout, "too many calls to it are under way");
    if (waited) {
      error.message = "timed out after " + to_text(*waited);
      slot.failed(call_, error, *waited);
    }
    note_failure(failures_, slot.name, std::move(error));
  }

  void gave_up(RegionSlot& slot, Duration waited) override { slot.gave_up(call_, waited); }

  Loop& loop_;
  const RegionsOptions& options_;
  const RandomFraction& random_;
  const RegionCall call_;
  const TimePoint deadline_;
  const Ask ask_;
  const Accept accept_;

  std::vector<RegionSlot*> again_;  // failed in this round, but worth another
  std::vector<RegionFailure> failures_;
  bool deadline_passed_ = false;
};

}  // namespace keyfs
