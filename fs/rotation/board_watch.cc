#include "fs/rotation/board_watch.h"

#include <chrono>

#include "fs/rotation/documents.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;

constexpr Duration kCall = 10s;
constexpr Duration kFirstLooks = 90s;
constexpr Duration kLookEvery = 1h;
constexpr Duration kLookForBoard = 5min;

}  // namespace

Task<void> BoardWatch::run() {
  for (;;) {
    const bool first = !head_;
    co_await look();
    co_await loop_.sleep_for(!head_ ? kLookForBoard : first ? kFirstLooks : kLookEvery);
  }
}

Task<void> BoardWatch::until_there() {
  while (!looked_ || absent_) co_await came_.wait(loop_.now() + kLookForBoard);
}

Task<void> BoardWatch::look() {
  const auto there = co_await board_.peek(kHeadName, loop_.now() + kCall);
  const bool was_absent = absent_;
  absent_ = !there && there.error().code == Code::kDenied;
  looked_ = true;
  if (absent_ && !was_absent) {
    log_.info(
        "keys are not rotated over several hosts, and consumers on this one are not told of new "
        "versions: the store has no board that this host may use",
        {{"reason", there.error().message}});
  } else if (was_absent && there) {
    log_.info("there is a board now: this host takes part in rotations");
  }
  if (!absent_) came_.set();
  if (!there) {
    head_.reset();
    nobody_holds_ = false;
    co_return;
  }
  const std::string now = *there ? (*there)->revision : "";
  nobody_holds_ = head_ == now;
  head_ = now;
}

}  // namespace keyfs
