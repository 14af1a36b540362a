// The FUSE operations: decode, decide by the policy, answer from the cache, or hand over to the
// loop.
//
// Who may see what:
//   LOOKUP, GETATTR   from the name's grammar and the policy's section alone, the same for all
//                     callers, so that the kernel may keep the answers. Never deferred: a second
//                     process that touches a name whose LOOKUP is pending can't be killed.
//   OPEN, ACCESS      decided for the caller, each time; OPEN is audited.
//   READ              the version that was opened, of a file that OPEN let through: the one who
//                     reads may have dropped the rights it opened with. Each one asks the cache
//                     anew, so that a disabled key ends also for files that are open, and a policy
//                     that no longer permits whoever opened it ends it, too.
//   READDIR           the keys that exist and that whoever opened the directory may read; it waits
//                     for more of them, though never for long (fs/fuse_ops_dir.cc says why).
//   GETXATTR          for callers who may read.
// No byte of a key gets into a reply in any other way. errno is made here (errno_of) and nowhere
// else.
//
// Sizes: programs that copy within the kernel (sendfile, splice, copy_file_range) go by the size
// that it was told last, and cut off what lies behind it, without a word; those that look before
// they open (tar) go by what they saw. So a size that is not known is told as the largest that a
// key may have, to be asked for again by the next stat(2), for which the store is asked, if the
// caller may read. An OPEN that finds the kernel with a smaller one has it look the name up anew
// (ESTALE, of which the caller sees nothing).
//
// File handles: of a key, the version that was opened, and who opened it (fs/mount/openers.h). Of
// directories and virtual files, a pointer to what is read.
//
// Node ids: 1 the root, 2 .keyfs, 3... its files, from 2^38 on keys (fs/mount/inode_ids.h). st_ino
// is a hash of the name, so that readdir's and stat's agree and stay the same.
//
// Thread-safety: the operations run on libfuse's threads; attach(), policy_changed() and close() on
// any one thread. Ownership: refers to what FuseParts names, all of which outlives it. The session
// outlives attach()..close().
// Blocking: operations never wait for a disk, the network, or the loop. close() waits until every
// deferred reply has been sent.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/log.h"
#include "base/loop.h"
#include "base/metrics.h"
#include "base/result.h"
#include "fs/audit/audit.h"
#include "fs/audit/process_info.h"
#include "fs/keys/key_cache.h"
#include "fs/mount/backend.h"
#include "fs/mount/directory_handle.h"
#include "fs/mount/inode_table.h"
#include "fs/mount/late_reads.h"
#include "fs/mount/notifier.h"
#include "fs/mount/open_handles.h"
#include "fs/mount/openers.h"
#include "fs/mount/paged_files.h"
#include "fs/mount/pending_reply.h"
#include "fs/mount/virtual_file.h"
#include "fs/mount/virtual_files.h"
#include "fs/policy/policy.h"

struct fuse_lowlevel_ops;
struct fuse_session;

namespace keyfs {

// What a failure of the keyring is to the caller of open(2).
int errno_of(Code code);

struct FuseParts {
  Loop& loop;
  FuseBackend& backend;
  KeyCache& cache;
  const PolicyHolder& policy;
  Audit& audit;
  ProcessCache& processes;
  VirtualFiles& files;
  Metrics& metrics;
  Log& log;
  InodeIds ids;
};

struct FuseOptions {
  uint32_t key_bytes = 32;  // the size of keys that are made here
  // How many names that nobody has used the kernel may keep.
  size_t lone_names = 10'000;
  std::string proc = "/proc";
  Duration open_deadline = std::chrono::seconds(10);
  // Tests look at waiting signals in their own way.
  std::function<Signalled(pid_t)> signals = pending_signals;
};

class FuseOps {
 public:
  FuseOps(FuseParts parts, FuseOptions options);
  ~FuseOps();
  FuseOps(const FuseOps&) = delete;
  FuseOps& operator=(const FuseOps&) = delete;

  // For fuse_session_new(), with a FuseOps as user data.
  static const fuse_lowlevel_ops& table();

  // By FuseSession.
  void attach(fuse_session* session);
  // The first step of the end, while requests are still served: no page of a key is answered any
  // more, and those that are there are dropped. They would outlive the session otherwise, and serve
  // whoever has the file open. Waits for that, though not for long. After close() it does nothing.
  void end_pages();
  void close();

  // The policy holder has a new policy: what the kernel keeps of the old one is dropped.
  void policy_changed();

  // A key was disabled or deleted: what of it was read into the page cache (mmap) goes, also from
  // under those who have it mapped. From any thread, until close().
  void key_ended(const KeyEntry& entry);

  MountStatus status() const;
  const FuseOptions& options() const { return options_; }

  // For tests: until the kernel was told all that it was to be told so far.
  void drain_notifications() { notifier_.drain(); }

 private:
  friend struct FuseHandlers;  // one static function for each operation, in fuse_ops_*.cc

  struct Counters {
    explicit Counters(Metrics& metrics);
    Counter& from_cache;
    Counter& from_region;
    Counter& from_replica;
    Counter& denied;
    Counter& absent;
    Counter& failed;
    Counter& interrupted;
  };

  FuseParts parts_;
  const FuseOptions options_;
  const WallTime started_;
  Counters counters_;
  FuseNotifier notifier_;
  PendingReplies replies_;
  InodeTable inodes_;
  OpenDirectories directories_;
  Openers openers_;
  OpenHandles handles_;
  PagedFiles paged_;
  LateReads late_reads_;
  std::atomic<bool> ending_{false};        // no page of a key is to be read any more
  std::atomic<int64_t> sizes_not_before_;  // the store did not tell sizes: not asked until then
  std::atomic<size_t> sizes_asked_{0};     // that wait for the store
  std::atomic<size_t> forgotten_{0};       // since memory was last given back
};

}  // namespace keyfs
