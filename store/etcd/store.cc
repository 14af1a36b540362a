#include "store/etcd/store.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "base/race.h"
#include "store/etcd/watch.h"
#include "store/known_store.h"
#include "store/list_entry.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;

constexpr size_t kMaxPage = 256;
// How much later than a linearizable read a member's own copy is requested, so that a recovered
// quorum is noticed.
constexpr Duration kHeadStart = 50ms;
constexpr Duration kLocalPause = 200ms;

std::optional<int64_t> parse_number(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 1) return std::nullopt;
  return value;
}

// A position in a list: the last listed id and the revision of the list. No id contains a blank.
struct Place {
  std::string id;
  int64_t revision = 0;  // 0: the current one
};
Place parse_place(const std::string& after) {
  const size_t blank = after.find(' ');
  if (blank == std::string::npos) return {after, 0};
  return {after.substr(0, blank), parse_number(after.substr(blank + 1)).value_or(0)};
}

EtcdCall range_call(EtcdRange range) {
  EtcdCall call(kEtcdRangePath, to_json(range));
  call.needs_leader = !range.serializable;
  return call;
}

}  // namespace

Result<std::unique_ptr<Store>> make_etcd_store(const ConfigSection& section, EtcdParts parts,
                                               const std::string& state_dir) {
  auto options = read_etcd_options(section);
  if (!options) return fail(options.error());
  options->state_dir = state_dir;
  auto store = EtcdStore::open(parts, std::move(*options));
  if (!store) return fail(store.error());
  return std::unique_ptr<Store>(std::move(*store));
}

EtcdStore::EtcdStore(EtcdParts parts, EtcdOptions options, std::unique_ptr<HttpClient> http,
                     std::optional<EtcdKnown> known)
    : loop_(parts.loop),
      random_(parts.random),
      options_(std::move(options)),
      records_(options_.prefix + "/records/"),
      identity_(options_.state_dir, std::move(known)),
      files_(parts.loop, "keyfs-etcd"),
      client_(std::move(http), files_, identity_, parts.random, options_),
      registry_(client_, identity_, files_, parts.random, options_),
      board_(*this, options_.prefix) {}

EtcdStore::~EtcdStore() {
  if (!identity_.unsaved()) return;
  // As far as it had come at the end; without it, a later start may miss that it went back.
  (void)EtcdIdentity::save(options_.state_dir, identity_.known(), identity_.never_saved());
}

Result<std::unique_ptr<EtcdStore>> EtcdStore::open(EtcdParts parts, EtcdOptions options) {
  HttpClientOptions http;
  http.ca_file = options.ca;
  http.client_cert = options.cert;
  http.client_key = options.key;
  http.connect_timeout =
      std::chrono::duration_cast<std::chrono::milliseconds>(options.attempt_timeout);
  auto client = HttpClient::create(parts.loop, parts.poller, parts.arena, std::move(http));
  if (!client) return fail(client.error());
  if (!options.password_file.empty()) {
    const auto password = EtcdAuth::read_password(parts.arena, options.password_file);
    if (!password) return fail(password.error());
  }
  auto known = EtcdIdentity::load(options.state_dir);
  if (!known) return fail(known.error());
  return std::unique_ptr<EtcdStore>(
      new EtcdStore(parts, std::move(options), std::move(*client), std::move(*known)));
}

Result<Stored> EtcdStore::to_stored(const EtcdKeyValue& kv, const std::string& id) const {
  auto record = parse_record(kv.value, id);
  if (!record) return fail(std::move(record.error()));
  return Stored{std::move(*record), std::to_string(kv.mod_revision), kv.value};
}

Result<Stored> EtcdStore::to_own(const EtcdKeyValue& kv, const std::string& id) const {
  auto stored = to_stored(kv, id);
  if (!stored) return stored;
  if (auto ok = check_origin(stored->record, identity_.known().store_id); !ok) {
    return fail(std::move(ok.error()));
  }
  return stored;
}

Task<Result<std::string>> EtcdStore::identity(TimePoint deadline) {
  if (auto ok = co_await registry_.identify(deadline); !ok) co_return fail(ok.error());
  co_return identity_.known().store_id;
}

