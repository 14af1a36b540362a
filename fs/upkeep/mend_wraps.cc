#include "fs/upkeep/mend_wraps.h"

#include <algorithm>
#include <utility>

#include "base/retry.h"
#include "fs/keys/key_check.h"
#include "fs/upkeep/new_wraps.h"

namespace keyfs {
namespace {

// One version of the record.
class Mending {
 public:
  Mending(const WrapMending& parts, Record& record, uint32_t number, MendedWraps& result)
      : parts_(parts), record_(record), number_(number), result_(result) {}

  Task<void> run() {
    WrappedKeys wraps;
    for (auto& [region, wrap] : wraps_of(record_.versions.at(number_))) {
      if (!parts_.regions.has(region)) continue;
      if (auto why = parts_.out(region)) {
        result_.unverified.push_back({region, std::move(*why)});
      } else {
        wraps.emplace(region, wrap);
      }
    }
    if (wraps.empty()) co_return;
    ExaminedWraps examined = co_await examine(std::move(wraps));
    std::vector<RegionFailure> broken;
    std::string reasons;
    for (auto& [region, wrap] : examined.wraps) {
      if (!wrap.why) continue;
      reasons += (reasons.empty() ? "" : "; ") + region + ": " + wrap.why->message;
      if (wrap.state == WrapState::kUnknown) {
        if (may_pass(wrap.why->code)) parts_.silent(region, *wrap.why);
        result_.unverified.push_back({region, std::move(*wrap.why)});
      } else if (wrap.state == WrapState::kWrong || parts_.rewrap) {
        broken.push_back({region, std::move(*wrap.why)});
      }
    }
    if (broken.empty()) co_return;
    if (!examined.key) {
      result_.lost.emplace(Code::kCorrupt, "could not unwrap key " + record_.id +
                                               ": no region could unwrap it (" + reasons + ")");
      co_return;
    }
    co_await replace(*examined.key, std::move(broken));
  }

 private:
  Task<ExaminedWraps> examine(WrappedKeys wraps) {
    co_await parts_.take_calls(wraps.size());
    // Named, since g++ 12 may destroy a temporary in a co_await twice.
    EncryptionContext context = context_of(record_, number_);
    KeyVerifier verifier = verifier_of(record_, number_);
    co_return co_await parts_.regions.examine(std::move(wraps), std::move(context),
                                              std::move(verifier), parts_.until());
  }

  Task<void> replace(const SecretBytes& key, std::vector<RegionFailure> broken) {
    std::vector<std::string> regions;
    for (const auto& failure : broken) regions.push_back(failure.region);
    const NewWrapParts making{parts_.loop, parts_.regions, parts_.take_calls, parts_.until};
    NewWraps made = co_await make_new_wraps(making, record_, number_, key, std::move(regions));
    for (const auto& failure : made.left) leave(failure.region, failure.error);
    for (auto& failure : broken) {
      if (std::find(made.made.begin(), made.made.end(), failure.region) == made.made.end()) {
        continue;
      }
      result_.mended.push_back({number_, failure.region, std::move(failure.error)});
    }
  }

  void leave(const std::string& region, const Error& why) {
    result_.unmended.push_back(
        {region, why.within("its wrap is broken, and no new one could be made")});
  }

  const WrapMending& parts_;
  Record& record_;
  const uint32_t number_;
  MendedWraps& result_;
};

}  // namespace

// All versions: an old one may still be needed to decrypt what it encrypted.
Task<MendedWraps> mend_wraps(const WrapMending& parts, Record& record) {
  MendedWraps result;
  std::vector<uint32_t> numbers;
  for (const auto& [number, version] : record.versions) numbers.push_back(number);
  for (const uint32_t number : numbers) {
    Mending mending(parts, record, number, result);
    co_await mending.run();
  }
  co_return result;
}

}  // namespace keyfs
