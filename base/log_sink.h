// Sinks for a Log: standard error (or the journal behind it), and a file.
//
// Thread-safety: as LogSink, any thread. Ownership: the caller's. Blocking: write() queues the line
// for the sink's own thread and never waits for a disk, a pipe or the journal; if that thread can't
// keep up, the oldest lines are dropped and counted. The destructor writes what is queued: a pipe
// that nobody reads delays it for a second at most (lines of up to PIPE_BUF bytes, as a Log's are),
// a hanging disk for as long as it hangs.
// Create a sink after the last fork(2): its thread would stay behind.
// Errors: losses are counted (LogSink::lost).
#pragma once

#include <memory>
#include <string>

#include "base/log.h"
#include "base/result.h"

namespace keyfs {

// If standard error is the journal (JOURNAL_STREAM names its device and inode, systemd.exec(5)),
// each line is prefixed with its priority, as "<4>" (sd-daemon(3)).
std::unique_ptr<LogSink> make_stderr_sink();
bool stderr_is_journal();

// Appends to the file; creates it with mode 0640 if it does not exist. After it was moved away or
// removed (logrotate), the next line goes to a new file of that name. Blocks on the disk.
// kUnavailable if it can't be opened, kDenied if it is not to be trusted (base/line_file.h).
Result<std::unique_ptr<LogSink>> open_file_sink(const std::string& path);

// Appends to an open descriptor, which stays the caller's. The two above use this.
std::unique_ptr<LogSink> make_fd_sink(int fd, bool with_priority);

}  // namespace keyfs
