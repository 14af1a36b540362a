// Which store this host has used: a store that lost its records, or another one in its place, looks
// just like one in which no key was ever made, and keyfs would make a second key for every id.
//
// So the first store that is opened is remembered by its own random id in STATE_DIR/store-id
// (one line, "sqlite 5f1c..."), and another one is refused. To go on with another store on purpose,
// the operator removes that file.
//
// Thread-safety: plain functions; several processes may call them at once. Blocking: they read and
// write a file. Errors: kUnavailable or kDenied for the file itself, kCorrupt for one that is not
// well-formed, kInvalid for another store.
#pragma once

#include <optional>
#include <string>

#include "base/result.h"

namespace keyfs {

struct StoreName {
  std::string type;  // "sqlite"
  std::string id;    // the store's own; without blanks

  bool operator==(const StoreName&) const = default;
};

// nullopt: none yet.
Result<std::optional<StoreName>> read_known_store(const std::string& state_dir);

// Remembers `store`, or fails when another one is remembered. `where` is what messages call it.
Result<void> check_known_store(const std::string& state_dir, const StoreName& store,
                               const std::string& where);

// What to tell when the store that is remembered is not to be found at all.
Error lost_store(const std::string& state_dir, const Error& why);

}  // namespace keyfs
