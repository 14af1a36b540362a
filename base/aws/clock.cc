#include "base/aws/clock.h"

#include <ctime>

namespace keyfs {

std::optional<WallTime> from_http_date(const std::string& text) {
  std::tm utc{};
  const char* end = strptime(text.c_str(), "%a, %d %b %Y %H:%M:%S GMT", &utc);
  if (end == nullptr || *end != 0) return std::nullopt;
  return WallTime(std::chrono::seconds(timegm(&utc)));
}

bool AwsClock::learn(const HttpResponse& refused) {
  constexpr std::chrono::minutes kMatters{4};
  const std::string* date = refused.header("date");
  if (date == nullptr) return false;
  const auto theirs = from_http_date(*date);
  if (!theirs) return false;
  const auto change = *theirs - now();
  if (change < kMatters && change > -kMatters) return false;
  offset_ += change;
  return true;
}

std::string AwsClock::complaint() const {
  const bool behind = offset_.count() > 0;
  const auto by = std::chrono::floor<std::chrono::seconds>(std::chrono::abs(offset_));
  return "this machine's clock is " + to_text(by) + (behind ? " behind" : " ahead of") + " AWS's";
}

}  // namespace keyfs
