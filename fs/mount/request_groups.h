// The supplementary groups of whoever waits for us.
//
// A request carries uid and gid; its groups have to be read from /proc/<tid>/status, which tells of
// that thread as it is now. They are believed only when the file's fsuid and fsgid are those of the
// request, and the thread is no worker of io_uring: such a worker keeps the groups that its process
// had when it was made, and a request under overlayfs carries the mounter's uid, while the thread
// is another user's. In every other case they are unknown, and count as none.
//
// Thread-safety: none; one request, by whoever answers it, as long as it is unanswered: its thread
// waits for us, so that its number cannot become another's. Blocking: reads /proc, which does not
// wait. Errors: unknown.
#pragma once

#include <sys/types.h>

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "fs/policy/policy.h"

struct fuse_req;

namespace keyfs {

// `proc` is where procfs is mounted.
std::optional<std::vector<gid_t>> groups_of_thread(const std::string& proc, pid_t thread,
                                                   const Caller& caller);

class RequestGroups final : public SupplementaryGroups {
 public:
  explicit RequestGroups(fuse_req* req) : req_(req) {}
  std::optional<std::span<const gid_t>> get() override;
  // Nobody had to ask.
  bool asked() const { return asked_; }

 private:
  fuse_req* req_;
  bool asked_ = false;
  std::optional<std::vector<gid_t>> groups_;
};

}  // namespace keyfs
