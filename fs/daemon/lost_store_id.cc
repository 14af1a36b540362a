#include "fs/daemon/lost_store_id.h"

#include <sys/stat.h>

#include <cerrno>
#include <string>

#include "fs/keys/replica_origins.h"
#include "store/known_store.h"

namespace keyfs {
namespace {

// Errors other than that there is none count as "may be there".
bool is_missing(const std::string& path) {
  struct stat info {};
  return ::lstat(path.c_str(), &info) != 0 && (errno == ENOENT || errno == ENOTDIR);
}

}  // namespace

Result<void> find_lost_store_id(const Clock& clock, const std::string& state_dir,
                                const std::string& type) {
  const std::string replica = state_dir + "/replica.db";
  // Whether store-id itself is good is for who reads it.
  if (!is_missing(state_dir + "/store-id") || is_missing(replica)) return {};
  if (may_be_any_store(state_dir)) return {};
  const std::string lost = state_dir +
                           "/store-id is missing, so that this host does not know "
                           "which store it has used so far, and ";
  const auto origins = replica_origins(clock, replica);
  if (!origins) {
    const Code code =
        origins.error().code == Code::kInvalid ? Code::kUnavailable : origins.error().code;
    return fail(code, lost + replica + ", which could tell, can't be read (" +
                          origins.error().message +
                          "); ids could get a second key. Put store-id or the replica back, or, if "
                          "the configured store is the right one, " +
                          accept_store_hint());
  }
  if (origins->empty()) return {};
  if (origins->size() > 1) {
    std::string names;
    for (const auto& origin : *origins) names += (names.empty() ? "" : ", ") + origin;
    return fail(Code::kInvalid, lost + replica + " holds keys of more than one (" + names +
                                    "); ids could get a second key. Put store-id back, or, if the "
                                    "configured store is the right one, " +
                                    accept_store_hint());
  }
  return remember_store(state_dir, StoreName{type, *origins->begin()});
}

}  // namespace keyfs
