#include "fs/keys/replica_origins.h"

#include <utility>

#include "fs/keys/replica_db.h"

namespace keyfs {

Result<std::set<std::string>> replica_origins(const Clock& clock, const std::string& path) {
  auto db = ReplicaDb::open(clock, path);
  if (!db) return fail(std::move(db.error()));
  const auto all = (*db)->origins();
  if (!all) return fail(all.error());
  return std::set<std::string>(all->begin(), all->end());
}

}  // namespace keyfs
