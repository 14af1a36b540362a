#include "kms/examine_wraps.h"

#include <string>

#include "base/race.h"

namespace keyfs {
namespace {

Task<Result<SecretBytes>> ask(Loop& loop, OwnWrap& own, const EncryptionContext& context,
                              const KeyVerifier& verify, TimePoint deadline) {
  RegionSlot& slot = *own.slot;
  if (!slot.closed()) {
    if (auto refused = slot.ask_for_token()) co_return fail(std::move(*refused));
  }
  FairTurns::Ticket ticket(std::nullopt);
  const FairTurns::Turn turn = co_await slot.calls->take(ticket);
  const TimePoint begun = loop.now();
  own.asked_at = begun;
  auto key = co_await slot.region->unwrap(own.wrap, context, deadline);
  own.asked_at.reset();
  if (key) {
    own.unwrapped = true;
    auto right = key->empty() ? fail(Code::kCorrupt, "gave an empty key") : verify(*key);
    if (!right) key = fail(std::move(right.error()));
  }
  if (key) {
    slot.succeeded(RegionCall::kUnwrap, loop.now() - begun);
  } else {
    slot.failed(RegionCall::kUnwrap, key.error(), loop.now() - begun);
  }
  co_return key;
}

// A refusal shows damage only if the wrap names the master that the region is known to have:
// otherwise the master may have been replaced, and the wrap still be good under the one before.
WrapState state_of(const OwnWrap& own, const Error& error) {
  if (error.code != Code::kCorrupt) return WrapState::kUnknown;
  if (own.unwrapped) return WrapState::kWrong;
  const Region& region = *own.slot->region;
  if (region.is_other_master(own.wrap.master)) return WrapState::kOtherMaster;
  return region.covered_by(own.wrap.master) ? WrapState::kWrong : WrapState::kUnknown;
}

}  // namespace

Task<ExaminedWraps> examine_wraps(Loop& loop, std::vector<OwnWrap> wraps, EncryptionContext context,
                                  KeyVerifier verify, TimePoint deadline) {
  ExaminedWraps examined;
  TaskGroup<Result<SecretBytes>> group(loop);
  for (OwnWrap& own : wraps) {
    examined.wraps[own.slot->name].why.emplace(Code::kTimeout, "did not answer in time");
    group.start(ask(loop, own, context, verify, deadline));  // numbered from 0, as `wraps` are
  }
  while (auto finished = co_await group.next(deadline)) {
    const OwnWrap& own = wraps[finished->number];
    ExaminedWrap& found = examined.wraps[own.slot->name];
    if (!finished->value) {
      found.state = state_of(own, finished->value.error());
      found.why = std::move(finished->value.error());
      continue;
    }
    found = ExaminedWrap{WrapState::kRight, std::nullopt};
    if (!examined.key) examined.key = std::move(*finished->value);
  }
  for (OwnWrap& own : wraps) {
    if (!own.asked_at) continue;
    const Duration waited = loop.now() - *own.asked_at;
    const Error error(Code::kTimeout, "timed out after " + to_text(waited));
    own.slot->failed(RegionCall::kUnwrap, error, waited);
    examined.wraps[own.slot->name].why = error;
  }
  co_return examined;
}

}  // namespace keyfs
