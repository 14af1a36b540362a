#include "fs/daemon/masters.h"

#include "kms/master_key.h"

namespace keyfs {

Result<std::vector<std::string>> check_masters(const ConfigFile& file) {
  const auto regions = file.all("region");
  std::vector<std::string> refused;
  for (const ConfigSection* region : regions) {
    const auto* type = region->find("type");
    const auto* key_file = region->find("key_file");
    if (type == nullptr || type->value != "local" || key_file == nullptr) continue;
    if (auto ok = check_master_file(key_file->value); !ok) {
      refused.push_back(region->argument() + ": " + ok.error().message);
    }
  }
  if (refused.empty() || refused.size() < regions.size()) return refused;
  std::string all;
  for (const std::string& one : refused) all += (all.empty() ? "" : "; ") + one;
  return fail(Code::kDenied, "no region can be used: " + all);
}

}  // namespace keyfs
