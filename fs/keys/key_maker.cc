#include "fs/keys/key_maker.h"

#include <utility>

#include "base/crypto.h"
#include "fs/keys/key_check.h"

namespace keyfs {
namespace {

constexpr uint32_t kFirst = 1;

Record first_record(const MakeRequest& request, const CreatedKey& made, const KeyCheck& check,
                    const std::string& origin, const std::string& now) {
  Version version;
  version.created = now;
  version.creator = request.creator;
  version.bytes = request.bytes;
  version.check = check;
  for (const auto& [region, wrapped] : made.wrapped) {
    Wrap wrap;
    wrap.master = wrapped.master;
    wrap.blob = wrapped.blob;
    wrap.at = now;
    version.wrapped[region] = std::move(wrap);
  }
  Record record;
  record.id = request.id;
  record.current = kFirst;
  record.origin = origin;
  record.serial = 1;
  record.versions[kFirst] = std::move(version);
  return record;
}

// Whether the record in the store is for exactly our key. The store's reply is not enough: what is
// served must be what is stored.
bool holds(const Record& stored, const Record& ours) {
  const auto theirs = stored.versions.find(kFirst);
  if (theirs == stored.versions.end() || stored.id != ours.id) return false;
  const Version& mine = ours.versions.at(kFirst);
  return theirs->second.check && constant_time_equal(*theirs->second.check, *mine.check) &&
         theirs->second.bytes == mine.bytes && stored.current == kFirst &&
         stored.state == KeyState::kEnabled;
}

}  // namespace

Task<Result<MadeKey>> make_key(Loop& loop, Store& store, Regions& regions, MakeRequest request) {
  const std::string what = "could not create key " + request.id;
  if (request.bytes < kMinKeyBytes) {
    co_return fail(Code::kInvalid, what + ": a key has at least " + std::to_string(kMinKeyBytes) +
                                       " bytes; the check value, which is not secret, would let a "
                                       "shorter one be found by brute force");
  }
  const auto origin = co_await store.identity(request.deadline);
  if (!origin) co_return fail(as_outage(origin.error()).within(what));
  EncryptionContext context = key_context(request.id, kFirst, *origin);
  auto made = co_await regions.create(request.bytes, std::move(context), request.deadline);
  if (!made) co_return fail(made.error().within(what));
  if (made->key.size() != request.bytes) {
    co_return fail(Code::kCorrupt, what + ": region " + made->region + " gave a key of " +
                                       std::to_string(made->key.size()) + " bytes instead of " +
                                       std::to_string(request.bytes));
  }
  const auto check = check_of(made->key, request.id, kFirst);
  if (!check) co_return fail(check.error().within(what));
  const std::string now = to_rfc3339(loop.clock().wall());
  const Record record = first_record(request, *made, *check, *origin, now);
  if (request.may_write) {
    auto asked = request.may_write();
    auto allowed = co_await std::move(asked);
    if (!allowed) co_return fail(allowed.error().within(what));
  }
  if (request.before_write) request.before_write();
  auto put = co_await store.put_if_absent(record, request.deadline);
  if (!put) co_return fail(put.error().within(what));

  MadeKey result;
  result.stored = std::move(put->winner);
  // Do not use put->stored: a write that was sent twice may have lost to its own first attempt.
  result.ours = holds(result.stored.record, record);
  if (result.ours) {
    result.key = std::move(made->key);
    result.region = std::move(made->region);
    result.missing = std::move(made->missing);
  } else if (put->stored) {
    co_return fail(Code::kCorrupt,
                   what + ": the store says that it was saved, but holds a different record");
  }
  co_return result;
}

}  // namespace keyfs
