// All threads of keyfs: named, with signals blocked, and with creation failures handled: a limit on
// tasks (RLIMIT_NPROC, TasksMax=) can prevent starting one.
//
// Thread-safety: plain functions. Ownership: the thread is the caller's to join. Blocking: never.
#pragma once

#include <functional>
#include <string>
#include <system_error>
#include <thread>

#include "base/result.h"

namespace keyfs {

// `name` is what the thread is called in ps and gdb, at most 15 bytes. All signals are blocked in
// it: dedicated threads receive them. kUnavailable, naming the limit to raise, if there is no
// thread.
Result<std::thread> try_start_thread(const std::string& name, std::function<void()> work);

// The same for constructors: throws std::system_error, of which error_of() makes an Error. The code
// that assembles the program catches it, in one place (fs/main.cc, Daemon::build).
std::thread start_thread(const std::string& name, std::function<void()> work);

// The Error for a std::system_error from start_thread() or from a library's own thread.
Error error_of(const std::system_error& error);

}  // namespace keyfs
