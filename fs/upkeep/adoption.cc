#include "fs/upkeep/adoption.h"

#include <string>
#include <utility>

#include "base/crypto.h"
#include "fs/keys/key_check.h"
#include "fs/keys/version_maker.h"
#include "fs/policy/key_id.h"

namespace keyfs {
namespace {

// The creator in the record of such a key. When RKMS created it is unknown: `created` is the time
// of the conversion.
constexpr const char* kCreator = "RKMS";

// The one plaintext that all regions hold.
Task<Result<SecretBytes>> agreed_key(Regions& regions, const Version& version, TimePoint deadline) {
  SecretBytes key;
  std::string first;
  for (const auto& [region, wrap] : version.wrapped) {
    // Named, since g++ 12 may destroy a temporary in a co_await twice.
    WrappedKeys alone;
    alone[region] = {wrap.master, wrap.blob};
    EncryptionContext unbound;
    KeyVerifier none;
    auto unwrapped =
        co_await regions.unwrap(std::move(alone), std::move(unbound), std::move(none), deadline);
    if (!unwrapped) {
      co_return fail(unwrapped.error().within("it cannot be verified in every region"));
    }
    if (first.empty()) {
      key = std::move(unwrapped->key);
      first = region;
    } else if (!constant_time_equal(key.reveal(), unwrapped->key.reveal())) {
      co_return fail(Code::kCorrupt,
                     "regions " + first + " and " + region + " hold different keys under this id");
    }
  }
  if (key.size() < kMinKeyBytes) {
    co_return fail(Code::kInvalid, "its key has " + std::to_string(key.size()) +
                                       " bytes; the check value of a key of less than " +
                                       std::to_string(kMinKeyBytes) +
                                       " would let it be found by brute force");
  }
  if (key.size() > kMaxKeyBytes) {
    co_return fail(Code::kCorrupt, "its key has " + std::to_string(key.size()) + " bytes, but " +
                                       std::to_string(kMaxKeyBytes) + " is the most");
  }
  co_return std::move(key);
}

}  // namespace

Task<Result<Adopted>> adopt(Loop& loop, Regions& regions, Record record, TimePoint deadline) {
  const std::string what = "could not adopt key " + record.id + ", which is unchanged";
  const auto found = record.versions.find(record.current);
  if (!record.from_rkms || found == record.versions.end() || found->second.wrapped.empty()) {
    co_return fail(Code::kInvalid, what + ": it is not an RKMS record");
  }
  if (!is_key_id(record.id)) {
    co_return fail(Code::kInvalid, what + ": its id is not a valid key id, so it cannot be opened");
  }
  const uint32_t number = record.current;
  Version& version = found->second;
  for (const auto& [region, wrap] : version.wrapped) {
    if (regions.has(region)) continue;
    co_return fail(Code::kInvalid, what + ": region " + region +
                                       " holds it too but is not configured here, so keyfs cannot "
                                       "verify that all hold the same key");
  }

  auto key = co_await agreed_key(regions, version, deadline);
  if (!key) co_return fail(key.error().within(what));
  const auto check = check_of(*key, record.id, number);
  if (!check) co_return fail(check.error().within(what));

  std::vector<std::string> names = regions.names();
  EncryptionContext context = key_context(record.id, number, record.origin);
  auto more = co_await regions.wrap_missing(*key, std::move(context), std::move(names), deadline);
  Adopted adopted;
  for (auto& failure : more.missing) {
    if (version.wrapped.contains(failure.region)) {
      co_return fail(failure.error.within(what + ": " + failure.region));
    }
    adopted.missing.push_back(std::move(failure));
  }

  const std::string now = to_rfc3339(loop.clock().wall());
  version.created = now;
  version.creator = kCreator;
  version.bytes = static_cast<uint32_t>(key->size());
  version.check = *check;
  version.wrapped.clear();
  for (auto& [region, wrapped] : more.wrapped) {
    version.wrapped[region] = to_wrap(std::move(wrapped), now);
  }
  record.from_rkms = false;
  ++record.serial;
  adopted.record = std::move(record);
  co_return adopted;
}

}  // namespace keyfs
