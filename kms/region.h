// A region: one KMS failure domain with a master key that wraps and unwraps data keys.
//
// Thread-safety: none; on the loop's thread. Blocking: never; every call is a task that may take as
// long as the network does, and that ends when it is dropped. The region outlives its tasks.
// Arguments that are references must live until the task is done.
// Deadlines: `deadline` bounds the whole call, retries included; past it the call gives kTimeout.
// Errors, and what the caller does about each:
//   kUnavailable      could not be reached or failed inside: ask another region now
//   kThrottled        over quota: ask another region now, and this one less
//   kTimeout          the deadline passed
//   kDenied           the master or our permission is gone (disabled, deleted, refused): ask
//                     another region, and leave this one alone for long
//   kUnauthenticated  our credentials are missing or refused, also after they were renewed
//   kCorrupt          the blob, its context or the reply is not what was wrapped: ask another
//                     region, mark the record suspect, never create a new key
//   kInvalid          a mistake of ours
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
// be given to unwrap. Not secret: it stands in CloudTrail.
using EncryptionContext = std::map<std::string, std::string>;

// The context of every wrap that keyfs makes. `store` is the id of the store that the key was made
// in; empty for keys of an older keyfs, which bound them to none. (RKMS bound its wraps to nothing:
// an empty context.)
EncryptionContext key_context(const std::string& id, uint32_t version,
                              const std::string& store = {});

// A data key encrypted by a master key.
struct WrappedKey {
  std::string master;  // the ARN (or name) of the master key that did it, as the region told it
  std::string blob;    // raw bytes
};

struct GeneratedKey {
  SecretBytes key;
  WrappedKey wrapped;
};

// What `keyfs check` tells of a region.
struct RegionCheck {
  std::string master;  // the master's ARN or name, when it could be learned
  std::vector<CheckItem> items;
};

class Region {
 public:
  virtual ~Region() = default;

  // As in the configuration: [region NAME].
  virtual const std::string& name() const = 0;

  // A new data key of `bytes` random bytes, wrapped.
  virtual Task<Result<GeneratedKey>> generate(size_t bytes, EncryptionContext context,
                                              TimePoint deadline) = 0;
  virtual Task<Result<WrappedKey>> wrap(const SecretBytes& key, EncryptionContext context,
                                        TimePoint deadline) = 0;
  virtual Task<Result<SecretBytes>> unwrap(WrappedKey wrapped, EncryptionContext context,
                                           TimePoint deadline) = 0;

  // True when this region's master can unwrap what `master` wrapped: its own, or another replica of
  // the same multi-Region key.
  virtual bool unwraps(const std::string& master) const = 0;

  // True when what `master` wrapped is as good as a wrap of this region's own: it is this region's
  // master, or another replica of the same multi-Region key. Stricter than unwraps(), which is also
  // true of another key that this region may be allowed to use.
  virtual bool covered_by(const std::string& master) const { return unwraps(master); }

  // True when `master` is certainly not this region's present master, nor another replica of it: the
  // master was changed since, or a wrong one was put in its place. False while the present master is
  // not known (see keep_warm()), and for names of a kind that this region does not know.
  virtual bool is_other_master(const std::string& master) const = 0;

  // Opens or keeps a connection, so that the next call pays no handshake. Not counted as a failure.
  virtual Task<void> keep_warm() = 0;

  virtual Task<RegionCheck> check(TimePoint deadline) = 0;
};

}  // namespace keyfs
