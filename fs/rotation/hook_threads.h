// A thread for each program that a hook runs: one that hangs, on a disk before it starts or in the
// kernel after it was killed, holds up no other.
//
// Thread-safety: on the loop's thread. Ownership: the threads own what they need; the destructor
// waits a second at most for programs that were dropped to be killed, and leaves what still hangs.
// Blocking: only the destructor. Errors: those of run_program() and check_trusted_program(), and
// kUnavailable for want of a thread.
#pragma once

#include <cstddef>
#include <memory>

#include "base/loop.h"
#include "base/result.h"
#include "base/task.h"
#include "fs/rotation/hook_program.h"

namespace keyfs {

class HookThreads {
 public:
  // `most`: threads at once; further programs fail.
  HookThreads(Loop& loop, size_t most);
  ~HookThreads();
  HookThreads(const HookThreads&) = delete;
  HookThreads& operator=(const HookThreads&) = delete;

  // Checks that nobody else can replace the program, and runs it. A task; dropping it kills the
  // program. It waits for as long as the disk that the program is on hangs: use before().
  Task<Result<HookEnd>> run(HookProgram program);

 private:
  struct Shared;
  Loop& loop_;
  const size_t most_;
  std::shared_ptr<Shared> shared_;
};

}  // namespace keyfs
