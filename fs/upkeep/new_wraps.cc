#include "fs/upkeep/new_wraps.h"

#include <utility>

#include "fs/keys/key_check.h"
#include "fs/keys/version_maker.h"

namespace keyfs {

Task<NewWraps> make_new_wraps(const NewWrapParts& parts, Record& record, uint32_t version,
                              const SecretBytes& key, std::vector<std::string> regions) {
  NewWraps result;
  co_await parts.take_calls(regions.size());
  // Named, since g++ 12 may destroy a temporary in a co_await twice.
  EncryptionContext context = context_of(record, version);
  WrappedMore made =
      co_await parts.regions.wrap_missing(key, context, std::move(regions), parts.until());
  result.left = std::move(made.missing);
  if (made.wrapped.empty()) co_return result;
  co_await parts.take_calls(made.wrapped.size());
  WrappedKeys fresh = made.wrapped;
  KeyVerifier verifier = verifier_of(record, version);
  auto proof = co_await parts.regions.examine(std::move(fresh), std::move(context),
                                              std::move(verifier), parts.until());
  const std::string now = to_rfc3339(parts.loop.clock().wall());
  for (auto& [region, wrapped] : made.wrapped) {
    ExaminedWrap& proven = proof.wraps.at(region);
    if (proven.state != WrapState::kRight) {
      result.left.push_back({region, std::move(*proven.why)});
      continue;
    }
    record.versions.at(version).wrapped.insert_or_assign(region, to_wrap(std::move(wrapped), now));
    result.made.push_back(region);
  }
  co_return result;
}

}  // namespace keyfs
