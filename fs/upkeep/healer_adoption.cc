// Healer: what is adopted, and what this host's memory is asked and told.
#include <utility>

#include "base/race.h"
#include "fs/keys/record_memory.h"
#include "fs/upkeep/adoption.h"
#include "fs/upkeep/healer.h"

namespace keyfs {

Task<std::optional<Error>> Healer::note(Stored written, TimePoint deadline) {
  if (memory_ != nullptr) memory_->note(written, true);
  if (notebook_ == nullptr) co_return std::nullopt;
  TaskGroup<Result<void>> noting(loop_);
  noting.start(notebook_->write_down(std::move(written), true));
  const auto noted = co_await noting.next(call_until(deadline));
  if (!noted) co_return Error(Code::kTimeout, "it did not answer in time");
  if (!noted->value) co_return noted->value.error();
  co_return std::nullopt;
}

Task<void> Healer::see(std::string id, TimePoint deadline) {
  if (memory_ != nullptr) memory_->note_seen(id);
  if (notebook_ == nullptr || notebook_out_) co_return;
  TaskGroup<Result<void>> noting(loop_);
  noting.start(notebook_->write_seen(std::move(id)));
  const auto noted = co_await noting.next(call_until(deadline));
  notebook_out_ = !noted;
}

Task<std::optional<Error>> Healer::not_ours_to_adopt(const Record& record, TimePoint deadline) {
  const std::string what = "could not adopt key " + record.id + ", which is left as it was";
  if (memory_ == nullptr || notebook_ == nullptr) {
    co_return Error(Code::kUnavailable, what + ": this host has no memory of records here");
  }
  TaskGroup<Recall> asked(loop_);
  asked.start(memory_->recall(record.id));
  const auto told = co_await asked.next(call_until(deadline));
  const Recall recall = told ? told->value : Recall();
  if (recall.stored) {
    if (const auto why = goes_back(recall.stored->record, record)) {
      co_return went_back(record.id, *why, memory_->forget()).within(what);
    }
  }
  // A record that is damaged here may have been one of keyfs's.
  if (recall.what == Recall::What::kUnknown || recall.why) {
    const std::string why = recall.why ? recall.why->message : "it did not answer in time";
    co_return Error(Code::kUnavailable,
                    what +
                        ": whether this host has seen a record of keyfs under this id can't be "
                        "told now: " +
                        why);
  }
  TaskGroup<Result<void>> proving(loop_);
  proving.start(notebook_->prove());
  const auto proven = co_await proving.next(call_until(deadline));
  if (proven && proven->value) co_return std::nullopt;
  co_return Error(Code::kUnavailable,
                  what + ": this host could not remember it: " +
                      (proven ? proven->value.error().message : "its disk did not answer in time"));
}

Task<Healer::Attempt> Healer::take_over(Record& record, TimePoint deadline) {
  Attempt done;
  if (auto why = co_await not_ours_to_adopt(record, deadline)) {
    done.outcome = Outcome::kFailed;
    done.error = std::move(why);
    co_return done;
  }
  size_t calls = regions_.size();
  for (const auto& [number, version] : record.versions) calls += version.wrapped.size();
  co_await take_calls(calls);
  auto origin = co_await store_.identity(call_until(deadline));
  if (!origin) {
    done.outcome = Outcome::kFailed;
    done.error = origin.error().within("could not adopt key " + record.id);
    co_return done;
  }
  Record bound = record;
  bound.origin = std::move(*origin);
  auto adopted = co_await adopt(loop_, regions_, std::move(bound), call_until(deadline));
  if (!adopted) {
    done.outcome = Outcome::kFailed;
    done.error = std::move(adopted.error());
    co_return done;
  }
  record = std::move(adopted->record);
  done.adopted = true;
  done.missing = std::move(adopted->missing);
  if (!done.missing.empty()) done.outcome = Outcome::kMissing;
  co_return done;
}

}  // namespace keyfs
