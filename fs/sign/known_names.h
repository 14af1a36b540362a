// To which keys the names refer, as this host has last heard: names/<hash>.json, one each. While the
// region that decides is silent, another one that says otherwise is not believed over it
// (Custody::remember()).
//
// Thread-safety: none; on the loop's thread. Ownership: refers to the worker, which outlives it.
// Blocking: never, but read(). Errors: what can't be kept is not known after a restart; read() gives
// the disk's.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/lazy_worker.h"
#include "base/result.h"
#include "base/task.h"
#include "kms/signing/custody.h"

namespace keyfs {

struct KnownName {
  std::string custody, id, key;
};

class KnownNames {
 public:
  KnownNames(LazyWorker& worker, std::string directory)
      : worker_(worker), directory_(std::move(directory)) {}

  // Of a directory; those that are not readable are left out. Blocks.
  static Result<std::vector<KnownName>> read(const std::string& directory);
  Task<Result<std::vector<KnownName>>> load();

  Task<void> put(std::string custody, std::string id, std::string key);
  Task<void> drop(std::string custody, std::string id);

 private:
  LazyWorker& worker_;
  const std::string directory_;
  std::map<std::pair<std::string, std::string>, std::string> on_disk_;
};

void remember_all(const std::vector<KnownName>& known, const std::vector<Custody*>& custodies);

}  // namespace keyfs
