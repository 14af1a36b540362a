#include "store/dynamodb/store.h"

#include <algorithm>
#include <array>
#include <numeric>

#include "base/encoding.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;

constexpr Duration kFirstPause = 25ms;
constexpr Duration kLongestPause = 1s;
// Of one attempt: a connection that hangs leaves time for another one.
constexpr Duration kAttempt = 3s;
constexpr Duration kDescribe = 5s;
constexpr Duration kDescribeAgain = 5s;
constexpr size_t kMaxPage = 1000;

// Of several replicas that failed: what the caller can do about all of them.
Error combine(const std::vector<Error>& errors) {
  if (errors.size() == 1) return errors.front();
  Code code = errors.front().code;
  std::string text;
  for (const Error& error : errors) {
    // One that may pass makes the whole worth another try; throttled only when all are.
    if (error.code != code)
      code = may_pass(error.code) || may_pass(code) ? Code::kUnavailable : code;
    text += (text.empty() ? "" : "; ") + error.message;
  }
  return Error(code, std::move(text));
}

}  // namespace

DynamoDbStore::DynamoDbStore(Loop& loop, Random& random, DynamoDbNames names,
                             std::vector<std::unique_ptr<DynamoDbReplica>> replicas)
    : loop_(loop),
      random_(random),
      names_(std::move(names)),
      replicas_(std::move(replicas)),
      describing_(loop),
      background_(loop) {
  topology_.replica.assign(replicas_.size(), false);
  topology_.replica[0] = true;
}

DynamoDbStore::~DynamoDbStore() = default;

Result<std::string> DynamoDbStore::new_revision() {
  std::array<uint8_t, 16> bytes{};
  if (auto ok = random_.fill(bytes); !ok) return fail(std::move(ok.error()));
  return hex_encode(bytes);
}

template <class T>
Task<Result<T>> DynamoDbStore::with_retries(TimePoint deadline, Attempt<T> attempt) {
  int spent = 0;
  std::optional<Error> last;  // of the last attempt
  for (unsigned number = 0;; ++number) {
    if (loop_.now() >= deadline) {
      // The last pause took longer than it should: on a busy machine, or one that was asleep.
      if (!last) last = Error(Code::kTimeout, "table " + names_.table + ": timed out");
      // Throttled to the end stays throttled.
      if (last->code == Code::kUnavailable) last->code = Code::kTimeout;
      co_return fail(std::move(*last));
    }
    const TimePoint until = std::min(deadline, loop_.now() + kAttempt);
    auto result = co_await attempt(number, until);
    if (result) {
      budget_.succeeded(spent);
      co_return result;
    }
    Error& error = result.error();
    if (!may_pass(error.code)) co_return result;
    if (error.code == Code::kTimeout && until == deadline && last &&
        last->code == Code::kThrottled) {
      // What was left of the time was too little for an answer: it was the throttling that took it.
      co_return fail(std::move(*last));
    }
    last = error;
    const int cost = error.code == Code::kTimeout ? RetryBudget::kTimeout : RetryBudget::kRetry;
    const Duration pause = retry_pause(number, kFirstPause, kLongestPause,
                                       [this] { return random_fraction_of(random_); });
    if (loop_.now() + pause >= deadline) {
      // Throttled to the end stays throttled: the caller shall slow down.
      if (error.code == Code::kUnavailable) error.code = Code::kTimeout;
      error.message += "; tried " + std::to_string(number + 1) + " times until the deadline";
      co_return result;
    }
    if (!budget_.take(cost)) {
      error.message += "; not tried again: too many calls fail";
      co_return result;
    }
    spent += cost;
    co_await loop_.sleep_for(pause);
  }
}

template <class T>
Task<Result<T>> DynamoDbStore::ask_one(size_t replica, TimePoint deadline, Ask<T> question) {
  DynamoDbReplica& asked = *replicas_[replica];
  const TimePoint begin = loop_.now();
  auto result = co_await question(asked, deadline);
  if (result) {
    asked.succeeded(loop_.now() - begin);
  } else if (result.error().code != Code::kCorrupt && result.error().code != Code::kInvalid) {
    asked.failed();
  }
  co_return result;
}

template <class T>
Task<Result<T>> DynamoDbStore::ask(std::vector<size_t> replicas, TimePoint deadline,
                                   Ask<T> question) {
  TaskGroup<Result<T>> calls(loop_);
  std::vector<size_t> asked;  // by the call's number
  std::vector<bool> done;
  std::vector<Error> errors;
  while (asked.size() < replicas.size() || !calls.empty()) {
    if (asked.size() < replicas.size()) {
      const size_t next = replicas[asked.size()];
      calls.start(ask_one<T>(next, deadline, question));
      asked.push_back(next);
      done.push_back(false);
    }
    // More are asked while these take their time, as long as there are more.
    std::optional<TimePoint> until;
    if (asked.size() < replicas.size()) until = loop_.now() + replicas_[asked.back()]->patience();
    auto finished = co_await calls.next(until);
    if (!finished) continue;
    done[finished->number] = true;
    auto& result = finished->value;
    if (result || !(may_pass(result.error().code) || result.error().code == Code::kDenied)) {
      // Those that were asked before and have not answered are not asked first for a while.
      for (size_t call = 0; call < finished->number; ++call) {
        if (!done[call]) replicas_[asked[call]]->failed();
      }
      co_return std::move(result);
    }
    errors.push_back(std::move(result.error()));
  }
  co_return fail(combine(errors));
}

