#include "kms/region.h"

namespace keyfs {

EncryptionContext key_context(const std::string& id, uint32_t version, const std::string& store) {
  EncryptionContext context{{"keyfs:id", id}, {"keyfs:version", std::to_string(version)}};
  if (!store.empty()) context.emplace("keyfs:store", store);
  return context;
}

}  // namespace keyfs
