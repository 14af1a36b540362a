#include "fs/keys/key_maker.h"

#include <utility>

#include "base/crypto.h"
#include "fs/keys/version_maker.h"

namespace keyfs {
namespace {

constexpr uint32_t kFirst = 1;

Record first_record(const MakeRequest& request, Version version, const std::string& origin) {
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
  const auto origin = co_await store.identity(request.deadline);
  if (!origin) co_return fail(as_outage(origin.error()).within(what));
  VersionWish wish{request.id, kFirst, request.bytes, *origin, request.creator};
  auto made = co_await make_version(loop, regions, std::move(wish), request.deadline);
  if (!made) co_return fail(made.error().within(what));
  const Record record = first_record(request, std::move(made->version), *origin);
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
