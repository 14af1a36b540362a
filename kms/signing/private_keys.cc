#include "kms/signing/private_keys.h"

#include <algorithm>
#include <utility>

namespace keyfs {

PrivateKeys::PrivateKeys(Loop& loop, size_t most)
    : loop_(loop), most_(std::max<size_t>(most, 1)), expire_(*this), expiry_(loop) {}

PrivateKeyPtr PrivateKeys::find(const std::string& reference) {
  const auto found = keys_.find(reference);
  // The timer may come a little late.
  if (found == keys_.end() || found->second.until <= loop_.now()) return nullptr;
  uses_.splice(uses_.end(), uses_, found->second.use);
  return found->second.key;
}

void PrivateKeys::keep(const std::string& reference, PrivateKeyPtr key, TimePoint until) {
  if (until <= loop_.now()) return drop(reference);
  auto found = keys_.find(reference);
  if (found == keys_.end()) {
    if (keys_.size() >= most_) drop(std::string(uses_.front()));
    const auto use = uses_.insert(uses_.end(), reference);
    found = keys_.emplace(reference, Held{nullptr, until, use}).first;
  }
  found->second.key = std::move(key);
  found->second.until = until;
  if (expiry_.running() && expiry_at_ <= until) return;
  expiry_at_ = until;
  expiry_.start(until, expire_);
}

void PrivateKeys::drop(const std::string& reference) {
  const auto found = keys_.find(reference);
  if (found == keys_.end()) return;
  uses_.erase(found->second.use);
  keys_.erase(found);
}

void PrivateKeys::drop_all(const std::string& prefix) {
  for (auto at = keys_.lower_bound(prefix); at != keys_.end() && at->first.starts_with(prefix);) {
    uses_.erase(at->second.use);
    at = keys_.erase(at);
  }
}

void PrivateKeys::expire() {
  const TimePoint now = loop_.now();
  TimePoint next = TimePoint::max();
  for (auto at = keys_.begin(); at != keys_.end();) {
    if (at->second.until <= now) {
      uses_.erase(at->second.use);
      at = keys_.erase(at);
    } else {
      next = std::min(next, at->second.until);
      ++at;
    }
  }
  if (next == TimePoint::max()) return;
  expiry_at_ = next;
  expiry_.start(next, expire_);
}

}  // namespace keyfs
