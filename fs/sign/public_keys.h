// Public keys on disk by their reference: public/<hash>.json, so that a start asks for none that is
// known. A reference never names another key. A file that is damaged counts as not there.
//
// Thread-safety: none; on the loop's thread. Ownership: refers to the worker. Blocking: read() only; disk
// is touched on the worker. Errors: none; without a disk each public key is asked for again.
#pragma once

#include <string>
#include <utility>

#include "base/lazy_worker.h"
#include "base/task.h"
#include "kms/signing/public_key.h"

namespace keyfs {

class PublicKeys {
 public:
  PublicKeys(LazyWorker& worker, std::string directory)
      : worker_(worker), directory_(std::move(directory)) {}

  // Blocks.
  static PublicKeyPtr read(const std::string& directory, const std::string& custody,
                           const std::string& key);
  Task<PublicKeyPtr> get(std::string custody, std::string key);  // null: not there
  Task<void> put(std::string custody, std::string key, PublicKeyPtr public_key);
  Task<void> drop(std::string custody, std::string key);

 private:
  LazyWorker& worker_;
  const std::string directory_;
};

}  // namespace keyfs
