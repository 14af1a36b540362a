// The system's log, for a daemon that has no file to write to and no standard error.
//
// Thread-safety: as LogSink, any thread. Ownership: the caller's. Blocking: never; a line that the
// socket does not accept immediately is lost and counted.
#pragma once

#include <memory>
#include <string>

#include "base/log.h"
#include "base/result.h"

namespace keyfs {

// kUnavailable if there is no /dev/log. `path` is for tests.
Result<std::unique_ptr<LogSink>> open_syslog_sink(const std::string& path = "/dev/log");

}  // namespace keyfs
