// What every command that works on keys builds from its configuration: the loop, the regions and
// the store.
//
// Thread-safety: as Loop: everything on the thread that runs it. Ownership: owns all parts; the
// configuration need not outlive it, log and observer must. Blocking: open() reads files (the CA
// bundle, when HTTP is spoken) and asks nobody over the network. Errors: kInvalid for the
// configuration, kUnavailable for the system.
#pragma once

#include <memory>
#include <string>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/http.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/result.h"
#include "base/secret.h"
#include "fs/cli/configuration.h"
#include "fs/cli/remote_parts.h"
#include "kms/regions.h"
#include "store/store.h"

namespace keyfs {

// Throws every line away: commands tell what went wrong in their answer.
class SilentSink final : public LogSink {
 public:
  void write(LogLevel, std::string_view) noexcept override {}
  uint64_t lost() const noexcept override { return 0; }
};

class Backend {
 public:
  static Result<std::unique_ptr<Backend>> open(const Configuration& configuration, CurlGlobal& curl,
                                               const Clock& clock, RegionObserver* observer);
  // Cancels every task of the loop first.
  ~Backend();
  Backend(const Backend&) = delete;
  Backend& operator=(const Backend&) = delete;

  Loop& loop() { return loop_; }
  SecretArena& arena() { return arena_; }
  Random& random() { return random_; }
  Store& store() { return *store_; }
  Regions& regions() { return *regions_; }

 private:
  Backend(CurlGlobal& curl, const Clock& clock);

  SecretArena arena_;
  OsRandom random_;
  CurlPoller poller_;
  Loop loop_;
  RemoteParts remote_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<Regions> regions_;
};

// The name that new records carry as their maker's.
std::string host_name();

// What a command on keys begins with: configuration, user, backend; the parts by name.
struct Session {
  CurlGlobal curl;
  SystemClock clock;
  SilentSink sink;
  Log log{sink, clock};
  Configuration configuration;
  std::unique_ptr<Backend> backend;

  // `make`: --embedded may make what is not there.
  static Result<std::unique_ptr<Session>> open(const CommonArguments& common, bool make = false);
  TimePoint deadline() const { return clock.now() + configuration.settings.open_deadline; }
  template <class T>
  T run(Task<T> task) {
    return backend->loop().run_task(std::move(task));
  }

 private:
  explicit Session(Configuration loaded) : configuration(std::move(loaded)) {}
};

}  // namespace keyfs
