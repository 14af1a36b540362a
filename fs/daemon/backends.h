// What every command on keys builds from its configuration: the loop, the regions and the store.
//
// Thread-safety: as Loop: everything on the thread that runs it. Ownership: owns all parts; the
// configuration need not outlive it, log and observer must. Blocking: only open() and check().
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/http.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/result.h"
#include "base/secret.h"
#include "fs/daemon/configuration.h"
#include "fs/daemon/remote_parts.h"
#include "kms/regions.h"
#include "store/store.h"

namespace keyfs {

class Backends {
 public:
  // Reads files (the CA bundle, if HTTP is used), opens SQLite's, and does not use the network.
  // kInvalid for the configuration, otherwise the errors of opening the store. `state_dir` returns
  // where the host's known store is remembered, or "": nowhere. It is called once the regions are
  // built. Without it: state_dir of the configuration, if this user may use it.
  using FindStateDir = std::function<Result<std::string>()>;
  static Result<std::unique_ptr<Backends>> open(const Configuration& configuration,
                                                CurlGlobal& curl, const Clock& clock,
                                                RegionObserver* observer,
                                                const FindStateDir& state_dir = {},
                                                bool may_make_database = true);
  // Checks whether open() would find a mistake in [store] or [region ...], with the same errors.
  // Opens nothing, and reads no file that the sections name.
  static Result<void> check(const Configuration& configuration, CurlGlobal& curl,
                            const Clock& clock);
  // Cancels all tasks of the loop first.
  ~Backends();
  Backends(const Backends&) = delete;
  Backends& operator=(const Backends&) = delete;

  Loop& loop() { return loop_; }
  SecretArena& arena() { return arena_; }
  CurlPoller& poller() { return poller_; }
  Random& random() { return random_; }
  Store& store() { return *store_; }
  Regions& regions() { return *regions_; }
  RemoteParts& remote() { return remote_; }
  // Why it is not certain that this store is the one that this host has used (or its first): no key
  // may be created then.
  const std::optional<Error>& doubt() const { return doubt_; }

 private:
  Backends(CurlGlobal& curl, const Clock& clock);
  Result<void> make_regions(const Configuration& configuration, RegionObserver* observer);

  SecretArena arena_;
  OsRandom random_;
  CurlPoller poller_;
  Loop loop_;
  RemoteParts remote_;
  std::optional<Error> doubt_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<Regions> regions_;
};

// The creator in new records; never empty. From any thread, without blocking.
std::string host_name();

}  // namespace keyfs
