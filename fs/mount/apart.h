// Work that may hang for ever, done by a process that can be left behind: a look at a file system
// whose server is stopped does not come back, and not every such sleep can be killed.
//
// Thread-safety: any thread; the work runs in a child of fork(2), so it takes no locks that other
// threads of this process may hold, and holds no secret. Ownership: the child is this process's; it
// is killed and, when it ends, reaped; one that can't be killed is left to init. Blocking: `limit`
// at most. Errors: kTimeout; kUnavailable when there is no process to be had, or it died.
#pragma once

#include <chrono>
#include <functional>
#include <string>

#include "base/result.h"

namespace keyfs {

// What `work` gives.
Result<std::string> work_apart(const std::function<std::string()>& work,
                               std::chrono::milliseconds limit);

}  // namespace keyfs
