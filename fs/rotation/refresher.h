// Tells one consumer on this host that keys have new versions, and waits until it uses them.
//
// By what its section says (fs/rotation/consumer_rules.h):
//   signal:NAME   to each process that has opened one of the keys and runs still; a process that
//                 has ended gets none, whoever has its number now
//   exec:PATH     a program, without a shell and without arguments, with KEYFS_RUN, KEYFS_CONSUMER,
//                 KEYFS_KEYS, KEYFS_HOST and PATH as its whole environment, in a session of its own;
//                 killed with its children at the time-out. A program that others may write, or
//                 replace, is not run
//   systemd:reload UNIT, systemd:restart UNIT    by systemctl; a unit that does not run is gone, and
//                 is not started
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
  RefreshRequest(std::string run_id, std::string consumer_name, std::vector<KeyVersion> versions,
                 TimePoint latest)
      : run(std::move(run_id)),
        consumer(std::move(consumer_name)),
        keys(std::move(versions)),
        deadline(latest) {}

  std::string run;
  std::string consumer;          // the name of its section
  std::vector<KeyVersion> keys;  // that it uses, with the versions that it is to use now
  TimePoint deadline;            // of everything; the section's timeout may end it earlier
};

struct RefreshOutcome {
  enum class What : uint8_t {
    kOk,
    kFailed,  // `reason`
    kGone,    // none of it runs; it will open the new version when it starts. `reason` tells more
  };
  What what = What::kFailed;
  std::string reason;  // for people; one line; nothing that a hook wrote
  Duration took{};
};
std::string_view to_string(RefreshOutcome::What what);  // "ok", "failed", "gone"

class Refresher {
 public:
  virtual ~Refresher() = default;
  // Runs the hook once, and waits for the confirmation that its section asks for. Call it when this
  // host's own cache serves the new versions. A task, for no longer than the request's deadline.
  virtual Task<RefreshOutcome> refresh(RefreshRequest request) = 0;
};

class HostRefresher final : public Refresher {
 public:
  struct Options {
    std::string host;  // KEYFS_HOST
    std::string systemctl = "/usr/bin/systemctl";
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
