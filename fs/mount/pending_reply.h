// A FUSE request that is answered later, without a waiting thread.
//
//   auto reply = replies.hold(req);                       // on the FUSE thread
//   loop.post([=] { loop.spawn(serve(reply)); });         // the thread goes back to the kernel
//   auto got = co_await reply->unless_given_up(fetch());  // on the loop
//   if (fuse_req* req = reply->take()) fuse_reply_...(req, ...);
//
// Exactly one answer: take() returns the request once, and a reply that is dropped without an
// answer sends EIO (the program is exiting, or an exception was thrown).
//
// Interrupts: the kernel reports only the first signal for the caller, which keeps sleeping until
// we answer. libfuse calls back under the request's lock, on a FUSE thread; that only posts to the
// loop. There the caller's pending signals are read (fs/mount/pending_signals.h), repeatedly until
// the answer: a caller that must die, or was asked to, is released immediately; one with another
// handler pending after kGrace, so that a runtime's stop-the-world can finish; otherwise the work
// continues. Only the caller is released: unless_given_up() drops its task, and with it the
// caller's place in a shared flight.
//
// Thread-safety: hold() on any FUSE thread; take() on any one thread; unless_given_up() on the
// loop. Ownership: shared by the one task that serves it; a PendingReplies outlives all its
// replies, and so do the loop and the session. Blocking: only PendingReplies::close(). Errors:
// none.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "base/loop.h"
#include "base/race.h"
#include "base/result.h"
#include "fs/mount/pending_signals.h"

struct fuse_req;  // libfuse's fuse_req_t points to it

namespace keyfs {

class PendingReply;

class PendingReplies {
 public:
  explicit PendingReplies(Loop& loop, std::function<Signalled(pid_t)> signals = pending_signals);
  ~PendingReplies();
  PendingReplies(const PendingReplies&) = delete;
  PendingReplies& operator=(const PendingReplies&) = delete;

  // Takes over the request: from now on only the PendingReply may answer it.
  std::shared_ptr<PendingReply> hold(fuse_req* req);

  // How many are waiting.
  size_t size() const { return waiting_.load(std::memory_order_relaxed); }

  // Releases all, and waits until each is answered: call it before the session's descriptor is
  // closed, once no FUSE thread can call hold() any more, not on the loop's thread, while the loop
  // runs.
  void close();

 private:
  friend class PendingReply;
  void gone();

  Loop& loop_;
  const std::function<Signalled(pid_t)> signals_;
  std::atomic<size_t> waiting_{0};
  std::mutex mutex_;
  std::condition_variable empty_;
  // On the loop's thread.
  bool closing_ = false;
  PendingReply* first_ = nullptr;  // those in unless_given_up()
};

class PendingReply : public std::enable_shared_from_this<PendingReply> {
 public:
  static constexpr Duration kGrace = std::chrono::seconds(2);
  // For callers whose signals cannot be read.
  static constexpr Duration kBlindGrace = std::chrono::milliseconds(500);
  // How often an interrupted caller is checked again: the kernel does not report a later SIGKILL.
  static constexpr Duration kFirstPause = std::chrono::milliseconds(50);
  static constexpr Duration kLongestPause = std::chrono::milliseconds(400);

  PendingReply(PendingReplies& owner, fuse_req* req);  // created by PendingReplies::hold()
  ~PendingReply();
  PendingReply(const PendingReply&) = delete;
  PendingReply& operator=(const PendingReply&) = delete;

  // The request, to ask for its context; valid until take().
  fuse_req* request() const { return req_; }

  // The request, for the one answer; nullptr if already taken. After this no interrupt reaches us.
  fuse_req* take();

  // The result of `work`, or nullopt if the caller was released first: then answer
  // errno_of_giving_up(). One call at a time.
  template <class T>
  Task<std::optional<T>> unless_given_up(Task<T> work) {
    const Listed listed(*this);
    TaskGroup<std::optional<T>> group(owner_.loop_);
    group.start(finished(std::move(work)));
    group.start(given_up<T>());
    auto first = co_await group.next();
    co_return std::move(first->value);
  }

  // On the loop. EINTR: the caller has a pending signal. ENOTCONN: the mount is ending; with EINTR,
  // Go and Python would open the name again and get ENOENT after the unmount.
  int errno_of_giving_up() const;

 private:
  friend class PendingReplies;

  // In the list of replies to wake when the session closes.
  struct Listed {
    explicit Listed(PendingReply& reply);
    ~Listed();
    Listed(const Listed&) = delete;
    Listed& operator=(const Listed&) = delete;
    PendingReply& reply;
  };

  static void on_interrupt(fuse_req* req, void* self);

  template <class T>
  static Task<std::optional<T>> finished(Task<T> work) {
    T value = co_await std::move(work);
    co_return std::optional<T>(std::move(value));
  }
  template <class T>
  Task<std::optional<T>> given_up() {
    co_await until_given_up();
    co_return std::nullopt;
  }
  Task<void> until_given_up();

  PendingReplies& owner_;
  std::atomic<fuse_req*> req_;
  const pid_t caller_;
  OneShot<bool> interrupted_;
  PendingReply* next_ = nullptr;
  PendingReply* previous_ = nullptr;
};

}  // namespace keyfs