std::string EtcdStore::trouble() const {
  const auto ok = identity_.may_create();
  return ok ? "" : ok.error().message;
}

void EtcdStore::served_locally(int64_t revision) {
  if (watch_ != nullptr) watch_->rewind(revision);
}

void EtcdStore::note_record(int64_t mod_revision) {
  newest_record_ = std::max(newest_record_, mod_revision);
}

Task<Result<Got>> EtcdStore::found(std::string id, EtcdReply reply, bool linearizable,
                                   TimePoint deadline) {
  if (reply.kvs.empty()) {
    // Only now it matters which cluster this is; and only later replies are known to come from it.
    if (!identity_.established()) {
      if (auto ok = co_await registry_.identify(deadline); !ok) co_return fail(ok.error());
      EtcdCall call = range_call(EtcdRange(key_of(id)));
      auto again = co_await client_.call(std::move(call), deadline);
      if (!again) co_return fail(again.error().error);
      reply = std::move(*again);
    }
    if (auto ok = co_await registry_.may_create(deadline); !ok) co_return fail(ok.error());
    if (reply.kvs.empty()) co_return Got{std::nullopt, true};
  }
  note_record(reply.kvs[0].mod_revision);
  if (!linearizable) served_locally(reply.header.revision);
  auto stored = to_stored(reply.kvs[0], id);
  if (!stored) co_return fail(std::move(stored.error()));
  if (!stored->record.origin.empty()) {
    const auto own = co_await registry_.store_id(deadline);
    if (!own) co_return fail(own.error());
    if (auto ok = check_origin(stored->record, *own); !ok) co_return fail(ok.error());
  }
  co_return Got{std::move(*stored), linearizable};
}

namespace {

// A member's own copy, from any member that has one; from a member that has seen less than we have
// only if `late`: a key that we know to be disabled must not come back because of a member that was
// cut off earlier.
Task<EtcdClient::Answer> any_copy(EtcdClient& client, std::string key, const int64_t& newest_known,
                                  TimePoint start, TimePoint late, TimePoint deadline) {
  co_await client.loop().sleep_until(start);
  for (;;) {
    EtcdRange range(std::move(key));
    range.serializable = true;
    EtcdCall call = range_call(range);
    key = std::move(range.key);
    call.one_round = true;
    call.useful = [&client, &newest_known, late](const EtcdReply& reply) {
      return !reply.kvs.empty() &&
             (reply.header.revision >= newest_known || client.loop().now() >= late);
    };
    auto answer = co_await client.call(std::move(call), deadline);
    if (answer || client.loop().now() >= deadline) co_return answer;
    co_await client.loop().sleep_for(kLocalPause);
  }
}

}  // namespace

Task<Result<Got>> EtcdStore::get(std::string id, Read read, TimePoint deadline) {
  const TimePoint begin = loop_.now();
  const std::string what = "etcd: key " + id + " could not be read";
  if (begin >= deadline) co_return fail(Code::kTimeout, what + ": no time left to ask");
  TaskGroup<EtcdClient::Answer> group(loop_);
  EtcdCall call = range_call(EtcdRange(key_of(id)));
  const size_t linearizable = group.start(client_.call(std::move(call), deadline));
  if (read == Read::kAny) {
    const Duration head_start =
        client_.leaderless() ? kHeadStart : std::min(options_.local_after, (deadline - begin) / 4);
    const TimePoint late = begin + (deadline - begin) / 2;
    group.start(any_copy(client_, key_of(id), newest_record_, begin + head_start, late, deadline));
  }
  std::optional<Error> why;
  while (auto finished = co_await group.next()) {
    const bool first_hand = finished->number == linearizable;
    if (finished->value) {
      auto out = co_await found(id, std::move(*finished->value), first_hand, deadline);
      if (!out)
        co_return fail(out.error().code == Code::kCorrupt ? out.error() : out.error().within(what));
      co_return out;
    }
    if (first_hand) why = finished->value.error().error;
    // A read without a leader fails permanently if all members refuse us; otherwise its failure
    // says less.
    if (first_hand && finished->value.error().next == EtcdNext::kGiveUp) break;
  }
  co_return fail(why->within(what));
}

