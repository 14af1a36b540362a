// Files that nobody may change but who is meant to: masters, databases, state, logs, configuration.
//
// Whoever owns a file, or may write to it, decides what keyfs finds there: another policy, another
// record, lines of an audit that were never written by us. So such a file is refused before it is
// used, and so is a symbolic link in the place of a file that we write, which would lead our writes
// to where somebody else wants them. Only the file itself is judged, not the folders above it.
//
// Thread-safety: plain functions. Blocking: they touch the disk; on a worker, or at start. Errors:
// kDenied for a file that may not be trusted, with the remedy; else as os_error().
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

// What fstat(2) says of `path`. The type of the file is not looked at.
Result<void> check_guard(const std::string& path, const struct stat& about, Guard guard);

// An open file is a regular one; kDenied, also for a directory. Whoever asks opens with O_NONBLOCK:
// were it a FIFO, open() would wait for its other end.
Result<void> check_regular(const std::string& path, const Descriptor& file);

// A directory that is there, as kOurs. A symbolic link to one is followed: systemd makes such links
// for DynamicUser=.
Result<void> check_private_directory(const std::string& path);

// Opens a regular file that fits `guard`; O_CLOEXEC and what keeps open() from waiting are added to
// `flags`. A symbolic link is refused. With O_CREAT the file is made with `mode`, less the umask.
// What was opened is what was judged.
Result<Descriptor> open_private_file(const std::string& path, int flags, Guard guard,
                                     mode_t mode = 0600);

}  // namespace keyfs
