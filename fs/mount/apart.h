// Runs work that may hang forever in a process that can be left behind: a call into a file system
// whose server is stopped does not return, and not every such sleep can be killed.
//
// Thread-safety: any thread; the work runs in a child of fork(2), so it takes no locks that other
// threads of this process may hold, and holds no secret. Ownership: the child belongs to this
// process, which kills and reaps it; a child that can't be killed is left to init. Blocking: for
// `limit` at most.
#pragma once

#include <chrono>
#include <functional>
#include <string>

#include "base/result.h"

namespace keyfs {

// Returns what `work` returns. kTimeout after `limit`; kUnavailable if no process can be started,
// or it died.
Result<std::string> work_apart(const std::function<std::string()>& work,
                               std::chrono::milliseconds limit);

}  // namespace keyfs
