// Which store this host has used. A store that lost its records, or was replaced by another one,
// looks just like a store in which no key was ever created, and keyfs would create a second key for
// every id.
//
// So each store has a random id (Store::identity()), which is created at its first use and kept
// with its records:
//   SQLite     in the table `meta`
//   etcd       at PREFIX/store-id
//   DynamoDB   in the item `.keyfs-store`
// The first store that a host uses is remembered in STATE_DIR/store-id (one line, "sqlite
// 5f1c..."). Any other one, of whatever type, is refused: a miss there is not believed and nothing
// is created. An operator switches stores on purpose with keyfs check --accept-store. For what else
// is remembered about etcd see store/etcd/identity.h.
//
// Where that file is lost, the host is not new if it remembers records: fs/daemon/lost_store_id.h.
// So --accept-store leaves STATE_DIR/store-accepted, until the next store is remembered.
//
// Records are bound to the store by their origin: one that was copied here from another store, or
// written by a host that did not know of this one yet, is corrupt.
//
// Thread-safety: plain functions; several processes may call them at once. Blocking: those that
// take a state_dir read or write the file. Errors of these: kUnavailable or kDenied for the file
// itself, kCorrupt for a malformed one.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "store/record.h"

namespace keyfs {

struct StoreName {
  std::string type;  // "sqlite"
  std::string id;    // the store's id; without blanks
  // For a DynamoDB table its home region and TableId, "us-east-1/5f1c...": this changes when the
  // table is restored from a backup, which keeps the store's id. Empty: unknown.
  std::string life{};

  bool operator==(const StoreName&) const = default;
};

// nullopt: none yet.
Result<std::optional<StoreName>> read_known_store(const std::string& state_dir);

// Remembers `store`, on disk when this returns; kInvalid if another one is remembered, or another
// life of it. Messages name the store `where`.
Result<void> check_known_store(const std::string& state_dir, const StoreName& store,
                               const std::string& where);

// Remembers `store`, which was not looked at, unless one is remembered already.
Result<void> remember_store(const std::string& state_dir, const StoreName& store);

// Forgets the remembered store, at the operator's request; the next store used becomes the known
// one, whatever else this host remembers. False: none was remembered.
Result<bool> forget_known_store(const std::string& state_dir);

// The operator has made this host forget its store, and no other one was used since.
bool may_be_any_store(const std::string& state_dir);

// What the operator can do about a refused store, for the end of a message.
std::string accept_store_hint();

// parse_record(), and kCorrupt if the record's origin is a store other than `store_id`.
Result<Record> parse_own_record(std::string_view json, std::string_view id,
                                const std::string& store_id);
// The same for a record that is parsed already.
Result<void> check_origin(const Record& record, const std::string& store_id);
// kInvalid, a bug in keyfs, for writing a record into a store that it is not bound to.
Result<void> check_may_write(const Record& record, const std::string& store_id);

// kInvalid if a store of another type is remembered; no id is needed to refuse it.
Result<void> check_known_type(const std::string& state_dir, const std::string& type);

// The error for a remembered store that no longer exists.
Error lost_store(const std::string& state_dir, const Error& why);

}  // namespace keyfs
