// The log of `keyfs mount` until it is in the background and has a log of its own: for the person
// who has typed it, as other commands tell things.
//
//   keyfs: the mount hides files in its directory (mountpoint: /mnt/keys)
//
// Thread-safety: any thread, as LogSink. Ownership: the caller's. Blocking, errors: as
// make_fd_sink().
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/log.h"

namespace keyfs {

std::unique_ptr<LogSink> make_terminal_sink();

// An error that is in the log already, which is elsewhere by now. Written when this returns.
void tell_on_terminal(std::string_view what, const std::string& why);

// A line of a Log in either format, without time and level; what is no such line stays as it is.
std::string plain_text(std::string_view line);

}  // namespace keyfs
