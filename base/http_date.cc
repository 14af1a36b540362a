#include "base/http_date.h"

#include <algorithm>
#include <charconv>
#include <ctime>

namespace keyfs {

std::optional<WallTime> from_http_date(const std::string& text) {
  std::tm utc{};
  const char* end = strptime(text.c_str(), "%a, %d %b %Y %H:%M:%S GMT", &utc);
  if (end == nullptr || *end != 0) return std::nullopt;
  return WallTime(std::chrono::seconds(timegm(&utc)));
}

std::optional<Duration> from_retry_after(const std::string& text, const std::string* date,
                                         WallTime now) {
  constexpr int64_t kMost =
      int64_t{100} * 365 * 86'400;  // what a Duration can hold, and more than enough
  int64_t seconds = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  const bool all = rest == text.data() + text.size();
  if (all && error == std::errc::result_out_of_range && text[0] != '-')
    return std::chrono::seconds(kMost);
  if (all && error == std::errc()) {
    if (seconds < 0) return std::nullopt;
    return std::chrono::seconds(std::min(seconds, kMost));
  }
  const auto at = from_http_date(text);
  if (!at) return std::nullopt;
  const auto theirs = date != nullptr ? from_http_date(*date) : std::nullopt;
  const auto wait = std::chrono::duration_cast<std::chrono::seconds>(*at - theirs.value_or(now));
  return std::chrono::seconds(std::clamp<int64_t>(wait.count(), 0, kMost));
}

}  // namespace keyfs
