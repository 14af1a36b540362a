#include "fs/daemon/store_watch.h"

#include <utility>

namespace keyfs {
namespace {

constexpr Duration kLookEvery = std::chrono::seconds(1);

}  // namespace

StoreWatch::StoreWatch(Loop& loop, const Store& store, Log& log, Metrics& metrics)
    : loop_(loop),
      store_(store),
      log_(log),
      refused_(metrics.gauge("keyfs_store_went_back",
                             "1 while no key is created because the store was seen to have gone "
                             "back in time.")) {}

Task<void> StoreWatch::run() {
  for (;;) {
    look();
    co_await loop_.sleep_for(kLookEvery);
  }
}

void StoreWatch::look() {
  std::string now = store_.trouble();
  if (now == trouble_) return;
  refused_.set(now.empty() ? 0 : 1);
  if (now.empty()) {
    log_.warn("the store is in order again: keys are created, and its changes are believed");
  } else if (trouble_.empty()) {
    log_.error(
        "the store has lost what it once said: keys that it has are served, but none is created or "
        "changed, except that keys can be disabled",
        {{"reason", now}});
  }
  std::lock_guard lock(mutex_);
  trouble_ = std::move(now);
}

std::string StoreWatch::trouble() const {
  std::lock_guard lock(mutex_);
  return trouble_;
}

}  // namespace keyfs