template <class T>
Task<Result<T>> DynamoDbStore::ask_readable(TimePoint deadline, Ask<T> question) {
  if (replicas_.size() > 1 && topology_.mode == Mode::kUnknown) {
    // Home is asked while the table is described; should it not answer soon, the others are asked
    // as soon as they are known.
    const TimePoint until = std::min(deadline, loop_.now() + replicas_[0]->patience());
    std::vector<size_t> home(1, 0);
    auto answer = co_await ask<T>(std::move(home), until, question);
    if (answer || !(may_pass(answer.error().code) || answer.error().code == Code::kDenied)) {
      co_return answer;
    }
    (void)co_await describe(deadline);
  }
  co_return co_await ask<T>(readable(), deadline, question);
}

DynamoDbStore::Topology DynamoDbStore::topology_from(size_t replica,
                                                     const TableDescription& description) const {
  Topology topology;
  topology.replica.assign(replicas_.size(), false);
  topology.replica[0] = true;
  // A replica that does not know home says nothing about the table at home.
  if (replica != 0 && !description.regions.contains(replicas_[0]->region())) {
    topology.why_unknown =
        Error(Code::kInvalid, "table " + names_.table + " in " + replicas_[replica]->region() +
                                  " is not a replica of that in " + replicas_[0]->region());
    return topology;
  }
  for (size_t i = 1; i < replicas_.size(); ++i) {
    topology.replica[i] = description.regions.contains(replicas_[i]->region());
  }
  topology.mode = description.strong ? Mode::kAnyDecides : Mode::kHomeDecides;
  return topology;
}

Task<Result<DynamoDbStore::Topology>> DynamoDbStore::describe(TimePoint deadline) {
  if (topology_.mode != Mode::kUnknown) co_return topology_;
  // No coroutine itself: the flight may outlive this caller, and what the lambda holds.
  SingleFlight<Result<Topology>>::Work work = [this](SingleFlight<Result<Topology>>::Flight&) {
    return describe_now();
  };
  auto joined = describing_.join("", std::move(work));
  co_return co_await before(loop_, deadline, "description of table " + names_.table,
                            std::move(joined));
}

Task<Result<DynamoDbStore::Topology>> DynamoDbStore::describe_now() {
  std::vector<size_t> all(replicas_.size());
  std::iota(all.begin(), all.end(), size_t{0});
  Ask<Topology> question = [this](DynamoDbReplica& replica, TimePoint until) {
    return describe_by(replica, until);
  };
  auto topology = co_await ask<Topology>(std::move(all), loop_.now() + kDescribe, question);
  if (topology) {
    topology_ = *topology;
  } else {
    topology_.why_unknown = topology.error();
  }
  co_return topology;
}

Task<Result<DynamoDbStore::Topology>> DynamoDbStore::describe_by(DynamoDbReplica& replica,
                                                                 TimePoint deadline) {
  const auto description = co_await replica.describe(deadline);
  if (!description) co_return fail(description.error());
  if (!description->key_is_id) {
    co_return fail(Code::kDenied, replica.region() + ": the key of table " + names_.table +
                                      " is not the text id alone; it is the table of another "
                                      "program");
  }
  size_t index = 0;
  while (replicas_[index].get() != &replica) ++index;
  co_return topology_from(index, *description);
}

Task<bool> DynamoDbStore::describe_in_background() {
  const auto topology = co_await describe(loop_.now() + kDescribe);
  describe_again_ = loop_.now() + kDescribeAgain;
  co_return topology.has_value();
}

void DynamoDbStore::start_describing() {
  if (topology_.mode != Mode::kUnknown || loop_.now() < describe_again_) return;
  describe_again_ = loop_.now() + kDescribe + kDescribeAgain;
  background_.start(describe_in_background());
}

std::vector<size_t> DynamoDbStore::readable() const {
  std::vector<size_t> order;
  for (const bool healthy : {true, false}) {
    for (size_t i = 0; i < replicas_.size(); ++i) {
      if (topology_.replica[i] && replicas_[i]->healthy() == healthy) order.push_back(i);
    }
  }
  return order;
}

std::vector<size_t> DynamoDbStore::deciding() const {
  if (topology_.mode == Mode::kAnyDecides) return readable();
  return {0};
}

