// A region without files: a local region with a random master key in memory. For tests with fake
// time, which must not wait for a worker's thread.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/crypto.h"
#include "base/loop.h"
#include "kms/local_region.h"
#include "kms/master_key.h"

namespace keyfs::testing {

class MemoryMaster final : public MasterSource {
 public:
  explicit MemoryMaster(std::shared_ptr<const MasterKey> key) : key_(std::move(key)) {}
  static std::shared_ptr<const MasterKey> random_key(SecretArena& arena, Random& random) {
    return make_master_key(random.secret(arena, kMasterKeyBytes).value()).value();
  }
  Task<Result<std::shared_ptr<const MasterKey>>> load() override { co_return key_; }
  std::shared_ptr<const MasterKey> last() const override { return key_; }

 private:
  std::shared_ptr<const MasterKey> key_;
};

// With `master`, several regions share one, as the replicas of a multi-Region key do. `before`: a
// previous master, which only unwraps.
inline std::unique_ptr<Region> memory_region(Loop& loop, SecretArena& arena, Random& random,
                                             std::string name,
                                             std::shared_ptr<const MasterKey> master = nullptr,
                                             std::shared_ptr<const MasterKey> before = nullptr) {
  if (master == nullptr) master = MemoryMaster::random_key(arena, random);
  std::vector<std::unique_ptr<MasterSource>> previous;
  if (before != nullptr) previous.push_back(std::make_unique<MemoryMaster>(std::move(before)));
  return std::make_unique<LocalRegion>(loop, arena, random, std::move(name),
                                       std::make_unique<MemoryMaster>(std::move(master)),
                                       std::move(previous));
}

}  // namespace keyfs::testing
