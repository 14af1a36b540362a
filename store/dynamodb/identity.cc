// DynamoDbStore: which store the table holds. See store/known_store.h.
#include <algorithm>
#include <functional>
#include <utility>

#include "base/race.h"
#include "store/dynamodb/asking.h"
#include "store/known_store.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;

constexpr Duration kEstablish = 10s;
constexpr Duration kEstablishAgain = 5s;
constexpr Duration kTableId = 1s;

}  // namespace

Task<Result<std::string>> DynamoDbStore::identity(TimePoint deadline) {
  if (auto ok = co_await establish(deadline); !ok) co_return fail(std::move(ok.error()));
  co_return store_id_;
}

Task<Result<void>> DynamoDbStore::establish(TimePoint deadline) {
  if (refused_) co_return fail(*refused_);
  if (established_) co_return Result<void>();
  // One for all concurrent callers; each with its own deadline.
  SingleFlight<Result<bool>>::Work work = [this](SingleFlight<Result<bool>>::Flight&) {
    return establish_now(loop_.now() + kEstablish);
  };
  auto joined = establishing_.join("", std::move(work));
  auto done =
      co_await before(loop_, deadline, "identity of table " + names_.table, std::move(joined));
  if (!done) co_return fail(std::move(done.error()));
  co_return Result<void>();
}

Task<Result<bool>> DynamoDbStore::establish_now(TimePoint deadline) {
  using Id = std::optional<std::string>;
  auto fresh = new_revision();  // as random as an id must be
  if (!fresh) co_return fail(std::move(fresh.error()));
  if (replicas_.size() > 1) (void)co_await describe(deadline);
  Attempt<Id> attempt = [this, &fresh](unsigned number, TimePoint until) -> Task<Result<Id>> {
    Ask<Id> strongly = [](DynamoDbReplica& replica, TimePoint end) {
      return replica.get_store_id(true, end);
    };
    auto there = co_await ask<Id>(deciding(), until, strongly);
    // The store that this host knows had an id, so one without an id is another store.
    if (!there || *there || !store_id_.empty()) co_return there;
    Ask<Id> give = [&fresh](DynamoDbReplica& replica, TimePoint end) {
      return replica.found_store(*fresh, end);
    };
    const auto order = deciding();
    there = co_await ask_one<Id>(order[number % order.size()], until, give);
    if (!there || *there) co_return there;
    co_return co_await ask<Id>(deciding(), until, strongly);
  };
  auto there = co_await with_retries<Id>(deadline, attempt);
  if (!there) co_return fail(std::move(there.error()));
  if (!*there && store_id_.empty()) {
    co_return fail(Code::kUnavailable, "table " + names_.table + " could not be given an id");
  }
  if (!*there || (!store_id_.empty() && **there != store_id_)) {
    refused_ = other_store(*there);
    co_return fail(*refused_);
  }
  if (files_ != nullptr) {
    StoreName name{"dynamodb", **there};
    // If permitted: a table that was restored from a backup has the old one's id.
    const auto home = co_await replicas_[0]->describe(std::min(deadline, loop_.now() + kTableId));
    if (home && !home->table_id.empty()) {
      name.life = replicas_[0]->region() + "/" + home->table_id;
    }
    std::function<Result<void>()> job = [dir = state_dir_, name, where = "table " + names_.table] {
      return check_known_store(dir, name, where);
    };
    auto noted = co_await files_->run<Result<void>>(std::move(job));
    if (!noted) {
      if (noted.error().code == Code::kInvalid) refused_ = noted.error();
      co_return fail(noted.error().within("no key is created in table " + names_.table));
    }
  }
  store_id_ = **there;
  established_ = true;
  co_return true;
}

Task<bool> DynamoDbStore::establish_in_background() {
  const auto done = co_await establish(loop_.now() + kEstablish);
  establish_again_ = loop_.now() + kEstablishAgain;
  co_return done.has_value();
}

// A host that only reads must know its store too, for when it has to create a key.
void DynamoDbStore::start_establishing() {
  if (established_ || refused_ || loop_.now() < establish_again_) return;
  establish_again_ = loop_.now() + kEstablish + kEstablishAgain;
  background_.start(establish_in_background());
}

Task<Result<void>> DynamoDbStore::verify(TimePoint deadline) {
  using Id = std::optional<std::string>;
  Ask<Id> strongly = [](DynamoDbReplica& replica, TimePoint end) {
    return replica.get_store_id(true, end);
  };
  auto there = co_await ask<Id>(deciding(), deadline, strongly);
  if (!there) co_return fail(std::move(there.error()));
  if (*there && **there == store_id_) co_return Result<void>();
  established_ = false;
  refused_ = other_store(*there);
  co_return fail(*refused_);
}

Error DynamoDbStore::other_store(const std::optional<std::string>& there) const {
  return Error(
      Code::kInvalid,
      "table " + names_.table + " is not the store that this host has used so far (" + store_id_ +
          "): " + (there ? "it is store " + *there : "it was recreated and has no id yet") +
          "; ids could get a second key. Restore the table, or, if this is "
          "intended, " +
          accept_store_hint());
}

// Nobody may have taken its key for a key of the store that is there now: it is bound to the one
// that was there before. A record that is bound to none is left.
Task<std::string> DynamoDbStore::take_back(const Record& record, std::string json,
                                           std::string revision, TimePoint deadline) {
  const std::string item =
      "the item " + record.id + " that this host had put there before it " + "noticed";
  if (record.origin.empty()) {
    co_return ". Left there is " + item;
  }
  Attempt<bool> attempt = [this, &record, &json, &revision](unsigned number, TimePoint until) {
    Ask<bool> remove = [&record, &json, &revision](DynamoDbReplica& replica, TimePoint end) {
      return replica.remove(record.id, json, revision, end);
    };
    const auto order = deciding();
    return ask_one<bool>(order[number % order.size()], until, remove);
  };
  const auto removed = co_await with_retries<bool>(deadline, attempt);
  if (!removed) {
    co_return ". It is not known whether " + item + " is still there (" + removed.error().message +
        "): if it is, delete it, so that the id can be used again";
  }
  if (*removed) co_return ". Removed again: " + item;
  co_return ". It is not there any more: " + item;
}

Task<Result<void>> DynamoDbStore::check_own(const Record& record, TimePoint deadline) {
  using Id = std::optional<std::string>;
  if (record.origin.empty()) co_return Result<void>();
  if (store_id_.empty() && heard_id_.empty()) {
    // It never changes, so any replica's answer is good, unless the replica lags behind.
    Ask<Id> quickly = [](DynamoDbReplica& replica, TimePoint end) {
      return replica.get_store_id(false, end);
    };
    auto there = co_await ask_readable<Id>(deadline, quickly);
    if (there && !*there) {
      Ask<Id> strongly = [](DynamoDbReplica& replica, TimePoint end) {
        return replica.get_store_id(true, end);
      };
      there = co_await ask<Id>(deciding(), deadline, strongly);
    }
    if (!there) co_return fail(std::move(there.error()));
    if (!*there) co_return check_origin(record, "one without an id");
    heard_id_ = **there;
  }
  co_return check_origin(record, store_id_.empty() ? heard_id_ : store_id_);
}

}  // namespace keyfs
