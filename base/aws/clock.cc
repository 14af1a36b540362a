#include "base/aws/clock.h"

#include "base/http_date.h"

namespace keyfs {

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
