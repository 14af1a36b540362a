// Which store this host has used: a store that lost its records, or another one in its place, looks
// just like one in which no key was ever made, and keyfs would make a second key for every id.
//
// So each store has a random id of its own (Store::identity()), which it gets at its first use and
// keeps beside its records:
//   SQLite     in the table `meta`
//   etcd       at PREFIX/store-id
//   DynamoDB   in the item `.keyfs-store`
// The first store that a host uses is remembered in STATE_DIR/store-id (one line, "sqlite 5f1c...")
// and another one, of whatever type, is refused: no miss there is believed and nothing is made. To
// go on with another store on purpose the operator says so: keyfs check --accept-store. What else
// etcd remembers is in store/etcd/identity.h.
//
// Records are bound to the store by their origin: one that was copied here from another store, or
// written by a host that did not know of this one yet, is corrupt.
//
// Thread-safety: plain functions; several processes may call them at once. Blocking: they read and
// write a file. Errors: kUnavailable or kDenied for the file itself, kCorrupt for one that is not
// well-formed, kInvalid for another store.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "store/record.h"

namespace keyfs {

struct StoreName {
  std::string type;  // "sqlite"
  std::string id;    // the store's own; without blanks
  // Of a DynamoDB table its home region and TableId, "us-east-1/5f1c...": it changes when a table
  // is restored from a backup, which brings the id along. Empty: it can't be told.
  std::string life{};

  bool operator==(const StoreName&) const = default;
};

// nullopt: none yet.
Result<std::optional<StoreName>> read_known_store(const std::string& state_dir);

// Remembers `store`, or fails when another one is remembered, or another life of it. `where` is
// what messages call it.
Result<void> check_known_store(const std::string& state_dir, const StoreName& store,
                               const std::string& where);

// Forgets whichever store is remembered, by the operator's word; the next one that is used is the
// known one. False: none was.
Result<bool> forget_known_store(const std::string& state_dir);

// What the operator can do about a store that is refused, for the end of a message.
std::string accept_store_hint();

// parse_record(), and kCorrupt for a record whose origin is another store than `store_id`.
Result<Record> parse_own_record(std::string_view json, std::string_view id,
                                const std::string& store_id);
Result<void> check_origin(const Record& record, const std::string& store_id);
// kInvalid, a mistake of ours, for a record that is to be written into a store it is not bound to.
Result<void> check_may_write(const Record& record, const std::string& store_id);

// Fails when a store of another type is remembered: it need not be asked for its id to be refused.
Result<void> check_known_type(const std::string& state_dir, const std::string& type);

// What to tell when the store that is remembered is not to be found at all.
Error lost_store(const std::string& state_dir, const Error& why);

}  // namespace keyfs
