// Something that fails again and again, told in the log so that the log can still be read: when it
// begins, at most every five minutes while it lasts, for each kind of error, and once it is over.
// What comes and goes is told no more often.
//
// Thread-safety: none; on the loop's thread. Ownership: refers to loop and log. Blocking: never.
// Errors: none.
#pragma once

#include <chrono>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/result.h"

namespace keyfs {

class Trouble {
 public:
  static constexpr Duration kTellEvery = std::chrono::minutes(5);

  // `begins`, `over`: what it means.
  Trouble(Loop& loop, Log& log, std::string begins, std::string over)
      : loop_(loop), log_(log), begins_(std::move(begins)), over_(std::move(over)) {}

  // It has failed. `about`: a run, a consumer; it may be empty.
  void is(const Error& error, std::string_view about = {}) {
    const TimePoint now = loop_.now();
    const auto [place, fresh] = told_.try_emplace(error.code, now);
    if (!fresh && now < place->second + kTellEvery) return;
    place->second = now;
    open_ = true;
    if (about.empty()) {
      log_.warn(begins_, {{"reason", error.message}});
    } else {
      log_.warn(begins_, {{"about", about}, {"reason", error.message}});
    }
  }
  // It has gone well.
  void over() {
    if (open_) log_.info(over_);
    open_ = false;
    const TimePoint now = loop_.now();
    std::erase_if(told_, [&](const auto& one) { return now >= one.second + kTellEvery; });
  }

 private:
  Loop& loop_;
  Log& log_;
  const std::string begins_;
  const std::string over_;
  bool open_ = false;  // told that it began, and not that it is over
  std::map<Code, TimePoint> told_;
};

}  // namespace keyfs
