#include "fs/keys/record_source.h"

#include <algorithm>
#include <utility>

#include "base/deadline.h"
#include "base/race.h"

namespace keyfs {

Result<RecordSource::Seen> RecordSource::from_store(std::string_view id, TimePoint asked_at,
                                                    Result<Got> got) {
  if (!got) {
    if (got.error().code != Code::kCorrupt) store_out_at_ = loop_.now();
    return fail(got.error().within("could not read the record of key " + std::string(id)));
  }
  store_out_at_.reset();
  if (replica_ != nullptr && *got) replica_->note(**got);
  return Seen{std::move(got->stored), false, asked_at};
}

Task<Result<RecordSource::Seen>> RecordSource::ask_store(std::string id, TimePoint deadline) {
  const TimePoint asked_at = loop_.now();
  const std::string what = "store";
  auto get = store_.get(id, Read::kAny, sooner(deadline, asked_at));
  auto got = co_await before(loop_, deadline, what, std::move(get));
  co_return from_store(id, asked_at, std::move(got));
}

Duration RecordSource::patience(TimePoint deadline) const {
  const Duration left = std::max(Duration::zero(), deadline - loop_.now());
  if (replica_ == nullptr) return left;
  if (store_out_at_ && loop_.now() - *store_out_at_ < options_.store_pause) return Duration::zero();
  return std::min(options_.store_patience, left / 2);
}

Task<Result<RecordSource::Seen>> RecordSource::look_up(std::string id, TimePoint deadline) {
  const TimePoint asked_at = loop_.now();
  TaskGroup<Result<Got>> asked(loop_);
  asked.start(store_.get(id, Read::kAny, sooner(deadline, asked_at)));
  const Duration patient_for = patience(deadline);
  auto answer = co_await asked.next(asked_at + patient_for);
  if (answer && (answer->value || answer->value.error().code == Code::kCorrupt)) {
    co_return from_store(id, asked_at, std::move(answer->value));
  }
  if (replica_ != nullptr) {
    if (!answer && patient_for > Duration::zero()) store_out_at_ = loop_.now();
    std::string why_not;
    auto remembered = co_await look_into_replica(id, why_not);
    // The store may have answered meanwhile, and knows better.
    if (!answer) answer = co_await asked.next(loop_.now());
    if (remembered && !(answer && answer->value)) co_return std::move(*remembered);
    if (answer && !answer->value && !why_not.empty()) {
      co_return from_store(
          id, asked_at,
          fail(answer->value.error().code, answer->value.error().message + "; " + why_not));
    }
  }
  if (!answer) answer = co_await asked.next(deadline);
  if (answer) co_return from_store(id, asked_at, std::move(answer->value));
  co_return from_store(
      id, asked_at,
      fail(Code::kTimeout, "the store did not answer within " + to_text(loop_.now() - asked_at)));
}

Task<std::optional<RecordSource::Seen>> RecordSource::look_into_replica(std::string id,
                                                                        std::string& why_not) {
  TaskGroup<Result<std::optional<Replica::Found>>> group(loop_);
  group.start(replica_->get(id));
  auto answer = co_await group.next(loop_.now() + options_.replica_patience);
  if (!answer) {
    why_not = "the replica did not answer in time";
    co_return std::nullopt;
  }
  if (!answer->value) {
    why_not = answer->value.error().message;
    co_return std::nullopt;
  }
  auto& found = *answer->value;
  if (!found) co_return std::nullopt;
  if (found->age > options_.serve_stale_for) {
    why_not =
        "this host's copy of the record was last confirmed longer ago than serve_stale_for (" +
        to_text(options_.serve_stale_for) + ")";
    co_return std::nullopt;
  }
  co_return Seen{std::move(found->stored), true, loop_.now() - found->age};
}

Task<bool> RecordSource::remembers(std::string id) {
  if (replica_ == nullptr) co_return false;
  TaskGroup<Result<std::optional<Replica::Found>>> group(loop_);
  group.start(replica_->get(std::move(id)));
  auto answer = co_await group.next(loop_.now() + options_.replica_patience);
  // A record that is damaged in the replica is a record all the same.
  if (!answer) co_return false;
  if (!answer->value) co_return answer->value.error().code == Code::kCorrupt;
  co_return answer->value->has_value();
}

}  // namespace keyfs
