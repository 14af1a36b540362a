// Tells the kernel to drop pages, attributes and names, and to wake those who poll a file.
//
// Such a call waits for kernel locks that a request waiting for us may hold: never make it on a
// thread that handles requests, or on the loop's. A dedicated thread makes the calls, in order.
//
// Thread-safety: all from any thread. Ownership: the session outlives attach()..close().
// Blocking: only close() and drain(); drops are queued. Errors: none; what the kernel does not (or
// no longer) know needs no dropping.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "fs/mount/polled_files.h"

struct fuse_session;

namespace keyfs {

class FuseNotifier {
 public:
  FuseNotifier() = default;
  ~FuseNotifier();
  FuseNotifier(const FuseNotifier&) = delete;
  FuseNotifier& operator=(const FuseNotifier&) = delete;

  // Starts making calls; earlier requests are not kept.
  void attach(fuse_session* session);
  // No call reaches the session afterwards: waits for the current one. Queued calls are dropped:
  // the end of the session drops everything.
  void close();

  // Drops the pages (and attributes) of a file.
  void drop_pages(uint64_t id) { push({Drop::kPages, id, {}}); }
  void drop_attributes(uint64_t id) { push({Drop::kAttributes, id, {}}); }
  // Drops a name in a directory.
  void drop_name(uint64_t directory, std::string name) {
    push({Drop::kName, directory, std::move(name)});
  }

  // The same as if somebody had deleted it, which inotify(7) tells those who watch that node, unless
  // it is open. The name is looked up again.
  void replace(uint64_t directory, std::string name, uint64_t node) {
    push({Drop::kReplaced, directory, std::move(name), node});
  }

  // Returns memory that the kernel's FORGETs have freed to the system, a little later and at most
  // once per kTrimEvery.
  void trim();

  // Immediately, on this thread, which may be any: the kernel takes no lock for attributes alone
  // (fuse_reverse_inval_inode with a negative offset). The kernel then ignores our replies in
  // flight with old attributes.
  void drop_attributes_now(uint64_t id);

  // Wakes those who poll this open file, at once: the kernel waits for nothing there. From any
  // thread.
  void wake(const PollHandle& file);

  // Waits until all earlier requests are done. For tests.
  void drain();
  // The same, for at most this long. False: not done.
  bool drain_for(std::chrono::milliseconds longest);

 private:
  struct Drop {
    enum What { kPages, kAttributes, kName, kReplaced } what;
    uint64_t id;
    std::string name;
    uint64_t node = 0;
  };
  static constexpr auto kTrimEvery = std::chrono::seconds(1);

  void push(Drop drop);
  void work();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::condition_variable done_;
  std::deque<Drop> queue_;
  bool busy_ = false;
  std::optional<std::chrono::steady_clock::time_point> trim_at_;
  bool closed_ = true;
  fuse_session* session_ = nullptr;
  std::thread thread_;
};

}  // namespace keyfs
