#include "store/dynamodb/store.h"

#include <algorithm>
#include <array>
#include <numeric>

#include "base/encoding.h"
#include "store/dynamodb/asking.h"
#include "store/known_store.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;

constexpr Duration kDescribe = 5s;
constexpr Duration kDescribeAgain = 5s;
constexpr size_t kMaxPage = 1000;
// Calls to one replica at once, as many as there are connections to a host (base/http).
constexpr size_t kAtOnce = 64;

// A replica is left alone after its first failure, since another one has the same; one that is the
// only one to ask is asked all the same.
HealthOptions replica_health() {
  HealthOptions options;
  options.hedge_unknown = 500ms;  // a first call has a handshake before it
  options.hedge_least = 50ms;
  options.failures_to_open = 1;
  options.throttled_open = 1s;
  options.throttled_open_most = 30s;
  options.denied_open = 15s;
  options.open_costs_token = false;
  return options;
}

}  // namespace

DynamoDbStore::DynamoDbStore(Loop& loop, Random& random, DynamoDbNames names,
                             std::vector<std::unique_ptr<DynamoDbReplica>> replicas,
                             std::string state_dir, std::string known, Duration attempt)
    : loop_(loop),
      random_(random),
      fraction_(random_fraction(random)),
      names_(std::move(names)),
      replicas_(std::move(replicas)),
      retries_(loop, fraction_, "table " + names_.table, attempt),
      state_dir_(std::move(state_dir)),
      store_id_(std::move(known)),
      board_(std::make_unique<DynamoDbBoard>(
          *this, loop, random, replicas_[0]->beside(names_.table + "-board"), attempt)),
      describing_(loop),
      establishing_(loop),
      background_(loop) {
  for (const auto& replica : replicas_) {
    candidates_.push_back(std::make_unique<Candidate>(
        *replica, candidates_.size(), Health(loop.clock(), fraction_, replica_health()),
        turns_for(loop, kAtOnce)));
  }
  if (!state_dir_.empty()) files_ = std::make_unique<Worker>(loop, "keyfs-table");
  topology_.replica.assign(replicas_.size(), false);
  topology_.replica[0] = true;
}

DynamoDbStore::~DynamoDbStore() = default;

