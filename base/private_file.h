// Files that only the right user may change: masters, databases, state, logs, configuration.
//
// Another user who owns a file, or may write to it, decides what keyfs finds there: another policy,
// another record, forged audit lines. So such a file is refused before it is used, and so is a
// symbolic link where keyfs writes, which would redirect its writes. Whoever can rename files in
// the directory that holds it can replace it, so that one is checked too; not those above.
//
// Thread-safety: plain functions. Blocking: they touch the disk; on a worker, or at start. Errors:
// kDenied, with the remedy, for a file that cannot be trusted; otherwise those of os_error().
#pragma once

#include <sys/stat.h>

#include <string>

#include "base/file.h"
#include "base/result.h"

namespace keyfs {

enum class Guard {
  kSecret,   // ours, and nobody else may even read it: masters, passwords
  kOurs,     // ours; others may read it at most: state, logs, the audit, databases
  kTrusted,  // ours or root's; others may read it at most: the configuration
};

// Checks what fstat(2) gave for `path`. The type of the file is not checked.
Result<void> check_guard(const std::string& path, const struct stat& about, Guard guard);

// Checks that an open file is regular; kDenied otherwise, also for a directory. Open it with
// O_NONBLOCK: on a FIFO, open() would wait for the other end.
Result<void> check_regular(const std::string& path, const Descriptor& file);

// Checks that a directory exists and fits kOurs. A symbolic link to one is followed: systemd
// creates such links for DynamicUser=.
Result<void> check_private_directory(const std::string& path);

// Checks the directory that `path` is in, as it is named: root's or ours, and writable by others
// only if it is sticky, like /tmp. What does not exist is not judged: whoever uses it says so
// better.
Result<void> check_place(const std::string& path);

// Opens a regular file that fits `guard`; O_CLOEXEC and what keeps open() from waiting are added to
// `flags`. kDenied for a symbolic link. With O_CREAT a new file gets `mode`, less the umask. The
// opened file is the one that was checked.
Result<Descriptor> open_private_file(const std::string& path, int flags, Guard guard,
                                     mode_t mode = 0600);

}  // namespace keyfs
