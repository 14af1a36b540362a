// Healer: what is adopted, and what this host's memory is asked about that.
#include <utility>

#include "base/race.h"
#include "fs/keys/record_memory.h"
#include "fs/upkeep/adoption.h"
#include "fs/upkeep/healer.h"

namespace keyfs {
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
  if (recall.what == Recall::What::kKnown && recall.why) {
    co_return Error(Code::kCorrupt,
                    what +
                        ": what this host has seen under this id may have been a record of "
                        "keyfs: " +
                        recall.why->message +
                        ". Only if the item in the store is known to be the right one, adopt it on "
                        "a host that has not seen the other; or " +
                        memory_->forget());
  }
  if (recall.what == Recall::What::kUnknown) {
    const std::string why = recall.why ? recall.why->message : "it did not answer in time";
    co_return Error(Code::kUnavailable,
                    what +
                        ": whether this host has seen a record of keyfs under this id can't be "
                        "told now: " +
                        why);
  }
  auto proving = notebook_->prove();
  const auto why_not = co_await done_by(loop_, std::move(proving), call_until(deadline));
  if (!why_not) co_return std::nullopt;
  co_return Error(Code::kUnavailable,
                  what + ": this host could not remember it: " + why_not->message);
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
  co_await pace_.take(calls, options_.calls_per_second);
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
