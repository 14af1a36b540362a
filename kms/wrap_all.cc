#include "kms/wrap_all.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

namespace keyfs {

WrapAll::WrapAll(Loop& loop, const RegionsOptions& options, const RandomFraction& random,
                 const SecretBytes& key, EncryptionContext context, TimePoint deadline,
                 size_t needed, bool wait_for_all)
    : loop_(loop),
      options_(options),
      random_(random),
      key_(key),
      context_(std::move(context)),
      deadline_(deadline),
      needed_(needed),
      wait_for_all_(wait_for_all),
      group_(loop) {}

WrapAll::~WrapAll() {
  for (const auto& [number, call] : running_) {
    if (call->asking) call->slot->gave_up(RegionCall::kWrap, loop_.now() - call->begun);
  }
}

void WrapAll::start(RegionSlot& slot) {
  auto call = std::make_unique<Call>(Call{&slot, loop_.now(), loop_.now(), false, std::nullopt});
  Call& under_way = *call;
  running_.emplace(group_.start(wrap_in(under_way)), std::move(call));
}

Task<void> WrapAll::run() {
  while (!running_.empty()) {
    auto finished = co_await group_.next(wait_until());
    if (!finished) break;
    const std::string region = running_.at(finished->number)->slot->name;
    running_.erase(finished->number);
    if (finished->value) {
      result_.wrapped.emplace(region, std::move(*finished->value));
    } else {
      note_failure(result_.missing, region, std::move(finished->value.error()));
    }
    if (enough()) leave_the_pausing_ones();
  }
  deadline_passed_ = loop_.now() >= deadline_;
  leave_the_late_ones();
}

Task<Result<WrappedKey>> WrapAll::wrap_in(Call& call) {
  RegionSlot& slot = *call.slot;
  for (unsigned round = 1;; ++round) {
    auto failure = round > 1 || !slot.closed() ? slot.ask_for_token() : std::nullopt;
    bool may_try_again = true;
    if (!failure) {
      FairTurns::Ticket ticket(std::nullopt);
      const FairTurns::Turn turn = co_await slot.calls->take(ticket);
      call.begun = loop_.now();
      if (round == 1) call.started = call.begun;
      call.asking = true;
      call.failure.reset();
      auto wrapped = co_await slot.region->wrap(key_, context_, deadline_);
      call.asking = false;
      const Duration latency = loop_.now() - call.begun;
      if (wrapped) {
        slot.succeeded(RegionCall::kWrap, latency);
        co_return wrapped;
      }
      slot.failed(RegionCall::kWrap, wrapped.error(), latency);
      may_try_again = may_pass(wrapped.error().code);
      failure = std::move(wrapped.error());
    }
    const TimePoint next = loop_.now() + pauses_of(options_).pause(round - 1, random_);
    if (enough() || !may_try_again || round >= options_.rounds || next >= deadline_) {
      co_return fail(std::move(*failure));
    }
    call.failure = std::move(failure);
    co_await loop_.sleep_until(next);
  }
}

// Until the deadline, or until the grace period of the last running call is over.
TimePoint WrapAll::wait_until() const {
  if (wait_for_all_ || !enough()) return deadline_;
  TimePoint until = loop_.now();
  for (const auto& [number, call] : running_) {
    until = std::max(until, call->started + grace(*call));
  }
  return std::min(until, deadline_);
}

Duration WrapAll::grace(const Call& call) const {
  const auto p95 = call.slot->health.p95();
  const Duration grace = p95 ? std::max(options_.grace_least, scaled(*p95, options_.grace_factor))
                             : options_.grace_unknown;
  return std::min(grace, scaled(deadline_ - call.started, options_.grace_share));
}

// They were to retry because regions were missing, and no longer need to.
void WrapAll::leave_the_pausing_ones() {
  for (auto at = running_.begin(); at != running_.end();) {
    Call& call = *at->second;
    if (call.asking || !call.failure) {
      ++at;
      continue;
    }
    group_.cancel(at->first);
    note_failure(result_.missing, call.slot->name, std::move(*call.failure));
    at = running_.erase(at);
  }
}

void WrapAll::leave_the_late_ones() {
  for (const auto& [number, call] : running_) {
    const char* why = deadline_passed_ ? "timed out after " : "did not answer within ";
    Error error(Code::kTimeout, why + to_text(loop_.now() - call->started));
    group_.cancel(number);
    if (call->asking) {
      const Duration asked_for = loop_.now() - call->begun;
      if (deadline_passed_) {
        call->slot->failed(RegionCall::kWrap, error, asked_for);
      } else {
        call->slot->gave_up(RegionCall::kWrap, asked_for);
      }
    }
    note_failure(result_.missing, call->slot->name, std::move(error));
  }
  running_.clear();
}

}  // namespace keyfs
