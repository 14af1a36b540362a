// The supplementary groups of a caller that is waiting for us.
//
// A request carries uid and gid; the groups must be read from /proc/<tid>/status, which shows the
// thread's current state. They count only if the fsuid and fsgid there are those of the request,
// and the thread is not an io_uring worker: such a worker keeps the groups that its process had
// when the worker was created, and a request through overlayfs carries the mounter's uid, while the
// thread belongs to another user. In all other cases they are unknown, and count as none.
//
// Thread-safety: none; use it for one request, before answering it: the thread blocks on us, so its
// tid cannot be reused. Blocking: only reads /proc, which does not wait. Errors: none; unknown
// groups.
#pragma once

#include <sys/types.h>

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "fs/policy/policy.h"

struct fuse_req;

namespace keyfs {

// Reads /proc anew at each call; nullopt: unknown. `proc` is where procfs is mounted.
std::optional<std::vector<gid_t>> groups_of_thread(const std::string& proc, pid_t thread,
                                                   const Caller& caller);

class RequestGroups final : public SupplementaryGroups {
 public:
  explicit RequestGroups(fuse_req* req) : req_(req) {}
  std::optional<std::span<const gid_t>> get() override;
  // True if they were never needed.
  bool asked() const { return asked_; }

 private:
  fuse_req* req_;
  bool asked_ = false;
  std::optional<std::vector<gid_t>> groups_;
};

}  // namespace keyfs
