// Tells the kernel to drop what it holds: pages, attributes, names.
//
// Such a call waits for locks that a request may hold which waits for us: never from a thread that
// handles requests, nor from the loop's. One thread of its own does it, in order.
//
// Thread-safety: all from any thread. Ownership: the session outlives attach()..close().
// Blocking: close() waits for the call under way; the others never. Errors: none come back; what
// the kernel does not know (any more) needs no dropping.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

struct fuse_session;

namespace keyfs {

class FuseNotifier {
 public:
  FuseNotifier() = default;
  ~FuseNotifier();
  FuseNotifier(const FuseNotifier&) = delete;
  FuseNotifier& operator=(const FuseNotifier&) = delete;

  // From now on; what was asked for before is not kept.
  void attach(fuse_session* session);
  // No call reaches the session afterwards. What is still queued is dropped: the session's end
  // drops all.
  void close();

  // The pages (and the attributes) of a file.
  void drop_pages(uint64_t id) { push({Drop::kPages, id, {}}); }
  void drop_attributes(uint64_t id) { push({Drop::kAttributes, id, {}}); }
  // A name in a directory.
  void drop_name(uint64_t directory, std::string name) {
    push({Drop::kName, directory, std::move(name)});
  }

  // Memory that the kernel's forgetting has freed goes back to the system, a little later and no
  // more than once in kTrimEvery.
  void trim();

  // At once, on this thread. Safe on any: the kernel takes no lock for attributes alone
  // (fuse_reverse_inval_inode with a negative offset). Answers of ours that are under way with old
  // attributes are not taken by the kernel then.
  void drop_attributes_now(uint64_t id);

  // Waits until all that was asked for before is done. For tests.
  void drain();
  // The same, no longer than that. False: it is not done.
  bool drain_for(std::chrono::milliseconds longest);

 private:
  struct Drop {
    enum What { kPages, kAttributes, kName } what;
    uint64_t id;
    std::string name;
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
