// Where this host's signing keys are kept, as [signing] says: wrapped in [store], and in AWS KMS
// where it names regions. The one that new keys go to comes first.
//
// Thread-safety: on the loop's thread, or before it runs. Ownership: owns the custodies, and refers
// to the backends and the observer, which outlive it and its tasks. Blocking: make() reads
// key_policy_file, and the CA bundle. Errors: kInvalid with file and line (base/config.h).
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "fs/daemon/backends.h"
#include "fs/daemon/configuration.h"
#include "fs/sign/store_shelf.h"
#include "kms/signing/custody.h"

namespace keyfs {

class SigningObserver;  // kms/signing/kms_custody.h

class SigningCustodies {
 public:
  // `observer` may be null. `degraded` is told of new keys that lack regions; may be empty.
  static Result<std::unique_ptr<SigningCustodies>> make(
      const Configuration& configuration, Backends& backends, ShelfNotes notes,
      SigningObserver* observer = nullptr,
      std::function<void(const std::string& id)> degraded = {});
  // Whether make() would find a mistake; opens no file that [signing] names, but the CA bundle.
  static Result<void> check(const Configuration& configuration, RemoteParts& remote);

  const std::vector<Custody*>& all() const { return all_; }
  Custody* find(std::string_view kind) const;  // null: there is none

 private:
  SigningCustodies() = default;

  std::unique_ptr<SigningShelf> shelf_;
  std::unique_ptr<Custody> wrapped_, kms_;
  std::vector<Custody*> all_;
};

}  // namespace keyfs
