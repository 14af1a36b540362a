#include "base/clock.h"

#include <array>
#include <ctime>

namespace keyfs {

TimePoint SystemClock::now() const {
  timespec time{};
  clock_gettime(CLOCK_BOOTTIME, &time);
  return TimePoint(std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec));
}

WallTime SystemClock::wall() const {
  return std::chrono::time_point_cast<std::chrono::milliseconds>(std::chrono::system_clock::now());
}

void append_rfc3339(std::string& text, WallTime time, bool milliseconds) {
  using namespace std::chrono;
  const auto day = floor<days>(time);
  const year_month_day date{day};
  const hh_mm_ss clock{floor<std::chrono::milliseconds>(time - day)};
  std::array<char, 32> made;
  size_t size = 0;
  const auto put = [&](unsigned value, size_t digits, char end) {
    for (size_t at = size + digits; at-- > size; value /= 10) {
      made[at] = static_cast<char>('0' + value % 10);
    }
    size += digits;
    made[size++] = end;
  };
  put(static_cast<unsigned>(static_cast<int>(date.year())), 4, '-');
  put(static_cast<unsigned>(date.month()), 2, '-');
  put(static_cast<unsigned>(date.day()), 2, 'T');
  put(static_cast<unsigned>(clock.hours().count()), 2, ':');
  put(static_cast<unsigned>(clock.minutes().count()), 2, ':');
  put(static_cast<unsigned>(clock.seconds().count()), 2, milliseconds ? '.' : 'Z');
  if (milliseconds) put(static_cast<unsigned>(clock.subseconds().count()), 3, 'Z');
  text.append(made.data(), size);
}

std::string to_rfc3339(WallTime time, bool milliseconds) {
  std::string text;
  text.reserve(24);
  append_rfc3339(text, time, milliseconds);
  return text;
}

std::optional<WallTime> from_rfc3339(std::string_view text) {
  constexpr size_t kWhole = 19;  // YYYY-MM-DDTHH:MM:SS
  const bool with_fraction = text.size() == kWhole + 5 && text[kWhole] == '.';
  if (text.size() != kWhole + 1 && !with_fraction) return std::nullopt;
  if (text.back() != 'Z') return std::nullopt;
  const auto number = [&](size_t at, size_t digits) {
    int value = 0;
    for (size_t i = at; i < at + digits; ++i) {
      if (text[i] < '0' || text[i] > '9') return -1;
      value = value * 10 + (text[i] - '0');
    }
    return value;
  };
  if (text[4] != '-' || text[7] != '-' || text[10] != 'T' || text[13] != ':' || text[16] != ':') {
    return std::nullopt;
  }
  std::tm utc{};
  utc.tm_year = number(0, 4) - 1900;
  utc.tm_mon = number(5, 2) - 1;
  utc.tm_mday = number(8, 2);
  utc.tm_hour = number(11, 2);
  utc.tm_min = number(14, 2);
  utc.tm_sec = number(17, 2);
  const int thousandths = with_fraction ? number(kWhole + 1, 3) : 0;
  if (utc.tm_year < 70 || utc.tm_mon < 0 || utc.tm_mon > 11 || utc.tm_mday < 1 ||
      utc.tm_mday > 31 || utc.tm_hour < 0 || utc.tm_hour > 23 || utc.tm_min < 0 ||
      utc.tm_min > 59 || utc.tm_sec < 0 || utc.tm_sec > 60 || thousandths < 0) {
    return std::nullopt;
  }
  const int day = utc.tm_mday;
  const std::time_t whole = timegm(&utc);
  // There is no 30th of February; a leap second may end a day.
  if (utc.tm_mday != day && number(17, 2) != 60) return std::nullopt;
  return WallTime(std::chrono::seconds(whole) + std::chrono::milliseconds(thousandths));
}

std::string to_text(Duration duration) {
  using namespace std::chrono;
  const int64_t ms = duration_cast<milliseconds>(duration).count();
  if (ms < 1000) return std::to_string(ms) + "ms";
  const int64_t s = ms / 1000;
  if (s < 60) {
    if (ms % 1000 == 0) return std::to_string(s) + "s";
    return std::to_string(s) + "." + std::to_string(ms % 1000 / 100) + "s";
  }
  std::string text;
  if (s >= 3600) text += std::to_string(s / 3600) + "h";
  if (s % 3600 >= 60) text += std::to_string(s % 3600 / 60) + "m";
  if (s % 60 != 0) text += std::to_string(s % 60) + "s";
  return text;
}

}  // namespace keyfs
