// A bound on what a daemon does before it serves: a disk that hangs would keep it, and whoever
// waits for it to be mounted, silently and for ever.
//
//   StartWatch watch([](const std::string& why) { ...; _exit(1); });
//   watch.step("opening state_dir", "/var/lib/keyfs", 10s);
//   ...                                     // until the next step
//   watch.over();
//
// What is slow is not what hangs: a step that still uses the processor, as reading a large replica
// does, may take as long as it likes. One during which the process has done next to nothing for the
// given time is told, once: the start is over, and the process is to end.
//
// Thread-safety: any thread. Ownership: a thread of its own; where there is none to be had there is
// no bound. Blocking: never, except over() while `hangs` is running, which ends the process.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/clock.h"

namespace keyfs {

class StartWatch {
 public:
  // `hangs` is called on the watch's thread, with what does not answer.
  explicit StartWatch(std::function<void(const std::string& message)> hangs);
  ~StartWatch();
  StartWatch(const StartWatch&) = delete;
  StartWatch& operator=(const StartWatch&) = delete;

  // `path`: where; may be empty.
  void step(const std::string& what, const std::string& path, Duration patience);
  // It is up, or has failed in another way. Once is enough.
  void over();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace keyfs
