#include "kms/region.h"

namespace keyfs {

EncryptionContext key_context(const std::string& id, uint32_t version) {
  return {{"keyfs:id", id}, {"keyfs:version", std::to_string(version)}};
}

}  // namespace keyfs
