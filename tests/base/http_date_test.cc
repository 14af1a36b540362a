#include "base/http_date.h"

#include <gtest/gtest.h>

namespace keyfs {
namespace {

using namespace std::chrono_literals;

const WallTime kNow = *from_rfc3339("2026-11-22T04:00:00Z");

TEST(HttpDate, is_read_in_the_one_form_that_is_written_today) {
  EXPECT_EQ(from_http_date("Sun, 22 Nov 2026 04:00:00 GMT"), kNow);
  for (const char* bad : {"", "Sunday, 22-Nov-26 04:00:00 GMT", "Sun, 22 Nov 2026 04:00:00 GMT!"}) {
    EXPECT_FALSE(from_http_date(bad)) << bad;
  }
}

TEST(RetryAfter, takes_seconds) {
  EXPECT_EQ(from_retry_after("0", nullptr, kNow), Duration(0s));
  EXPECT_EQ(from_retry_after("30", nullptr, kNow), Duration(30s));
  EXPECT_GT(*from_retry_after("99999999999999999999999", nullptr, kNow), Duration(24h));
  EXPECT_GT(*from_retry_after("9223372036854775807", nullptr, kNow), Duration(24h));
  for (const char* bad : {"", "-1", "-99999999999999999999999", "1.5", "30s", " ", "soon"}) {
    EXPECT_FALSE(from_retry_after(bad, nullptr, kNow)) << bad;
  }
}

TEST(RetryAfter, takes_a_date_by_the_clock_that_gave_it) {
  const std::string at = "Sun, 22 Nov 2026 04:01:00 GMT";
  EXPECT_EQ(from_retry_after(at, nullptr, kNow), Duration(60s));
  const std::string theirs = "Sun, 22 Nov 2026 04:00:50 GMT";
  EXPECT_EQ(from_retry_after(at, &theirs, kNow), Duration(10s));
  const std::string broken = "today";
  EXPECT_EQ(from_retry_after(at, &broken, kNow), Duration(60s));
  EXPECT_EQ(from_retry_after("Sun, 22 Nov 2026 03:00:00 GMT", nullptr, kNow), Duration(0s));
}

}  // namespace
}  // namespace keyfs
