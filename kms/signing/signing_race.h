// A hedged call to the signing regions, in several rounds while another try may work. Internal to
// kms/signing.
//
// Thread-safety: none; on the loop's thread. Blocking: never. Ownership: refers to the slots and the
// calls; owns the running calls, which end with it and then count as abandoned.
// Errors: one for all regions, as kms/signing/kms_custody.h says.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "base/hedge.h"
#include "kms/region_slot.h"
#include "kms/signing/kms_calls.h"
#include "kms/signing/kms_messages.h"

namespace keyfs {

// The code for all regions. That a key is not found in one says nothing of those that are silent:
// it may have no replica there.
Code combined_signing_code(const std::vector<RegionFailure>& failures, bool deadline_passed);

template <class T>
class SigningRace final : private HedgedWork<SigningSlot, Result<T>> {
 public:
  using Ask = std::function<Task<Result<T>>(SigningSlot&)>;

  // `young`: the key was just made, and may not be found yet.
  SigningRace(KmsCalls& calls, std::string operation, bool young, TimePoint deadline, Ask ask)
      : calls_(calls),
        operation_(std::move(operation)),
        young_(young),
        deadline_(deadline),
        ask_(std::move(ask)) {}
  SigningRace(const SigningRace&) = delete;
  SigningRace& operator=(const SigningRace&) = delete;

  // Asks in this order.
  Task<Result<T>> run(std::vector<SigningSlot*> candidates) {
    constexpr unsigned kRounds = 4;
    constexpr Backoff kPauses{std::chrono::milliseconds(100), std::chrono::seconds(2), 0.5};
    Loop& loop = calls_.loop();
    Hedge<SigningSlot, Result<T>> hedge(loop, *this, deadline_);
    for (unsigned round = 1;; ++round) {
      again_.clear();
      unseen_ = false;
      auto taken = co_await hedge.run(std::move(candidates), round > 1 && !young_);
      if (taken && taken->verdict == Verdict::kTake) co_return std::move(taken->answer);
      if (taken || deadline_passed_ || again_.empty() || (round >= kRounds && !unseen_)) {
        break;
      }
      const TimePoint next = loop.now() + kPauses.pause(round - 1, calls_.random());
      if (next >= deadline_) break;
      co_await loop.sleep_until(next);
      candidates = healthy_first(again_, HalfOpen::kBehind);
    }
    co_return fail(combined_signing_code(failures_, deadline_passed_), reasons(failures_));
  }

 private:
  Task<Result<T>> ask(SigningSlot& slot) override { return ask_(slot); }

  Verdict judge(SigningSlot& slot, Result<T>& answer, Duration latency) override {
    const bool was_closed = slot.closed();
    if (answer) {
      slot.succeeded(latency);
      tell_breaker(slot, was_closed, nullptr);
      return Verdict::kTake;
    }
    Error& error = answer.error();
    // What is wrong with one key (its policy, its state) is no failure of its region, which would
    // count for all keys: the region has answered.
    if (error.code == Code::kDenied || error.code == Code::kRevoked) {
      slot.succeeded(latency);
    } else {
      slot.failed(error, latency);
    }
    tell_breaker(slot, was_closed, &error);
    const bool unseen = young_ && says_not_found(error);
    unseen_ = unseen_ || unseen;
    if (unseen || may_pass(error.code)) again_.push_back(&slot);
    if (error.code == Code::kTimeout && calls_.loop().now() >= deadline_) deadline_passed_ = true;
    note_failure(failures_, slot.name, std::move(error));
    return Verdict::kNext;
  }

  void refused(SigningSlot& slot, Error why) override {
    note_failure(failures_, slot.name, std::move(why));
    again_.push_back(&slot);
  }

  void timed_out(SigningSlot& slot, std::optional<Duration> waited) override {
    deadline_passed_ = true;
    Error error(Code::kTimeout, "too many calls to it are under way");
    if (waited) {
      error.message = operation_ + " timed out after " + to_text(*waited);
      const bool was_closed = slot.closed();
      slot.failed(error, *waited);
      if (calls_.observer() != nullptr) {
        calls_.observer()->on_call(slot.name, operation_, &error, *waited);
      }
      tell_breaker(slot, was_closed, &error);
    }
    note_failure(failures_, slot.name, std::move(error));
  }

  void gave_up(SigningSlot& slot, Duration waited) override {
    const bool was_closed = slot.closed();
    Target& target = slot;
    target.gave_up(waited);
    const Error reason(Code::kUnavailable, "did not answer within " + to_text(waited));
    tell_breaker(slot, was_closed, &reason);
  }

  void tell_breaker(SigningSlot& slot, bool was_closed, const Error* reason) {
    if (calls_.observer() == nullptr || slot.closed() == was_closed) return;
    calls_.observer()->on_breaker(slot.name, slot.health.state(), slot.health.open_for(), reason);
  }

  KmsCalls& calls_;
  const std::string operation_;
  const bool young_;
  const TimePoint deadline_;
  const Ask ask_;
  std::vector<SigningSlot*> again_;  // failed in this round, but worth another
  std::vector<RegionFailure> failures_;
  bool deadline_passed_ = false;
  bool unseen_ = false;  // in this round
};

}  // namespace keyfs