Task<Result<Got>> DynamoDbStore::get(std::string id, Read read, TimePoint deadline) {
  using Found = std::optional<Stored>;
  if (replicas_.size() > 1) start_describing();
  Attempt<Got> attempt = [this, id, read](unsigned, TimePoint until) -> Task<Result<Got>> {
    if (read == Read::kAny) {
      Ask<Found> quickly = [id](DynamoDbReplica& replica, TimePoint end) {
        return replica.get(id, false, end);
      };
      auto found = co_await ask_readable<Found>(until, quickly);
      if (!found) co_return fail(std::move(found.error()));
      if (*found) co_return Got{std::move(*found), false};
    }
    // Only who decides can say that there is none, and what is so now.
    if (replicas_.size() > 1) (void)co_await describe(until);
    Ask<Found> strongly = [id](DynamoDbReplica& replica, TimePoint end) {
      return replica.get(id, true, end);
    };
    auto found = co_await ask<Found>(deciding(), until, strongly);
    if (!found) co_return fail(std::move(found.error()));
    co_return Got{std::move(*found), true};
  };
  co_return co_await with_retries<Got>(deadline, std::move(attempt));
}

Task<Result<PutResult>> DynamoDbStore::put_if_absent(Record record, TimePoint deadline) {
  auto json = to_json(record);
  if (!json) co_return fail(std::move(json.error()));
  auto revision = new_revision();
  if (!revision) co_return fail(std::move(revision.error()));
  if (replicas_.size() > 1) (void)co_await describe(deadline);

  bool unknown = false;
  Attempt<PutResult> attempt = [this, &record, &json, &revision, &unknown](
                                   unsigned number, TimePoint until) -> Task<Result<PutResult>> {
    using Written = DynamoDbReplica::Written;
    const auto order = deciding();
    Ask<Written> write = [&](DynamoDbReplica& replica, TimePoint end) {
      return replica.put(record.id, *json, *revision, end);
    };
    // One after the other: nothing is gained by racing against ourselves.
    const size_t chosen = order[number % order.size()];
    auto written = co_await ask_one<Written>(chosen, until, write);
    if (!written) {
      const Code code = written.error().code;
      unknown = unknown || code == Code::kUnavailable || code == Code::kTimeout;
      co_return fail(std::move(written.error()));
    }
    if (written->done) co_return PutResult{true, Stored{record, *revision}};
    if (!written->found) {
      Ask<std::optional<Stored>> read = [&](DynamoDbReplica& replica, TimePoint end) {
        return replica.get(record.id, true, end);
      };
      auto found = co_await ask_one<std::optional<Stored>>(chosen, until, read);
      if (!found) co_return fail(std::move(found.error()));
      if (!*found) {
        co_return fail(Code::kUnavailable,
                       "the record of key " + record.id + " was there and is not any more");
      }
      written->found = std::move(*found);
    }
    // A first attempt of ours, whose reply was lost, may be what is in the way.
    const bool ours = written->found->revision == *revision;
    co_return PutResult{ours, std::move(*written->found)};
  };
  auto put = co_await with_retries<PutResult>(deadline, attempt);
  if (!put && unknown && put.error().code != Code::kCorrupt) {
    put.error().message =
        "whether key " + record.id + " was saved is not known: " + put.error().message;
  }
  co_return put;
}

Task<Result<std::optional<Stored>>> DynamoDbStore::replace(Record record, std::string revision,
                                                           TimePoint deadline) {
  using Replaced = std::optional<Stored>;
  auto json = to_json(record);
  if (!json) co_return fail(std::move(json.error()));
  auto next = new_revision();
  if (!next) co_return fail(std::move(next.error()));
  if (replicas_.size() > 1) (void)co_await describe(deadline);

  bool unknown = false;
  Attempt<Replaced> attempt = [this, &record, &json, &revision, &next, &unknown](
                                  unsigned number, TimePoint until) -> Task<Result<Replaced>> {
    using Written = DynamoDbReplica::Written;
    const auto order = deciding();
    Ask<Written> write = [&](DynamoDbReplica& replica, TimePoint end) {
      return replica.update(record.id, *json, *next, revision, end);
    };
    auto written = co_await ask_one<Written>(order[number % order.size()], until, write);
    if (!written) {
      const Code code = written.error().code;
      unknown = unknown || code == Code::kUnavailable || code == Code::kTimeout;
      co_return fail(std::move(written.error()));
    }
    const bool ours = written->found && written->found->revision == *next;
    if (written->done || ours) co_return Stored{record, *next};
    co_return std::nullopt;
  };
  auto replaced = co_await with_retries<Replaced>(deadline, attempt);
  if (!replaced && unknown) {
    replaced.error().message =
        "whether key " + record.id + " was changed is not known: " + replaced.error().message;
  }
  co_return replaced;
}

Task<Result<ListPage>> DynamoDbStore::list(std::string after, size_t limit, TimePoint deadline) {
  if (replicas_.size() > 1) start_describing();
  limit = std::clamp<size_t>(limit, 1, kMaxPage);
  Attempt<ListPage> attempt = [this, after, limit](unsigned, TimePoint until) {
    Ask<ListPage> scan = [after, limit](DynamoDbReplica& replica, TimePoint end) {
      return replica.scan(after, limit, end);
    };
    return ask_readable<ListPage>(until, scan);
  };
  co_return co_await with_retries<ListPage>(deadline, std::move(attempt));
}

}  // namespace keyfs
