// A region: one KMS failure domain with a master key that wraps and unwraps data keys.
//
// Thread-safety: none; on the loop's thread. Blocking: never; every call is a task that may take as
// long as the network does; dropping it cancels the call. The region outlives its tasks. References
// passed as arguments must live until the task is done.
// Deadlines: `deadline` bounds the whole call, retries included; after it the call gives kTimeout.
// Errors, and what the caller does about each:
//   kUnavailable      unreachable, or an internal failure: ask another region now
//   kThrottled        over quota: ask another region now, and this one less
//   kTimeout          the deadline passed
//   kDenied           the master or keyfs's permission is gone (disabled, deleted, refused): ask
//                     another region, and do not use this one for long
//   kUnauthenticated  credentials are missing, or refused even after renewal
//   kCorrupt          the blob, its context or the reply does not match what was wrapped: ask
//                     another region, mark the record suspect, never create a new key
//   kInvalid          a bug in keyfs, or the region calls its request bad: ask another region
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/check_item.h"
#include "base/clock.h"
#include "base/result.h"
#include "base/secret.h"
#include "base/task.h"

namespace keyfs {

// What a wrap is bound to: KMS's EncryptionContext, the AAD of a local region. The same pairs must
// be given to unwrap. Not secret: it appears in CloudTrail.
using EncryptionContext = std::map<std::string, std::string>;

// The context of every wrap that keyfs makes, 2 or 3 pairs. `store` is the id of the store that the
// key was created in; empty for keys from an older keyfs, which did not bind them to a store. (RKMS
// wraps are bound to nothing: an empty context.)
EncryptionContext key_context(const std::string& id, uint32_t version,
                              const std::string& store = {});

// A data key encrypted by a master key.
struct WrappedKey {
  std::string master;  // the ARN (or name) of the master key used, as the region returned it
  std::string blob;    // raw bytes
};

struct GeneratedKey {
  SecretBytes key;
  WrappedKey wrapped;
};

// What `keyfs check` reports about a region.
struct RegionCheck {
  std::string master;  // the master's ARN or name, if known
  std::vector<CheckItem> items;
};

class Region {
 public:
  virtual ~Region() = default;

  // As in the configuration: [region NAME].
  virtual const std::string& name() const = 0;

  // A new data key of `bytes` random bytes, wrapped. kInvalid for a size that this kind of region
  // can't make.
  virtual Task<Result<GeneratedKey>> generate(size_t bytes, EncryptionContext context,
                                              TimePoint deadline) = 0;
  // Encrypts a key under the region's present master.
  virtual Task<Result<WrappedKey>> wrap(const SecretBytes& key, EncryptionContext context,
                                        TimePoint deadline) = 0;
  // What was wrapped; kCorrupt if this is not what the region wrapped, or not for this context.
  virtual Task<Result<SecretBytes>> unwrap(WrappedKey wrapped, EncryptionContext context,
                                           TimePoint deadline) = 0;

  // True if this region can unwrap what `master` wrapped: its own master, or another replica of the
  // same multi-Region key. This and the next two go by names alone, and ask nobody.
  virtual bool unwraps(const std::string& master) const = 0;

  // True if what `master` wrapped is as good as a wrap by this region: it is this region's master,
  // or another replica of the same multi-Region key. Stricter than unwraps(), which is also true
  // for other keys that this region may be allowed to use.
  virtual bool covered_by(const std::string& master) const { return unwraps(master); }

  // True when `master` is certainly not this region's present master, nor another replica of it:
  // the master was changed since, or a wrong one was put in its place. False while the present
  // master is not known (see keep_warm()), and for names of a kind that this region does not know.
  virtual bool is_other_master(const std::string& master) const = 0;

  // True when the configuration says that `master` was this region's before (previous_key_files): it
  // still unwraps, and what it wrapped is to be wrapped anew under the present one.
  virtual bool had_master(const std::string& master) const {
    (void)master;
    return false;
  }
  // The present master's name or ARN; empty while it is not known (see keep_warm()).
  virtual std::string master() const { return ""; }
  // Whether calls go to a service that charges for them.
  virtual bool is_charged() const { return false; }

  // Opens or keeps a connection, so that the next call pays no handshake. Not counted as a failure.
  virtual Task<void> keep_warm() = 0;

  // Tries everything that keyfs needs of the region, for `keyfs check`; failures are items.
  virtual Task<RegionCheck> check(TimePoint deadline) = 0;
};

}  // namespace keyfs
