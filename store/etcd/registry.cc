#include "store/etcd/registry.h"

#include <algorithm>
#include <array>
#include <functional>
#include <utility>

#include "base/encoding.h"

namespace keyfs {
namespace {

constexpr Duration kSaveEvery = std::chrono::seconds(1);
constexpr Duration kSavePatience = std::chrono::milliseconds(500);
constexpr size_t kStoreIdBytes = 16;

}  // namespace

EtcdRegistry::EtcdRegistry(EtcdClient& client, EtcdIdentity& identity, Worker& files,
                           Random& random, const EtcdOptions& options)
    : client_(client),
      identity_(identity),
      files_(files),
      random_(random),
      options_(options),
      key_(options.prefix + "/store-id"),
      identifying_(client.loop()),
      saving_(client.loop()) {}

Task<Result<EtcdReply>> EtcdRegistry::found_store(EtcdHeader header, TimePoint deadline) {
  if (auto ok = identity_.may_found(header); !ok) co_return fail(ok.error());
  std::array<uint8_t, kStoreIdBytes> bytes{};
  if (auto ok = random_.fill(bytes); !ok) co_return fail(ok.error());
  EtcdPutIf txn;
  txn.key = key_;
  txn.value = hex_encode(bytes);
  EtcdCompare& absent = txn.compares.emplace_back();
  absent.key = txn.key;
  absent.create_revision = 0;
  txn.otherwise.push_back(txn.key);
  EtcdCall call(kEtcdTxnPath, to_json(txn));
  auto answer = co_await client_.call(std::move(call), deadline);
  if (!answer) co_return fail(answer.error().error);
  EtcdReply reply;
  reply.header = answer->header;
  if (answer->succeeded) {
    reply.kvs.push_back({txn.key, txn.value, answer->header.revision});
  } else if (answer->responses.size() == 1) {
    reply.kvs = std::move(answer->responses[0].kvs);
  }
  co_return reply;
}

Task<Result<void>> EtcdRegistry::identify(TimePoint deadline) {
  if (!identity_.established()) {
    // One for all concurrent callers; each with its own deadline.
    SingleFlight<Result<bool>>::Work work = [this, deadline](auto&) {
      return ask_store_id(deadline);
    };
    auto asked =
        co_await before(client_.loop(), deadline, "etcd", identifying_.join("", std::move(work)));
    if (!asked) co_return fail(asked.error());
  }
  if (!identity_.unsaved()) co_return Result<void>();
  co_return co_await before(client_.loop(), deadline, options_.state_dir, remember(false));
}

Task<Result<bool>> EtcdRegistry::ask_store_id(TimePoint deadline) {
  EtcdCall call(kEtcdRangePath, to_json(EtcdRange(key_)));
  auto answer = co_await client_.call(std::move(call), deadline);
  if (!answer) co_return fail(answer.error().error);
  EtcdReply reply = std::move(*answer);
  if (reply.kvs.empty()) {
    auto made = co_await found_store(reply.header, deadline);
    if (!made) co_return fail(made.error());
    reply = std::move(*made);
  }
  if (reply.kvs.size() != 1 || reply.kvs[0].value.size() != 2 * kStoreIdBytes ||
      !hex_decode(reply.kvs[0].value)) {
    co_return fail(Code::kCorrupt, key_ + " in etcd is not as keyfs wrote it");
  }
  if (auto ok = identity_.establish(reply.header, reply.kvs[0].value); !ok) {
    co_return fail(ok.error());
  }
  co_return true;
}

Task<Result<std::string>> EtcdRegistry::store_id(TimePoint deadline) {
  if (identity_.is_known()) co_return identity_.known().store_id;
  EtcdRange range(key_);
  range.serializable = true;
  EtcdCall call(kEtcdRangePath, to_json(range));
  call.needs_leader = false;
  call.useful = [](const EtcdReply& reply) { return reply.kvs.size() == 1; };
  auto answer = co_await client_.call(std::move(call), deadline);
  if (!answer) co_return fail(answer.error().error);
  co_return answer->kvs[0].value;
}

Task<Result<void>> EtcdRegistry::remember(bool even_if_recent) {
  const bool due =
      identity_.unsaved_but_revision() ||
      (identity_.unsaved() && (even_if_recent || client_.loop().now() - saved_at_ >= kSaveEvery));
  if (!due) co_return Result<void>();
  const bool only_revision = !identity_.unsaved_but_revision();
  saved_at_ = client_.loop().now();
  const EtcdKnown known = identity_.known();
  const bool first = identity_.never_saved();
  std::function<Result<void>()> job = [dir = options_.state_dir, known, first] {
    return EtcdIdentity::save(dir, known, first);
  };
  auto stored = co_await files_.run<Result<void>>(std::move(job));
  if (stored) identity_.saved(known);
  if (!stored && !only_revision) {
    co_return fail(stored.error().within(
        "could not record which etcd cluster this host uses, so no key is created"));
  }
  co_return Result<void>();
}

Task<Result<bool>> EtcdRegistry::save() {
  auto ok = co_await remember(true);
  if (!ok) co_return fail(std::move(ok.error()));
  co_return true;
}

Task<void> EtcdRegistry::remember_own(int64_t revision, TimePoint deadline) {
  const TimePoint until = std::min(deadline, client_.loop().now() + kSavePatience);
  // The first may have begun before our write; the second writes for all who wait by then.
  for (int turn = 0; turn < 2 && !identity_.saved_up_to(revision); ++turn) {
    SingleFlight<Result<bool>>::Work work = [this](auto&) { return save(); };
    auto joined = saving_.join("", std::move(work));
    const auto saved =
        co_await before(client_.loop(), until, options_.state_dir, std::move(joined));
    if (!saved) co_return;
  }
}

Task<Result<void>> EtcdRegistry::may_create(TimePoint deadline) {
  auto ok = identity_.may_create();
  if (!ok) {
    (void)co_await before(client_.loop(), deadline, options_.state_dir, remember(true));
  }
  co_return ok;
}

}  // namespace keyfs
