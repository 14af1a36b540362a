// Sinks for a Log: standard error (or the journal behind it), and a file.
//
// Thread-safety: as LogSink, any thread. Ownership: the caller's. Blocking: write() queues the line
// for a thread of the sink's own, never waits for a disk, a pipe or the journal; when that thread
// can't keep up, the oldest lines are dropped and counted. The destructor writes what is
// queued: a pipe that nobody reads holds it up for a second at most (lines of up to PIPE_BUF bytes,
// which a Log's are), a disk that hangs for as long as it hangs.
// Make a sink after the last fork(2): its thread would stay behind.
// Errors: Code::kUnavailable when a file can't be opened, kDenied when it is not one that keyfs
// writes to (base/line_file.h); later losses are counted (LogSink::lost).
#pragma once

#include <memory>
#include <string>

#include "base/log.h"
#include "base/result.h"

namespace keyfs {

// When standard error is the journal (JOURNAL_STREAM names its device and inode, systemd.exec(5)),
// each line gets its priority as "<4>" in front (sd-daemon(3)).
std::unique_ptr<LogSink> make_stderr_sink();
bool stderr_is_journal();

// Appends to the file, made with mode 0640 when it is not there. After it was moved away or removed
// (logrotate), the next line goes to a new file of that name.
Result<std::unique_ptr<LogSink>> open_file_sink(const std::string& path);

// Appends to an open descriptor, which stays the caller's. What the two above are made of.
std::unique_ptr<LogSink> make_fd_sink(int fd, bool with_priority);

}  // namespace keyfs
