// Wrapped signing keys that were made and have not got their name yet. Only this process knows them:
// what is forgotten here is gone, and has left nothing behind.
//
// Thread-safety: none; on the loop's thread. Ownership: its own; private halves are in locked
// memory. Blocking: never. Errors: none.
#pragma once

#include <chrono>
#include <cstddef>
#include <list>
#include <string>
#include <utility>

#include "base/clock.h"
#include "kms/signing/private_keys.h"
#include "kms/signing/public_key.h"
#include "kms/signing/wrapped_custody.h"

namespace keyfs {

struct UnpointedKey {
  std::string reference;
  ShelvedVersion version;
  PublicKeyPtr public_key;
  PrivateKeyPtr private_key;
  std::string origin;
  bool degraded = false;
  TimePoint until{};
};

class UnpointedKeys {
 public:
  static constexpr Duration kKeepFor = std::chrono::minutes(10);
  static constexpr size_t kMost = 64;  // the oldest makes room

  void add(UnpointedKey key, TimePoint now) {
    key.until = now + kKeepFor;
    forget_old(now);
    if (keys_.size() >= kMost) keys_.pop_front();
    keys_.push_back(std::move(key));
  }
  // Null: not here. Valid until the next call.
  const UnpointedKey* find(const std::string& reference, TimePoint now) {
    forget_old(now);
    for (const auto& key : keys_) {
      if (key.reference == reference) return &key;
    }
    return nullptr;
  }
  void drop(const std::string& reference) {
    keys_.remove_if([&](const auto& key) { return key.reference == reference; });
  }
  void forget_old(TimePoint now) {
    while (!keys_.empty() && keys_.front().until <= now) keys_.pop_front();
  }
  bool empty() const { return keys_.empty(); }
  TimePoint next() const { return keys_.front().until; }

 private:
  std::list<UnpointedKey> keys_;  // the oldest first
};

}  // namespace keyfs
