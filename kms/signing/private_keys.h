// Private halves of wrapped signing keys, in locked memory for as long as they are used.
//
// Thread-safety: none; on the loop's thread. The keys themselves are immutable, and shared with
// workers that sign. Ownership: a key is wiped once it was dropped here and no signature uses it any
// more. Blocking: never. Errors: none.
#pragma once

#include <cstddef>
#include <list>
#include <map>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/loop.h"
#include "base/secret.h"

namespace keyfs {

using PrivateKeyPtr = std::shared_ptr<const SecretBytes>;  // PKCS #8

class PrivateKeys {
 public:
  // The one that was used least recently makes room.
  PrivateKeys(Loop& loop, size_t most);

  // Null: it is not here.
  PrivateKeyPtr find(const std::string& reference);
  // Keeps it, or goes on keeping it, until then.
  void keep(const std::string& reference, PrivateKeyPtr key, TimePoint until);
  void drop(const std::string& reference);
  // All whose references begin so.
  void drop_all(const std::string& prefix);
  size_t size() const { return keys_.size(); }

 private:
  struct Held {
    PrivateKeyPtr key;
    TimePoint until;
    std::list<std::string>::iterator use;
  };
  struct Expire : Ready {
    explicit Expire(PrivateKeys& owner)
        : Ready([](Ready& self) { static_cast<Expire&>(self).keys.expire(); }), keys(owner) {}
    PrivateKeys& keys;
  };
  void expire();

  Loop& loop_;
  const size_t most_;
  std::map<std::string, Held> keys_;
  std::list<std::string> uses_;  // the least recent first
  Expire expire_;
  Timer expiry_;
  TimePoint expiry_at_{};
};

}  // namespace keyfs