Task<Result<EtcdStore::Written>> EtcdStore::transact(EtcdPutIf txn, TimePoint deadline) {
  EtcdCompare& same_store = txn.compares.emplace_back();
  same_store.key = registry_.key();
  same_store.value = identity_.known().store_id;
  txn.otherwise = {txn.key, registry_.key()};
  EtcdCall call(kEtcdTxnPath, to_json(txn));
  auto answer = co_await client_.call(std::move(call), deadline);
  if (!answer) co_return fail(answer.error().error);
  Written written;
  written.revision = answer->header.revision;
  if (answer->succeeded) {
    const size_t puts = txn.changed.empty() ? 1 : 2;
    if (answer->responses.size() != puts || written.revision < 1) {
      co_return fail(Code::kUnavailable, "the reply is not one of etcd");
    }
    written.ours = true;
    co_return written;
  }
  if (answer->responses.size() != 2) {
    co_return fail(Code::kUnavailable, "the reply is not from etcd");
  }
  const auto& store_id = answer->responses[1].kvs;
  if (store_id.empty()) {
    auto ok = identity_.may_found(answer->header);
    if (!ok) co_return fail(ok.error());
  } else if (auto ok = identity_.establish(answer->header, store_id[0].value); !ok) {
    co_return fail(ok.error());
  }
  auto& there = answer->responses[0].kvs;
  if (!there.empty()) written.there = std::move(there[0]);
  co_return written;
}

Task<Result<EtcdStore::Written>> EtcdStore::write(std::string key, std::string value,
                                                  EtcdCompare compare, TimePoint deadline) {
  EtcdPutIf txn;
  compare.key = key;
  txn.compares.push_back(std::move(compare));
  txn.value = std::move(value);
  if (key != registry_.key()) txn.changed = changed_key();
  txn.key = std::move(key);
  auto written = co_await transact(std::move(txn), deadline);
  if (!written) co_return written;
  if (written->ours) {
    note_record(written->revision);
    co_await registry_.remember_own(written->revision, deadline);
  } else if (written->there) {
    note_record(written->there->mod_revision);
  }
  co_return written;
}

Task<Result<PutResult>> EtcdStore::put_if_absent(Record record, TimePoint deadline) {
  const std::string what = "etcd: key " + record.id + " could not be saved";
  if (loop_.now() >= deadline) co_return fail(Code::kTimeout, what + ": no time left to ask");
  auto json = to_json(record);
  if (!json) co_return fail(std::move(json.error()));
  if (auto ok = co_await registry_.identify(deadline); !ok) co_return fail(ok.error().within(what));
  if (auto ok = co_await registry_.may_create(deadline); !ok) {
    co_return fail(ok.error().within(what));
  }
  const std::string& own = identity_.known().store_id;
  if (auto ok = check_may_write(record, own); !ok) co_return fail(ok.error());
  EtcdCompare absent;
  absent.create_revision = 0;
  auto written = co_await write(key_of(record.id), *json, std::move(absent), deadline);
  if (!written) {
    const bool unknown =
        written.error().code == Code::kTimeout || written.error().code == Code::kUnavailable;
    co_return fail(written.error().within(unknown ? "etcd: outcome unknown: key " + record.id +
                                                        " may or may not have been saved"
                                                  : what));
  }
  if (written->ours) {
    co_return PutResult{true, Stored{std::move(record), std::to_string(written->revision)}};
  }
  if (!written->there) {
    co_return fail(Code::kUnavailable, what + ": the key was removed at the same moment");
  }
  auto winner = to_own(*written->there, record.id);
  if (!winner) co_return fail(std::move(winner.error()));
  // Ours, if it was sent twice. Nobody else can have written the same bytes: their wraps are
  // random.
  const bool ours = written->there->value == *json;
  co_return PutResult{ours, std::move(*winner)};
}

