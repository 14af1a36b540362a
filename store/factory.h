// Builds the store that the configuration names.
//
// Thread-safety: on the loop's thread. Ownership: what StoreParts refers to outlives the store.
// Blocking: SQLite's file is opened (open it after the last fork: store/sqlite/db.h); other stores
// are not contacted yet.
//
//   [store]
//   type = sqlite        ; sqlite | dynamodb | etcd
//   path = FILE          ; sqlite: absolute
//   ...                  ; dynamodb: store/dynamodb/store.h, etcd: store/etcd/store.h
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/config.h"
#include "base/loop.h"
#include "base/result.h"
#include "store/store.h"

namespace keyfs {

// Creates the store of the [store] section; `type` has already been checked.
using MakeStore = std::function<Result<std::unique_ptr<Store>>(const ConfigSection&)>;

struct StoreParts {
  Loop& loop;
  // Where this host remembers which store it uses (store/known_store.h); empty: nowhere.
  std::string state_dir;
  MakeStore dynamodb;  // need parts that only programs with HTTP have; may be empty
  MakeStore etcd;
  bool may_make_database = true;  // SQLite: if it does not exist
  // Only checks the section: nothing is read or opened, and the store may be null.
  bool only_check = false;
};

// kInvalid if there is no [store] section, or for a mistake in it: one line with file and line
// (base/config.h). Otherwise the errors of opening the store.
Result<std::unique_ptr<Store>> make_store(const ConfigFile& config, const StoreParts& parts);

}  // namespace keyfs
