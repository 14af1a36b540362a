// A region on this machine: AES-256-GCM under a master key from a file. Previous masters, if any,
// only unwrap what they wrapped.
//
// Thread-safety, blocking, deadlines, ownership: as kms/region.h; the arena, the random source and
// the loop must outlive it.
// Errors: kUnavailable about the master key (kms/master_key.h); kCorrupt for a blob
// that this master did not make, that was changed, or that was bound to another context; kInvalid
// for an empty key or one of more than 4096 bytes; kTimeout if reading the file takes longer than
// the deadline.
//
// The blob, version 1:
//   1 byte    1
//   8 bytes   the fingerprint of the master (its name shows it in hex)
//   12 bytes  nonce, random (NIST SP 800-38D, 8.2.2: at most 2^32 wraps under one master)
//   n bytes   ciphertext
//   16 bytes  tag
// The additional data (AAD), encoded so that no two contexts are alike:
//   the first 9 bytes of the blob, then the number of pairs, then for each pair in the order of
//   their keys' bytes: key, value. A number is 4 bytes, big-endian; a text is its length as a
//   number, then its bytes.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/crypto.h"
#include "base/loop.h"
#include "kms/master_key.h"
#include "kms/region.h"

namespace keyfs {

class LocalRegion final : public Region {
 public:
  LocalRegion(Loop& loop, SecretArena& arena, Random& random, std::string name,
              std::unique_ptr<MasterSource> master,
              std::vector<std::unique_ptr<MasterSource>> previous = {});

  const std::string& name() const override { return name_; }
  Task<Result<GeneratedKey>> generate(size_t bytes, EncryptionContext context,
                                      TimePoint deadline) override;
  Task<Result<WrappedKey>> wrap(const SecretBytes& key, EncryptionContext context,
                                TimePoint deadline) override;
  Task<Result<SecretBytes>> unwrap(WrappedKey wrapped, EncryptionContext context,
                                   TimePoint deadline) override;
  // True for the master in the file and for previous ones, once they have been read.
  bool unwraps(const std::string& master) const override;
  // For the master in the file alone.
  bool covered_by(const std::string& master) const override;
  bool is_other_master(const std::string& master) const override;
  bool had_master(const std::string& master) const override;
  std::string master() const override;
  Task<void> keep_warm() override;
  Task<RegionCheck> check(TimePoint deadline) override;

 private:
  using Master = Result<std::shared_ptr<const MasterKey>>;
  Task<Master> load_master(TimePoint deadline);
  Task<Master> load(MasterSource& source, TimePoint deadline);
  // The present or a previous one; kCorrupt if none has that name.
  Task<Master> master_named(std::string name, TimePoint deadline);
  Result<WrappedKey> seal_under(const MasterKey& master, const SecretBytes& key,
                                const EncryptionContext& context);

  Loop& loop_;
  SecretArena& arena_;
  Random& random_;
  const std::string name_;
  const std::unique_ptr<MasterSource> master_;
  const std::vector<std::unique_ptr<MasterSource>> previous_;
};

}  // namespace keyfs
