#include "fs/keys/inquiry.h"

#include <algorithm>
#include <utility>

#include "base/deadline.h"
#include "fs/keys/record_memory.h"

namespace keyfs {

Inquiry::Inquiry(RecordSource& source, std::string id, TimePoint deadline)
    : source_(source),
      loop_(source.loop_),
      id_(std::move(id)),
      deadline_(deadline),
      asked_at_(loop_.now()),
      group_(loop_) {}

Task<Inquiry::Heard> Inquiry::ask_store(Read read) {
  Heard heard;
  heard.store = co_await source_.store_.get(id_, read, sooner(deadline_, asked_at_));
  co_return heard;
}

Task<Inquiry::Heard> Inquiry::ask_memory() {
  Heard heard;
  heard.memory = co_await source_.memory_.recall(id_);
  co_return heard;
}

void Inquiry::start_store(Read read) {
  if (asking_) group_.cancel(*asking_);
  answer_.reset();
  hindsight_ = !recall_;
  asked_at_ = loop_.now();
  asking_ = group_.start(ask_store(read));
}

bool Inquiry::has(Want want) const {
  switch (want) {
    case Want::kStore:
      return answer_.has_value();
    case Want::kMemory:
      return recall_.has_value();
    case Want::kEither:
      return answer_ || recall_;
    case Want::kDecision:
      return decided() || recall_.has_value();
  }
  return false;
}

// The one place that waits: in a loop's condition, g++ 12 evaluates a co_await even where && or ||
// should skip it.
Task<bool> Inquiry::hear(Want want, TimePoint until) {
  while (!has(want)) {
    auto heard = co_await group_.next(until);
    if (!heard) co_return false;
    take(std::move(heard->value));
  }
  co_return true;
}

void Inquiry::take(Heard heard) {
  if (heard.memory) {
    recall_ = std::move(heard.memory);
    return;
  }
  asking_.reset();
  answer_ = std::move(heard.store);
  if (decided()) {
    source_.store_out_at_.reset();
  } else {
    source_.store_out_at_ = loop_.now();
  }
}

bool Inquiry::decided() const {
  return answer_ && (*answer_ || answer_->error().code == Code::kCorrupt);
}

Task<Result<Inquiry::Seen>> Inquiry::look(KeyCache::Known known, bool strong) {
  if (!std::exchange(late_, false)) {
    // A stale answer can't help if the last strong answer is too old.
    const bool too_old = known.confirmed_at && overdue(*known.confirmed_at);
    start_store(strong || too_old ? Read::kStrong : Read::kAny);
  }
  if (!std::exchange(recalling_, true)) group_.start(ask_memory());

  const Duration patient_for = source_.store_patience(deadline_);
  const TimePoint impatient = asked_at_ + patient_for;
  co_await hear(Want::kStore, impatient);
  if (!answer_ && patient_for > Duration::zero()) source_.store_out_at_ = loop_.now();
  const TimePoint memory_until = source_.memory_until(deadline_);
  co_await hear(Want::kDecision, memory_until);
  std::string why_not;
  if (!decided()) {
    if (auto seen = from_memory(known, why_not)) co_return std::move(*seen);
  }
  // Only the store is left, unless the memory was just slow.
  if (!answer_ && !recall_) {
    co_await hear(Want::kEither, deadline_);
    if (!decided()) {
      if (auto seen = from_memory(known, why_not)) co_return std::move(*seen);
    }
  }
  if (!answer_) co_await hear(Want::kStore, deadline_);
  if (decided()) co_return co_await weigh(std::move(known));
  co_return fail(failure(why_not));
}

// Compares the store's answer with what is remembered. Asks again if the answer may be stale and
// that matters, or if the memory answered after the store was asked, since a command may have
// changed the record and noted that in between.
Task<Result<Inquiry::Seen>> Inquiry::weigh(KeyCache::Known known) {
  for (;;) {
    if (!*answer_) co_return fail(failure(""));
    Got& got = **answer_;
    if (!got) co_return Seen{std::nullopt, false, true, asked_at_};
    (void)co_await recall(false);
    const auto doubt = contradiction(known, got->record);
    if (got.strong && !doubt) co_return Seen{std::move(got.stored), false, true, asked_at_};
    if (got.strong && !hindsight()) {
      co_return fail(went_back(id_, *doubt, source_.memory_.forget()));
    }
    const bool older =
        recall_ && recall_->stored && may_be_older(recall_->stored->record, got->record);
    const TimePoint confirmed = confirmed_before(known);
    if (!doubt && !older && !overdue(confirmed)) {
      co_return Seen{std::move(got.stored), false, false, confirmed};
    }
    start_store(Read::kStrong);
    std::string why_not;
    auto instead = from_memory(known, why_not);
    const TimePoint until =
        instead ? std::min(deadline_, loop_.now() + source_.options_.store_patience) : deadline_;
    co_await hear(Want::kStore, until);
    if (decided()) continue;
    // This host knows a newer record than the one found.
    if (instead) co_return std::move(*instead);
    if (why_not.empty()) {
      why_not =
          "the answer may be stale; the record was confirmed longer ago than serve_stale_for (" +
          to_text(source_.options_.serve_stale_for) + ")";
    }
    co_return fail(failure(why_not));
  }
}

Task<bool> Inquiry::answered_late() {
  co_await hear(Want::kStore, loop_.now());
  late_ = decided();
  co_return late_;
}

Task<Recall> Inquiry::recall(bool patiently) {
  const TimePoint until = patiently ? deadline_ : source_.memory_until(deadline_);
  co_await hear(Want::kMemory, until);
  if (recall_) co_return *recall_;
  co_return source_.memory_is_slow();
}

std::optional<std::string> Inquiry::contradiction(const KeyCache::Known& known,
                                                  const Record& now) const {
  if (auto why = goes_back(known.memory, now)) return why;
  if (!recall_ || !recall_->stored) return std::nullopt;
  return goes_back(recall_->stored->record, now);
}

std::optional<Inquiry::Seen> Inquiry::from_memory(const KeyCache::Known& known,
                                                  std::string& why_not) const {
  if (!recall_) {
    why_not = "this host's replica of records did not answer in time";
    return std::nullopt;
  }
  why_not.clear();
  if (!recall_->stored) {
    if (recall_->why) why_not = recall_->why->message;
    return std::nullopt;
  }
  if (recall_->age > source_.options_.serve_stale_for) {
    why_not =
        "this host's copy of the record was last confirmed longer ago than serve_stale_for (" +
        to_text(source_.options_.serve_stale_for) + ")";
    return std::nullopt;
  }
  if (goes_back(known.memory, recall_->stored->record)) {
    why_not = "this host's copy of the record is older than what it has seen";
    return std::nullopt;
  }
  return Seen{recall_->stored, true, false, loop_.now() - recall_->age};
}

// Never from an answer that may be stale, except the very first, from which the time counts.
TimePoint Inquiry::confirmed_before(const KeyCache::Known& known) const {
  std::optional<TimePoint> last = known.confirmed_at;
  if (recall_ && recall_->stored) {
    const bool told = recall_->age != Duration::max();
    const TimePoint by_memory = told ? loop_.now() - recall_->age : TimePoint::min();
    last = last ? std::max(*last, by_memory) : by_memory;
  }
  return last.value_or(asked_at_);
}

bool Inquiry::overdue(TimePoint confirmed_at) const {
  return confirmed_at + source_.options_.serve_stale_for < loop_.now();
}

Error Inquiry::failure(const std::string& why_not) {
  Error error(Code::kTimeout,
              "the store did not answer within " + to_text(loop_.now() - asked_at_));
  if (answer_ && !*answer_) {
    error = as_outage(answer_->error());
  } else {
    source_.store_out_at_ = loop_.now();
  }
  if (!why_not.empty()) error.message += "; " + why_not;
  return error.within("could not read the record of key " + id_);
}

}  // namespace keyfs