Task<Result<std::optional<Stored>>> EtcdStore::replace(Record record, std::string revision,
                                                       TimePoint deadline) {
  const std::string what = "etcd: key " + record.id + " could not be changed";
  if (loop_.now() >= deadline) co_return fail(Code::kTimeout, what + ": no time left to ask");
  auto json = to_json(record);
  if (!json) co_return fail(std::move(json.error()));
  const auto number = parse_number(revision);
  if (!number) co_return fail(Code::kInvalid, "etcd: this revision is not from etcd");
  if (auto ok = co_await registry_.identify(deadline); !ok) co_return fail(ok.error().within(what));
  // To disable a key is right whatever was lost.
  if (record.state != KeyState::kDisabled) {
    auto ok = co_await registry_.may_create(deadline);
    if (!ok) co_return fail(ok.error().within(what));
  }
  const std::string& own = identity_.known().store_id;
  if (auto ok = check_may_write(record, own); !ok) co_return fail(ok.error());
  EtcdCompare unchanged;
  unchanged.mod_revision = *number;
  auto written = co_await write(key_of(record.id), *json, std::move(unchanged), deadline);
  if (!written) {
    const bool unknown =
        written.error().code == Code::kTimeout || written.error().code == Code::kUnavailable;
    co_return fail(written.error().within(unknown ? "etcd: outcome unknown: key " + record.id +
                                                        " may or may not have been changed"
                                                  : what));
  }
  if (written->ours) co_return Stored{std::move(record), std::to_string(written->revision)};
  // If it was sent twice, the second attempt finds what the first one wrote.
  const auto& there = written->there;
  if (there && there->mod_revision > *number && there->value == *json) {
    co_return Stored{std::move(record), std::to_string(there->mod_revision)};
  }
  co_return std::nullopt;
}

Task<Result<EtcdReply>> EtcdStore::page(const std::string& from, size_t limit, int64_t revision,
                                        TimePoint deadline) {
  EtcdRange range(from);
  range.range_end = end_of_prefix(records_);
  range.limit = static_cast<int64_t>(limit);
  range.revision = revision;
  const TimePoint begin = loop_.now();
  for (;;) {
    range.serializable = client_.leaderless() && !range.serializable;
    EtcdCall call = range_call(range);
    call.max_response = kMaxEtcdReply;
    call.one_round = true;
    auto answer = co_await client_.call(std::move(call), deadline);
    if (answer) co_return std::move(*answer);
    const EtcdFailure& failure = answer.error();
    if (failure.too_large && range.limit > 1) {
      range.limit /= 2;
    } else if (failure.compacted && range.revision != 0) {
      range.revision = 0;  // from that id on, at the current revision
    } else if (failure.next == EtcdNext::kGiveUp || loop_.now() >= deadline) {
      co_return fail(failure.error);
    } else {
      co_await loop_.sleep_until(std::min(deadline, loop_.now() + kLocalPause));
      if (loop_.now() < deadline) continue;
      // Another call would only say that no time is left.
      co_return fail(failure.error.within("timed out after " + to_text(loop_.now() - begin)));
    }
  }
}

Task<Result<ListPage>> EtcdStore::list(std::string after, size_t limit, TimePoint deadline) {
  const std::string what = "etcd: keys could not be listed";
  if (loop_.now() >= deadline) co_return fail(Code::kTimeout, what + ": no time left to ask");
  const Place place = parse_place(after);
  // The next possible id is that id with a zero byte appended.
  const std::string from = after.empty() ? records_ : key_of(place.id) + std::string(1, '\0');
  auto reply =
      co_await page(from, std::clamp<size_t>(limit, 1, kMaxPage), place.revision, deadline);
  if (!reply) co_return fail(reply.error().within(what));
  ListPage page;
  for (const EtcdKeyValue& kv : reply->kvs) {
    if (!kv.key.starts_with(records_)) continue;
    const std::string id = kv.key.substr(records_.size());
    auto record = parse_record(kv.value, id);
    if (record && identity_.is_known()) {
      auto own = check_origin(*record, identity_.known().store_id);
      if (!own) record = fail(std::move(own.error()));
    }
    page.entries.push_back(to_list_entry(id, record));
  }
  if (reply->more && !page.entries.empty()) {
    const int64_t revision = place.revision != 0 ? place.revision : reply->header.revision;
    page.next = page.entries.back().id + " " + std::to_string(revision);
  }
  co_return page;
}

Task<void> EtcdStore::watch(ChangeListener& listener) {
  EtcdWatch watch(*this, listener);
  co_await watch.run();
}

}  // namespace keyfs
