#include "base/clock.h"

#include <gtest/gtest.h>

#include <string>

namespace keyfs {
namespace {

WallTime at(int64_t milliseconds) { return WallTime(std::chrono::milliseconds(milliseconds)); }

// `date -u -d ... +%s` gave the seconds.
TEST(Rfc3339, times_are_written_in_utc_with_every_digit_in_its_place) {
  EXPECT_EQ(to_rfc3339(at(0)), "1970-01-01T00:00:00Z");
  EXPECT_EQ(to_rfc3339(at(951'827'696'007), true), "2000-02-29T12:34:56.007Z");
  EXPECT_EQ(to_rfc3339(at(1'795'351'445'999)), "2026-11-22T12:44:05Z");
  EXPECT_EQ(to_rfc3339(at(32'472'144'000'000)), "2999-01-01T00:00:00Z");
}

TEST(Rfc3339, what_is_written_is_read_as_the_same_time) {
  for (int64_t time = 0; time < 4'000'000'000'000; time += 86'399'123'457 / 7) {
    EXPECT_EQ(from_rfc3339(to_rfc3339(at(time), true)), at(time));
  }
}

}  // namespace
}  // namespace keyfs
