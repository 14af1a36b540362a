#include "fs/mount/pending_reply.h"

#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>

#include <algorithm>
#include <cerrno>

namespace keyfs {

PendingReplies::PendingReplies(Loop& loop, std::function<Signalled(pid_t)> signals)
    : loop_(loop), signals_(std::move(signals)) {}

PendingReplies::~PendingReplies() = default;

std::shared_ptr<PendingReply> PendingReplies::hold(fuse_req* req) {
  auto reply = std::make_shared<PendingReply>(*this, req);
  // May call back immediately, if the interrupt came first.
  fuse_req_interrupt_func(req, &PendingReply::on_interrupt, reply.get());
  return reply;
}

void PendingReplies::close() {
  loop_.post([this] {
    closing_ = true;
    for (PendingReply* reply = first_; reply != nullptr; reply = reply->next_) {
      reply->interrupted_.set(true);
    }
  });
  std::unique_lock lock(mutex_);
  empty_.wait(lock, [this] { return waiting_ == 0; });
}

void PendingReplies::gone() {
  std::lock_guard lock(mutex_);
  if (--waiting_ == 0) empty_.notify_all();
}

PendingReply::PendingReply(PendingReplies& owner, fuse_req* req)
    : owner_(owner), req_(req), caller_(fuse_req_ctx(req)->pid), interrupted_(owner.loop_) {
  ++owner_.waiting_;
}

PendingReply::~PendingReply() {
  if (fuse_req* req = take()) fuse_reply_err(req, EIO);
  owner_.gone();
}

fuse_req* PendingReply::take() {
  fuse_req* req = req_.exchange(nullptr);
  // Waits for a running callback; there is none afterwards.
  if (req != nullptr) fuse_req_interrupt_func(req, nullptr, nullptr);
  return req;
}

// On a FUSE thread, with the request's lock held. The reply exists: its destructor waits for this
// to return.
void PendingReply::on_interrupt(fuse_req*, void* self) {
  auto* reply = static_cast<PendingReply*>(self);
  reply->owner_.loop_.post([weak = reply->weak_from_this()] {
    if (auto alive = weak.lock()) alive->interrupted_.set(true);
  });
}

Task<void> PendingReply::until_given_up() {
  Loop& loop = owner_.loop_;
  co_await interrupted_;
  const TimePoint since = loop.now();
  for (Duration pause = kFirstPause; !owner_.closing_;
       pause = std::min(2 * pause, Duration(kLongestPause))) {
    const Signalled signalled = owner_.signals_(caller_);
    const Duration waited = loop.now() - since;
    if (signalled == Signalled::kStop) break;
    if (signalled == Signalled::kHandler && waited >= kGrace) break;
    if (signalled == Signalled::kUnknown && waited >= kBlindGrace) break;
    co_await loop.sleep_for(pause);
  }
}

int PendingReply::errno_of_giving_up() const { return owner_.closing_ ? ENOTCONN : EINTR; }

PendingReply::Listed::Listed(PendingReply& listed) : reply(listed) {
  PendingReplies& owner = reply.owner_;
  reply.previous_ = nullptr;
  reply.next_ = owner.first_;
  if (owner.first_ != nullptr) owner.first_->previous_ = &reply;
  owner.first_ = &reply;
  if (owner.closing_) reply.interrupted_.set(true);
}

PendingReply::Listed::~Listed() {
  if (reply.next_ != nullptr) reply.next_->previous_ = reply.previous_;
  (reply.previous_ != nullptr ? reply.previous_->next_ : reply.owner_.first_) = reply.next_;
}

}  // namespace keyfs
