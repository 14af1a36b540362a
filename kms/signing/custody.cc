#include "kms/signing/custody.h"

namespace keyfs {

Task<Result<std::optional<std::string>>> Custody::made(std::string, std::string, TimePoint) {
  co_return std::optional<std::string>();
}

Task<Result<std::vector<StrayKey>>> Custody::stale_siblings(WallTime, TimePoint) {
  co_return std::vector<StrayKey>();
}

Task<Result<std::vector<StrayKey>>> Custody::nameless_keys(WallTime, std::vector<std::string>&,
                                                           TimePoint) {
  co_return std::vector<StrayKey>();
}

Task<Result<Deletion>> Custody::dispose(StrayKey, TimePoint) {
  co_return fail(Code::kInvalid,
                 "custody " + std::string(kind()) + " leaves no keys without a name");
}

}  // namespace keyfs
