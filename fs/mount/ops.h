// The FUSE operations: decode, decide by the policy, answer from the cache, or pass to the loop.
//
// Who may see what:
//   LOOKUP, GETATTR   only from the name's syntax and the policy's section, the same for all
//                     callers, so that the kernel may keep the answers. Never deferred: a second
//                     process that touches a name whose LOOKUP is pending can't be killed.
//   OPEN, ACCESS      decided for the caller, each time; OPEN is audited.
//   READ              the version that was opened, of a file that OPEN permitted: the reader may
//                     have dropped the rights it opened with. Each READ asks the cache again, so
//                     that a disabled key also ends for open files, and so does a policy that no
//                     longer permits the opener.
//   READDIR           the keys that exist and that the user who opened the directory may read; it
//                     waits for more of them, but never for long (fs/mount/ops_dir.cc says why).
//   GETXATTR, READLINK, and READDIR of a key's versions: for callers who may read.
//   IOCTL, POLL       of an open file: which version it is, and whether that is still the current one.
// No byte of a key gets into a reply in any other way. errno values are chosen here (errno_of) and
// nowhere else.
//
// Sizes: programs that copy within the kernel (sendfile, splice, copy_file_range) use the size that
// it was last told, and silently cut off the rest; those that stat before they open (tar) use what
// they saw. So an unknown size is reported as the largest that a key may have, and not cached: the
// next stat(2) asks the store, if the caller may read. An OPEN that finds the kernel with a smaller
// size makes it look the name up again (ESTALE, which the caller does not see).
//
// File handles: for a key, the version that was opened, and its opener (fs/mount/openers.h); for
// directories and virtual files, a pointer to what is read.
//
// Views (fs/mount/views.h): a key is also found by the number of a version, and as text. Each is a
// node of its own, with its own pages, and otherwise like the key. The text is made for each READ,
// in locked memory that is wiped when the reply is out.
//
// Signing keys (fs/mount/sign_paths.h): LOOKUP, GETATTR and READDIR as above, from what is known of
// them. OPEN of a digest signs, each time anew; it is decided and audited like that of a key. READ
// gives what was signed then.
//
// Node ids: 1 the root, 2 .keyfs, 3... its files, 32... its directories, from 2^38 on keys, their
// views, and what is below .keyfs/sign (fs/mount/inode_ids.h). st_ino is a hash of the name, so that readdir and stat agree and it
// is stable.
//
// Thread-safety: the operations run on libfuse's threads; attach(), policy_changed() and close() on
// any one thread. Ownership: refers to the members of FuseParts, which must outlive it. The session
// outlives attach()..close().
// Blocking: operations never wait for a disk, the network, or the loop; end_pages() and close() do.
// Errors: as the replies' errno.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/log.h"
#include "base/loop.h"
#include "base/metrics.h"
#include "base/result.h"
#include "fs/audit/audit.h"
#include "fs/audit/open_listener.h"
#include "fs/audit/process_info.h"
#include "fs/keys/fair_share.h"
#include "fs/keys/key_cache.h"
#include "fs/mount/backend.h"
#include "fs/mount/directory_handle.h"
#include "fs/mount/inode_table.h"
#include "fs/mount/late_reads.h"
#include "fs/mount/notifier.h"
#include "fs/mount/open_handles.h"
#include "fs/mount/open_texts.h"
#include "fs/mount/openers.h"
#include "fs/mount/paged_files.h"
#include "fs/mount/pending_reply.h"
#include "fs/mount/polled_files.h"
#include "fs/mount/sign_nodes.h"
#include "fs/mount/sign_rates.h"
#include "fs/mount/virtual_file.h"
#include "fs/mount/virtual_files.h"
#include "fs/policy/policy.h"
#include "fs/sign/signing_keys.h"

struct fuse_lowlevel_ops;
struct fuse_session;

namespace keyfs {

// The errno of open(2) for a failure of the keyring.
int errno_of(Code code);

struct FuseParts {
  Loop& loop;
  FuseBackend& backend;
  KeyCache& cache;
  SecretArena& arena;  // for text views
  const PolicyHolder& policy;
  Audit& audit;
  ProcessCache& processes;
  VirtualFiles& files;
  Metrics& metrics;
  Log& log;
  InodeIds ids;
  OpenListener* opens = nullptr;   // told of each key that was handed out; may be null
  SigningKeys* signing = nullptr;  // null: there is no .keyfs/sign
  bool signing_is_out = false;     // there should be, and what it stands on cannot be used
};

struct FuseOptions {
  uint32_t key_bytes = 32;  // the size of keys created here
  // How many unused names the kernel may keep.
  size_t lone_names = 10'000;
  // How many signatures may be waited for at once, by all users.
  size_t waiting_signatures = 4'096;
  std::string proc = "/proc";
  Duration open_deadline = std::chrono::seconds(10);
  // Tests supply their own check for pending signals.
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

  // Called by FuseSession, before the first request.
  void attach(fuse_session* session);
  // The first step of shutdown, while requests are still served: pages of keys are no longer
  // answered, and existing ones are dropped. Otherwise they would outlive the session, and serve
  // everybody who has the file open. Waits for that, but not for long. Does nothing after close().
  void end_pages();
  // The last step, once no operation runs any more: waits until every deferred reply has been sent,
  // which the loop must run for.
  void close();

  // The policy holder has a new policy: drops what the kernel keeps from the old one. Queues it,
  // and does not wait; takes some time with many keys and open files.
  void policy_changed();

  // A key was disabled or deleted: drops its pages from the page cache (mmap), even from existing
  // mappings. From any thread, until close().
  void key_ended(const KeyEntry& entry);
  // Another version is served under its plain name from now on: wakes those who poll a file of
  // another one, and drops pages that are no longer what that name shows. From any thread, until
  // close().
  void current_changed(const KeyEntry& entry);

  MountStatus status() const;
  const FuseOptions& options() const { return options_; }

  // For tests: waits until all notifications so far have reached the kernel.
  void drain_notifications() { notifier_.drain(); }

 private:
  friend struct FuseHandlers;  // one static function for each operation, in ops_*.cc

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

  // Of signatures; only if there are signing keys.
  struct SignCounters {
    explicit SignCounters(Metrics& metrics);
    Counter& made;
    Counter& denied;
    Counter& absent;
    Counter& throttled;
    Counter& stale;
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
  std::optional<SignCounters> sign_counters_;
  SignNodes sign_nodes_{inodes_};
  SignRates sign_rates_;
  WaitingPlaces signings_;  // on the loop
  OpenDirectories directories_;
  OpenTexts texts_;
  Openers openers_;
  OpenHandles handles_;
  PagedFiles paged_;
  PolledFiles polled_;
  LateReads late_reads_;
  std::atomic<bool> ending_{false};        // pages of keys must no longer be read
  std::atomic<int64_t> sizes_not_before_;  // the store did not answer about sizes: not asked until
                                           // then
  std::atomic<size_t> sizes_asked_{0};     // waiting for the store
  std::atomic<size_t> forgotten_{0};       // since memory was last returned
};

}  // namespace keyfs
