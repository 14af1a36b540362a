// Signing keys as a daemon has them: built from its configuration, loaded in the background, told of
// changes, and shown.
//
// Nothing waits for KMS when a file system is mounted: a key that is asked for before its name was
// read is looked for then. Where no [sign GLOB] section says that anybody may sign, there are no
// signing keys, and nothing is asked.
//
// Thread-safety: brief(), sample() and reload() from any thread; the rest on the loop's, or before
// it runs. Ownership: owns all of it, and refers to its parts, which outlive it; Loop::shutdown()
// comes before its end. Blocking: build(), on state_dir and on the files that [signing] names.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/log.h"
#include "base/metrics.h"
#include "base/result.h"
#include "base/task.h"
#include "fs/daemon/backends.h"
#include "fs/daemon/configuration.h"
#include "fs/daemon/signing_custodies.h"
#include "fs/keys/memory_notebook.h"
#include "fs/mount/virtual_files.h"
#include "fs/sign/signing_keys.h"
#include "store/store.h"

namespace keyfs {

class SigningTelemetry;

// state_dir/signing, and what [signing] says.
SigningOptions signing_options(const Configuration& configuration);

class SigningHost {
 public:
  struct Parts {
    Backends& backends;
    Metrics& metrics;
    Log& log;
    // Told of new keys that lack regions.
    std::function<void(const std::string& id)> degraded;
    HostMemory* memory = nullptr;  // of records; null: none
  };
  // kInvalid for a mistake in the configuration. A state_dir that cannot be used is none: then there
  // are no signing keys, and brief() says why.
  static Result<std::unique_ptr<SigningHost>> build(Parts parts,
                                                    const Configuration& configuration);
  ~SigningHost();
  SigningHost(const SigningHost&) = delete;
  SigningHost& operator=(const SigningHost&) = delete;

  SigningKeys* keys() { return keys_.get(); }  // null: there are none
  // They are configured, and state_dir/signing cannot be used.
  bool is_out() const { return !trouble_.empty(); }
  // Until dropped.
  Task<void> run();
  // A feed of a store's changes, for `other` and for signing keys.
  ChangeListener& listen(ChangeListener& other);
  void reload();  // looks anew for what others have made

  SigningBrief brief() const;
  void sample();

 private:
  explicit SigningHost(Parts parts);

  class Changes;
  Parts parts_;
  std::optional<MemoryNotebook> notebook_;
  std::unique_ptr<SigningTelemetry> telemetry_;
  std::unique_ptr<SigningCustodies> custodies_;
  std::unique_ptr<SigningKeys> keys_;
  std::unique_ptr<ChangeListener> changes_;
  std::string trouble_;  // why there are none; set by build() alone
};

}  // namespace keyfs
