// The files under .keyfs/: version, status (JSON), metrics (Prometheus text).
//
// Thread-safety, blocking, errors: as fs/mount/virtual_file.h. Ownership: the files refer to the
// members of StatusParts, which outlive them.
//
// status, one object; missing values are null:
//   {"version":S, "pid":N, "started":T, "uptime_seconds":N, "mountpoint":S, "store":S,
//    "regions":[{"name":S, "state":"closed|half-open|open", "open_for_ms":N, "p50_ms":X,
//                "p95_ms":X, "calls":N, "failures":N, "last_error":S, "last_error_at":T}, ...],
//    "create_min_regions":N,
//    "cache":{"ids":N, "keys":N, "evictions":N, "watching":B},
//    "memory":{"locked_bytes":N, "used_bytes":N, "lockable_bytes":N},
//    "mount":{"known_keys":N, "waiting_requests":N},
//    "keyring":{"waiting_opens":N, "flights":N},
//    "replica":{"hits":N, "misses":N, "errors":N, "last_error":S},
//    "state_dir":{"trouble":S},
//    "creations":{"refused":S},
//    "healer":{"waiting":N, "healed":N, "failed":N, "last_scan":T, "scans":B},
//    "audit":{"on":B, "required":B, "lines":N, "lost":N, "last_error":S},
//    "log":{"lost":N},
//    "rotation":{"board":S, "board_reason":S, "board_damaged":[S, ...], "holder":S,
//                "is_holder":B, "run":S, "overdue":N, "overdue_keys":[S, ...],
//                "overdue_reason":S},   more is in .keyfs/rotation
//    "signing":{"on":B, "trouble":S, "keys":[{"id":S, "custody":S, "type":S, "fingerprint":S,
//               "state":S, "problem":S}, ...], "queued_deletions":N, "deletion_trouble":S,
//               "unfinished":N, "signatures":N, "failures":N, "made":N, "deleted":N,
//               "last_error":S},       null: nobody may sign here
//    "policy":{"sections":N}}
// "scans": of many hosts one looks through the whole store for keys that lack a region; "last_scan"
// is of this one.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/secret.h"
#include "fs/audit/audit.h"
#include "fs/keys/key_cache.h"
#include "fs/keys/keyring.h"
#include "fs/keys/replica.h"
#include "fs/mount/virtual_file.h"
#include "fs/policy/policy.h"
#include "fs/sign/signing_keys.h"
#include "fs/upkeep/healer.h"
#include "kms/regions.h"

namespace keyfs {

struct MountStatus {
  size_t known_keys = 0;
  size_t waiting_requests = 0;
  size_t polled_files = 0;
  size_t signing_names = 0;  // that the kernel knows below .keyfs/sign
};

// What an operator must see of rotation over many hosts.
struct RotationBrief {
  std::string board;                      // "there", "silent", "not there", "unknown"
  std::string board_reason;               // why it is silent, or not there
  std::vector<std::string> damaged{};     // documents of it
  std::string holder;                     // the host that runs rotations, as last seen
  bool is_holder = false;                 // it is this one
  std::string run;                        // that goes on; empty: none
  std::optional<size_t> overdue;          // keys that should have been rotated and could not be yet
  std::vector<std::string> overdue_keys;  // the first of them, where this host knows them
  std::string overdue_reason;             // of the first
  std::vector<std::string> troubles;      // what an operator must look after, so that runs complete
};

// Of signing keys.
struct SigningBrief {
  bool on = false;
  std::string trouble;  // why there are none
  SigningStatus status;
};

struct StatusParts {
  std::string version;
  std::string mountpoint;
  std::string store;  // its type
  const Clock& clock;
  const SecretArena& arena;
  const KeyCache& cache;
  const PolicyHolder& policy;
  const Keyring& keyring;
  Regions& regions;
  const Replica* replica;  // may be null
  const HostMemory& memory;
  const Healer& healer;
  const Audit& audit;
  const Log& log;
  // The FUSE side, which refers to the files and so is set later.
  std::function<MountStatus()> mount;
  std::string state_dir_trouble = {};  // why it is not writable
  // Why the store permits no creation; empty: it may. From any thread.
  std::function<std::string()> store_trouble = {};
  std::function<RotationBrief()> rotation = {};
  std::function<SigningBrief()> signing = {};  // empty: nobody may sign
  std::function<void()> sample = {};           // sets further gauges, before metrics are rendered
};

std::unique_ptr<VirtualFile> make_version_file(const std::string& version);
std::unique_ptr<VirtualFile> make_status_file(StatusParts parts);
// Sets the gauges that are sampled (cache, memory, waiting requests), then renders all metrics.
std::unique_ptr<VirtualFile> make_metrics_file(Metrics& metrics, StatusParts parts);

// All three, in listing order.
void add_virtual_files(VirtualFiles& files, Metrics& metrics, const StatusParts& parts);

}  // namespace keyfs
