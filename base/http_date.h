// Times in HTTP headers.
//
// Thread-safety: plain functions. Blocking: never. Errors: none.
#pragma once

#include <optional>
#include <string>

#include "base/clock.h"

namespace keyfs {

// "Sun, 22 Nov 2026 04:00:00 GMT" (RFC 9110, section 5.6.7), without the obsolete forms; nullopt for
// anything else.
std::optional<WallTime> from_http_date(const std::string& text);

// How long a Retry-After header asks to wait: seconds, or a date, which is compared with the reply's
// own `date` if there is one (its clock and ours may differ), otherwise with `now`. nullopt if it is
// neither; zero for a date that has passed.
std::optional<Duration> from_retry_after(const std::string& text, const std::string* date,
                                         WallTime now);

}  // namespace keyfs
