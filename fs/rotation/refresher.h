// Tells one consumer on this host that keys have new versions, and waits until it uses them.
//
// By what its section says (fs/rotation/consumer_rules.h):
//   signal:NAME   to each process that has opened one of the keys and runs still; a process that
//                 has ended gets none, whoever has its number now
//   exec:PATH     a program, without a shell and without arguments, with KEYFS_RUN, KEYFS_CONSUMER,
//                 KEYFS_KEYS, KEYFS_HOST and PATH as its whole environment, in a session of its own;
//                 killed with its children at the time-out. A program that others may write, or
//                 replace, is not run
//   systemd:reload UNIT, systemd:restart UNIT    by systemctl; a unit that does not run is gone if
//                 its processes have ended, and is not started
//   http:METHOD URL   a request of its own connection; 2xx is well. The body of a POST or PUT is
//                 {"run": ..., "consumer": ..., "host": ..., "keys": ["orders/3", ...]}
//   watch         nothing is done: the consumer polls its descriptor
//
// Thread-safety: on the loop's thread. Blocking: never. Dropping the task kills a program that
// runs, and stops waiting. What a hook writes goes nowhere.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/http.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/result.h"
#include "base/secret.h"
#include "base/task.h"
#include "fs/rotation/consumers.h"

namespace keyfs {

struct RefreshRequest {
  std::string run;
  std::string host;
  std::string consumer;          // the name of its section
  std::vector<KeyVersion> keys;  // of the run, that it uses
  Duration timeout{};            // of everything; the section's may be shorter
};

struct RefreshOutcome {
  enum class What {
    kOk,      // the hook ended well, and what `confirm` asks for was seen
    kGone,    // its processes have ended: nothing to do. `why` tells more. Not where that is not
              // known, since what was revoked for it could not be given back
    kFailed,  // `why`
  } what = What::kFailed;
  std::string why;  // in one line, for people; no key bytes and no output of hooks
};
std::string_view to_string(RefreshOutcome::What what);  // "ok", "gone", "failed"

// Runs a consumer's hook and waits for its confirmation.
class Refresher {
 public:
  virtual ~Refresher() = default;
  // Call it when this host's own cache serves the new versions, once for a consumer at a time; for
  // several at once. Ends within request.timeout and a second, with everything killed that it had
  // started; also when the task is dropped.
  virtual Task<RefreshOutcome> refresh(RefreshRequest request) = 0;
};

class HostRefresher final : public Refresher {
 public:
  struct Options {
    std::string systemctl = "/usr/bin/systemctl";
    // Where the keys are mounted, to find who has inherited an open one; empty: nobody has.
    std::string mountpoint = {};
    size_t programs = 64;  // that run at once; further ones fail
    HttpClientOptions http;
  };

  // `arena` and `poller`: of the HTTP client, which is made with the first http: hook. All outlive
  // this.
  HostRefresher(Loop& loop, CurlPoller& poller, SecretArena& arena, Consumers& consumers,
                Options options);
  // Kills what runs.
  ~HostRefresher() override;

  Task<RefreshOutcome> refresh(RefreshRequest request) override;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace keyfs