Result<std::string> DynamoDbStore::new_revision() {
  std::array<uint8_t, 16> bytes{};
  if (auto ok = random_.fill(bytes); !ok) return fail(std::move(ok.error()));
  return hex_encode(bytes);
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
  // Not a coroutine: the flight may outlive this caller, and what the lambda holds.
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
                                      " is not just the string id; the table belongs to another "
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
  std::vector<Candidate*> able;
  for (const auto& candidate : candidates_) {
    if (topology_.replica[candidate->index]) able.push_back(candidate.get());
  }
  std::vector<size_t> order;
  for (const Candidate* candidate : healthy_first(std::move(able), HalfOpen::kInItsPlace)) {
    order.push_back(candidate->index);
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
  start_establishing();
  Attempt<Got> attempt = [this, id, read](unsigned number, TimePoint until) -> Task<Result<Got>> {
    Result<Found> found = Found();
    bool decided = false;
    if (read == Read::kAny) {
      // What fails is not asked for so much again.
      const bool strong_at_home = number == 0 && topology_.mode != Mode::kAnyDecides;
      Ask<Got> quickly = [this, id, strong_at_home](DynamoDbReplica& replica, TimePoint end) {
        return look(replica, id, strong_at_home && &replica == replicas_[0].get(), end);
      };
      auto got = co_await ask_readable<Got>(until, quickly);
      if (!got) co_return fail(std::move(got.error()));
      if (*got) {
        auto own = co_await check_own((*got)->record, until);
        if (!own) co_return fail(std::move(own.error()));
        co_return got;
      }
      decided = got->strong;
    }
    // Only who decides can say that there is none, and what is so now.
    Ask<Found> strongly = [id](DynamoDbReplica& replica, TimePoint end) {
      return replica.get(id, true, end);
    };
    if (!decided) {
      if (replicas_.size() > 1) (void)co_await describe(until);
      found = co_await ask<Found>(deciding(), until, strongly);
    }
    if (found && !*found && !established_) {
      // Only now it matters which store this is, and only a later read counts.
      auto known = co_await establish(until);
      if (!known) co_return fail(std::move(known.error()));
      found = co_await ask<Found>(deciding(), until, strongly);
    }
    if (!found) co_return fail(std::move(found.error()));
    if (!*found && refused_) co_return fail(*refused_);
    if (*found) {
      auto own = co_await check_own((*found)->record, until);
      if (!own) co_return fail(std::move(own.error()));
    }
    co_return Got{std::move(*found), true};
  };
  co_return co_await with_retries<Got>(deadline, std::move(attempt));
}

Task<Result<Got>> DynamoDbStore::look(DynamoDbReplica& replica, std::string id, bool strong,
                                      TimePoint deadline) {
  auto found = co_await replica.get(std::move(id), strong, deadline);
  if (!found) co_return fail(std::move(found.error()));
  co_return Got{std::move(*found), strong};
}

Task<Result<PutResult>> DynamoDbStore::put_if_absent(Record record, TimePoint deadline) {
  auto json = to_json(record);
  if (!json) co_return fail(std::move(json.error()));
  auto revision = new_revision();
  if (!revision) co_return fail(std::move(revision.error()));
  if (auto known = co_await establish(deadline); !known) co_return fail(std::move(known.error()));
  if (auto ok = check_may_write(record, store_id_); !ok) co_return fail(std::move(ok.error()));

  bool unknown = false;  // whether it was written, or, once it was, whether it counts
  Attempt<PutResult> attempt = [this, &record, &json, &revision, &unknown](
                                   unsigned number, TimePoint until) -> Task<Result<PutResult>> {
    using Written = DynamoDbReplica::Written;
    const auto order = deciding();
    Ask<Written> write = [&](DynamoDbReplica& replica, TimePoint end) {
      return replica.put(record.id, *json, *revision, end);
    };
    // One after the other: racing against ourselves gains nothing.
    const size_t chosen = order[number % order.size()];
    auto written = co_await ask_one<Written>(chosen, until, write);
    if (!written) {
      const Code code = written.error().code;
      unknown = unknown || code == Code::kUnavailable || code == Code::kTimeout;
      co_return fail(std::move(written.error()));
    }
    if (written->done) {
      unknown = true;
      auto same = co_await verify(until);
      if (!same) co_return fail(std::move(same.error()));
      co_return PutResult{true, Stored{record, *revision}};
    }
    if (!written->found) {
      Ask<std::optional<Stored>> read = [&](DynamoDbReplica& replica, TimePoint end) {
        return replica.get(record.id, true, end);
      };
      auto found = co_await ask_one<std::optional<Stored>>(chosen, until, read);
      if (!found) co_return fail(std::move(found.error()));
      if (!*found) {
        co_return fail(Code::kUnavailable,
                       "the record of key " + record.id + " existed and is gone");
      }
      written->found = std::move(*found);
    }
    // The existing record may come from our own first attempt, whose reply was lost.
    const bool ours = written->found->revision == *revision;
    unknown = ours;
    auto same = ours ? verify(until) : check_own(written->found->record, until);
    if (auto ok = co_await std::move(same); !ok) co_return fail(std::move(ok.error()));
    co_return PutResult{ours, std::move(*written->found)};
  };
  auto put = co_await with_retries<PutResult>(deadline, attempt);
  if (!put && unknown && refused_) {
    put.error().message += co_await take_back(record, *json, *revision, deadline);
  } else if (!put && unknown && put.error().code != Code::kCorrupt) {
    put.error().message = "outcome unknown: key " + record.id +
                          " may or may not have been saved: " + put.error().message;
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
  if (auto known = co_await establish(deadline); !known) co_return fail(std::move(known.error()));
  if (auto ok = check_may_write(record, store_id_); !ok) co_return fail(std::move(ok.error()));

  const bool gone = record.state == KeyState::kDeleted;
  bool unknown = false;
  Attempt<Replaced> attempt = [this, &record, &json, &revision, &next, &unknown, gone](
                                  unsigned number, TimePoint until) -> Task<Result<Replaced>> {
    using Written = DynamoDbReplica::Written;
    const auto order = deciding();
    Ask<Written> write = [&](DynamoDbReplica& replica, TimePoint end) {
      return replica.update(record.id, *json, *next, revision, gone, end);
    };
    auto written = co_await ask_one<Written>(order[number % order.size()], until, write);
    if (!written) {
      const Code code = written.error().code;
      unknown = unknown || code == Code::kUnavailable || code == Code::kTimeout;
      co_return fail(std::move(written.error()));
    }
    const bool ours = written->found && written->found->revision == *next;
    if (!written->done && !ours) co_return std::nullopt;
    auto same = co_await verify(until);
    unknown = true;
    if (!same) co_return fail(std::move(same.error()));
    co_return Stored{record, *next};
  };
  auto replaced = co_await with_retries<Replaced>(deadline, attempt);
  if (!replaced && unknown && !refused_) {
    replaced.error().message = "outcome unknown: key " + record.id +
                               " may or may not have been changed: " + replaced.error().message;
  }
  co_return replaced;
}

Task<Result<ListPage>> DynamoDbStore::list(std::string after, size_t limit, TimePoint deadline) {
  if (replicas_.size() > 1) start_describing();
  limit = std::clamp<size_t>(limit, 1, kMaxPage);
  Attempt<ListPage> attempt = [this, after, limit](unsigned, TimePoint until) {
    const std::string own = store_id_.empty() ? heard_id_ : store_id_;
    Ask<ListPage> scan = [after, limit, own](DynamoDbReplica& replica, TimePoint end) {
      return replica.scan(after, limit, own, end);
    };
    return ask_readable<ListPage>(until, scan);
  };
  co_return co_await with_retries<ListPage>(deadline, std::move(attempt));
}

}  // namespace keyfs
