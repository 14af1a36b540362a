#include "fs/keys/replica_origins.h"

#include <utility>

#include "fs/keys/replica_db.h"

namespace keyfs {

Result<std::vector<std::string>> replica_origins(const Clock& clock, const std::string& path) {
  auto db = ReplicaDb::open(clock, path);
  if (!db) return fail(std::move(db.error()));
  return (*db)->origins();
}

}  // namespace keyfs
