// Threads, for all of keyfs: named, deaf to signals, and never had without looking: where a user's
// tasks are limited (RLIMIT_NPROC, TasksMax=) there may be none to be had.
//
// Thread-safety: plain functions. Ownership: the thread is the caller's to join. Blocking: never.
// Errors: kUnavailable, with what is to be raised.
#pragma once

#include <functional>
#include <string>
#include <system_error>
#include <thread>

#include "base/result.h"

namespace keyfs {

// `name` is what the thread is called in ps and gdb, at most 15 bytes. All signals are blocked in
// it: they are for the threads that were made to take them.
Result<std::thread> try_start_thread(const std::string& name, std::function<void()> work);

// The same for constructors: throws std::system_error, of which error_of() makes an Error. Whoever
// builds the parts of a program catches it, in one place (fs/main.cc, Daemon::build).
std::thread start_thread(const std::string& name, std::function<void()> work);

// What to tell of a std::system_error that came from start_thread() or from a library's own thread.
Error error_of(const std::system_error& error);

}  // namespace keyfs
