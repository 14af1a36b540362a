#include "fs/keys/record_source.h"

#include <algorithm>
#include <utility>

#include "base/deadline.h"
#include "base/race.h"

namespace keyfs {

Task<Result<RecordSource::Seen>> RecordSource::ask_store(std::string id, TimePoint deadline) {
  const TimePoint asked_at = loop_.now();
  const std::string what = "store";
  auto get = store_.get(id, Read::kStrong, sooner(deadline, asked_at));
  auto got = co_await before(loop_, deadline, what, std::move(get));
  if (!got) {
    store_out_at_.reset();
    if (got.error().code != Code::kCorrupt) store_out_at_ = loop_.now();
    co_return fail(got.error().within("could not read the record of key " + id));
  }
  store_out_at_.reset();
  co_return Seen{std::move(got->stored), false, true, asked_at};
}

Duration RecordSource::store_patience(TimePoint deadline) const {
  const Duration left = std::max(Duration::zero(), deadline - loop_.now());
  if (store_out_at_ && loop_.now() - *store_out_at_ < options_.store_pause) return Duration::zero();
  return std::min(options_.store_patience, left / 2);
}

TimePoint RecordSource::memory_until(TimePoint deadline) const {
  const TimePoint now = loop_.now();
  if (memory_out_at_ && now - *memory_out_at_ < options_.memory_pause) return now;
  return std::min(deadline, now + options_.memory_patience);
}

Task<Recall> RecordSource::ask_memory(std::string id, TimePoint deadline) {
  TaskGroup<Recall> asked(loop_);
  asked.start(memory_.recall(std::move(id)));
  const TimePoint until = memory_until(deadline);
  auto told = co_await asked.next(until);
  if (told) co_return std::move(told->value);
  co_return memory_is_slow();
}

Recall RecordSource::memory_is_slow() {
  const TimePoint now = loop_.now();
  if (!memory_out_at_ || now - *memory_out_at_ >= options_.memory_pause) {
    memory_out_at_ = now;
    log_.warn(
        "this host's replica of records does not answer: the store's answers are not compared "
        "with it, and no key is created");
  }
  return Recall::unknown(
      Error(Code::kTimeout, "this host's replica of records did not answer in time"));
}

}  // namespace keyfs
