#include "fs/mount/notifier.h"

#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>
#include <malloc.h>

#include <utility>

#include "base/thread.h"

namespace keyfs {

FuseNotifier::~FuseNotifier() { close(); }

void FuseNotifier::attach(fuse_session* session) {
  close();
  std::lock_guard lock(mutex_);
  session_ = session;
  closed_ = false;
  thread_ = start_thread("keyfs-notify", [this] { work(); });
}

void FuseNotifier::close() {
  {
    std::lock_guard lock(mutex_);
    closed_ = true;
    queue_.clear();
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void FuseNotifier::push(Drop drop) {
  {
    std::lock_guard lock(mutex_);
    if (closed_) return;
    queue_.push_back(std::move(drop));
  }
  changed_.notify_one();
}

void FuseNotifier::trim() {
  std::lock_guard lock(mutex_);
  if (closed_ || trim_at_) return;
  trim_at_ = std::chrono::steady_clock::now() + kTrimEvery;
  changed_.notify_one();
}

void FuseNotifier::drop_attributes_now(uint64_t id) {
  fuse_lowlevel_notify_inval_inode(session_, id, -1, 0);
}

void FuseNotifier::wake(const PollHandle& file) {
  std::lock_guard lock(mutex_);
  if (!closed_) fuse_lowlevel_notify_poll(file.get());
}

void FuseNotifier::drain() {
  std::unique_lock lock(mutex_);
  done_.wait(lock, [this] { return closed_ || (queue_.empty() && !busy_); });
}

bool FuseNotifier::drain_for(std::chrono::milliseconds longest) {
  std::unique_lock lock(mutex_);
  return done_.wait_for(lock, longest, [this] { return closed_ || (queue_.empty() && !busy_); });
}

void FuseNotifier::work() {
  std::unique_lock lock(mutex_);
  while (true) {
    const auto due = [this] { return closed_ || !queue_.empty(); };
    if (!trim_at_) {
      changed_.wait(lock, [&] { return due() || trim_at_; });
    } else if (!changed_.wait_until(lock, *trim_at_, due)) {
      lock.unlock();
      ::malloc_trim(0);
      lock.lock();
      trim_at_.reset();
    }
    if (closed_) break;
    if (queue_.empty()) continue;
    const Drop drop = std::move(queue_.front());
    queue_.pop_front();
    busy_ = true;
    lock.unlock();
    switch (drop.what) {
      case Drop::kPages:
        fuse_lowlevel_notify_inval_inode(session_, drop.id, 0, 0);
        break;
      case Drop::kAttributes:
        fuse_lowlevel_notify_inval_inode(session_, drop.id, -1, 0);
        break;
      case Drop::kName:
        fuse_lowlevel_notify_inval_entry(session_, drop.id, drop.name.data(), drop.name.size());
        break;
      case Drop::kReplaced:
        fuse_lowlevel_notify_delete(session_, drop.id, drop.node, drop.name.data(),
                                    drop.name.size());
        break;
    }
    lock.lock();
    busy_ = false;
    if (queue_.empty()) done_.notify_all();
  }
  done_.notify_all();
}

}  // namespace keyfs
