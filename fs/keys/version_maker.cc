#include "fs/keys/version_maker.h"

#include <utility>

#include "fs/keys/key_check.h"

namespace keyfs {

Wrap to_wrap(WrappedKey wrapped, const std::string& at) {
  Wrap wrap;
  wrap.master = std::move(wrapped.master);
  wrap.blob = std::move(wrapped.blob);
  wrap.at = at;
  return wrap;
}

Task<Result<MadeVersion>> make_version(Loop& loop, Regions& regions, VersionWish wish,
                                       TimePoint deadline) {
  if (wish.bytes < kMinKeyBytes) {
    co_return fail(Code::kInvalid, "a key has at least " + std::to_string(kMinKeyBytes) +
                                       " bytes; the check value, which is not secret, would let a "
                                       "shorter one be found by brute force");
  }
  EncryptionContext context = key_context(wish.id, wish.number, wish.origin);
  auto created = co_await regions.create(wish.bytes, std::move(context), deadline);
  if (!created) co_return fail(std::move(created.error()));
  if (created->key.size() != wish.bytes) {
    co_return fail(Code::kCorrupt, "region " + created->region + " gave a key of " +
                                       std::to_string(created->key.size()) + " bytes instead of " +
                                       std::to_string(wish.bytes));
  }
  const auto check = check_of(created->key, wish.id, wish.number);
  if (!check) co_return fail(check.error());

  MadeVersion made;
  const std::string now = to_rfc3339(loop.clock().wall());
  made.version.created = now;
  made.version.creator = std::move(wish.creator);
  made.version.bytes = wish.bytes;
  made.version.check = *check;
  for (auto& [region, wrapped] : created->wrapped) {
    made.version.wrapped[region] = to_wrap(std::move(wrapped), now);
  }
  made.key = std::move(created->key);
  made.region = std::move(created->region);
  made.missing = std::move(created->missing);
  co_return made;
}

}  // namespace keyfs
