// Builds the store that the configuration names.
//
// Thread-safety: on the loop's thread. Ownership: what StoreParts refers to outlives the store.
// Blocking: SQLite's file is opened (after the program forked: store/sqlite/db.h); other stores are
// not asked yet. Errors: kInvalid for a mistake in the section, one line with file and line
// (base/config.h); else what opening gives.
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

// Makes the store of the [store] section; takes `type` for known.
using MakeStore = std::function<Result<std::unique_ptr<Store>>(const ConfigSection&)>;

struct StoreParts {
  Loop& loop;
  // Where it is remembered which store this host uses (store/known_store.h); empty: nowhere.
  std::string state_dir;
  MakeStore dynamodb;  // need what only those have who speak HTTP; may be empty
  MakeStore etcd;
  bool may_make_database = true;  // of SQLite, where there is none
  // Only the section is checked: nothing is read or opened, and the store may be null.
  bool only_check = false;
};

// kInvalid when there is no [store] section.
Result<std::unique_ptr<Store>> make_store(const ConfigFile& config, const StoreParts& parts);

}  // namespace keyfs
