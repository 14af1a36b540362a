// Runs a program for a hook: without a shell, with exactly the arguments and the environment that
// it is given, in a session and process group of its own, with default signals, none of our
// descriptors, and /dev/null for its input and errors. At the time-out, or when nobody wants it any
// more, it is killed with all that it has started (fs/rotation/process_tree.h). If keyfs is killed, so
// is the program, but not what it has started (fs/rotation/hook_start.h).
//
// Thread-safety: a plain function. Blocking: until the program has ended, or was killed; on a thread
// of its own (fs/rotation/hook_threads.h). Errors: none but in the result.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <string>
#include <vector>

#include "base/result.h"

namespace keyfs {

struct HookProgram {
  std::vector<std::string> arguments;    // the first is the program's path
  std::vector<std::string> environment;  // "NAME=value"
  std::chrono::steady_clock::time_point until;
  size_t output = 0;  // how many bytes of its output are wanted; the rest is discarded
};

struct HookEnd {
  int code = 0;         // exit code, or
  int signal = 0;       // which signal killed it
  bool killed = false;  // by us: its time was up, or nobody wanted it any more
  pid_t left = 0;       // was killed, and the kernel has not ended it yet: reap_at_last()
  std::string output;

  bool well() const { return code == 0 && signal == 0 && !killed; }
};
// "exited with code 3", "was killed by signal 9", "did not end in time, and was killed"
std::string to_string(const HookEnd& end);

// `dropped`: nobody wants it any more. kDenied or kUnavailable if it can't be started.
Result<HookEnd> run_program(HookProgram program, const std::atomic<bool>& dropped);
// Waits for as long as it takes; does nothing for a program that has ended.
void reap_at_last(const HookEnd& end);

}  // namespace keyfs
