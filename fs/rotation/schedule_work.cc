#include <algorithm>
#include <utility>

#include "fs/rotation/documents.h"
#include "fs/rotation/schedule.h"
#include "fs/rotation/trouble.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;

constexpr Duration kAfterAnError = 10s;
constexpr Duration kLookEvery = 1min;
constexpr Duration kPassMayTake = 6h;

}  // namespace

ScheduleWork::ScheduleWork(Loop& loop, Store& store, Log& log, const Tenure& tenure,
                           Schedule& schedule)
    : loop_(loop), store_(store), log_(log), tenure_(tenure), schedule_(schedule) {}

Task<bool> ScheduleWork::work() {
  const ScheduleOptions& options = schedule_.options();
  if (options.shortest <= Duration::zero()) co_return true;  // no key is rotated by itself
  PassOptions pass_options;
  pass_options.verb = "look at";
  pass_options.writes = false;
  Pass pass(loop_, store_, log_, pass_options, nullptr, nullptr);
  const Duration scan_every =
      std::clamp(options.shortest / 20, options.scan_least, options.scan_most);
  const std::function<Result<void>()> may_write = [this]() -> Result<void> {
    if (tenure_.may_act()) return {};
    return fail(Code::kUnavailable, "this host may not act for the others any more");
  };
  Trouble unseen(loop_, log_, "not all keys could be looked at that are rotated by themselves",
                 "the keys that are rotated by themselves are looked at again");
  Trouble unasked(loop_, log_, "a rotation that is due could not be asked for, and will be again",
                  "rotations that are due are asked for again");
  TimePoint scan = loop_.now();
  for (;;) {
    if (loop_.now() >= scan) {
      const auto seen = co_await pass.all("", schedule_, loop_.now() + kPassMayTake);
      seen ? unseen.over() : unseen.is(seen.error());
      scan = loop_.now() + (seen ? scan_every : std::max(scan_every, kAfterAnError));
    }
    Duration pause = kLookEvery;
    if (tenure_.may_act()) {
      const auto put = co_await schedule_.put_due(kMaxRunKeys, may_write);
      if (put) unasked.over();
      if (!put) {
        unasked.is(put.error());
        pause = kAfterAnError;
      } else if (*put == kMaxRunKeys) {
        pause = 1s;
      }
    }
    if (const auto next = schedule_.next()) {
      pause = std::min(pause, std::max<Duration>(100ms, *next - loop_.clock().wall()));
    }
    co_await loop_.sleep_until(std::min(scan, loop_.now() + pause));
  }
}

}  // namespace keyfs
