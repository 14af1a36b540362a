// The record: what the store holds for a key id. Never plaintext.
//
// JSON with "keyfs": 1 (see the README's "Record format"):
//   {"keyfs":1, "id":S, "state":"enabled|disabled|deleted", "current":N, "versions":{"N":
//     {"created":T, "creator":S, "bytes":B, "check":HEX, "wrapped":{REGION:
//       {"key":ARN, "blob":BASE64, "at":T}}}}}
// and, if they have a value, "origin", "serial", "last", "min", "pending", and in a version
// "token", "promoted", "destroyed" (the members of the same names below); and in a signing key's
// record (kSigningPrefix) "kind", and in its versions "type" and "public" (base64).
// Times are RFC 3339 in UTC; code that computes with one parses it (base/clock.h). Fields that this
// version of keyfs does not know survive a rewrite, at every level.
//
// Thread-safety: plain values. Blocking: never. Errors: see each function. Messages name the id and
// what is wrong, and quote neither blobs nor unknown fields.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/limits.h"
#include "base/result.h"

namespace keyfs {

enum class KeyState { kEnabled, kDisabled, kDeleted };
std::string_view to_string(KeyState state);
// nullopt for any other text.
std::optional<KeyState> parse_key_state(std::string_view text);

// A data key as one region's master key encrypted it.
struct Wrap {
  std::string master;   // "key": the ARN (or name) of the master key
  std::string blob;     // raw bytes
  std::string at;       // when
  std::string unknown;  // a JSON object with the unknown fields, or empty

  bool operator==(const Wrap&) const = default;
};

using KeyCheck = std::array<uint8_t, 16>;

struct Version {
  std::string created;
  std::string creator;  // the host that created it
  uint32_t bytes = 0;   // of the key
  // The key check value, compared after every unwrap. Absent only in records that RKMS wrote.
  std::optional<KeyCheck> check;
  std::map<std::string, Wrap> wrapped;  // by region; may be empty
  std::string token;                    // of the ticket that created it, or empty
  std::string promoted;                 // when it became current, or empty
  std::string destroyed;                // when its wraps were permanently removed, or empty
  std::string type;                     // of a signing key: "EC_P256"; empty in data keys
  std::string public_key;               // its public half, in DER, raw bytes; empty in data keys
  std::string unknown;

  bool operator==(const Version&) const = default;
};

struct Record {
  std::string id;
  KeyState state = KeyState::kEnabled;
  uint32_t current = 0;
  std::map<uint32_t, Version> versions;  // 1, 2, ...
  // The id of the store that it was created in, which its wraps are bound to; empty in old records,
  // whose wraps are not bound to a store.
  std::string origin;
  // Goes up by one whenever state, current or min changes, so that older records can be recognized.
  // 0 in old records.
  uint64_t serial = 0;
  uint32_t last = 0;     // the highest version ever, unless 0: never reused
  uint32_t min = 0;      // lower versions are refused
  uint32_t pending = 0;  // a version that was created but is not current yet; 0: none
  std::string kind;      // empty: a data key; kSigningKind
  std::string unknown;
  // Written by RKMS: one version without a check value, wrapped without an encryption context.
  bool from_rkms = false;

  bool operator==(const Record&) const = default;
};

// A record of a signing key: its plaintexts are private keys. Its id begins so, which no data key's
// does, and no other record's id does: what is asked for data keys by id never meets one.
inline constexpr std::string_view kSigningPrefix = ".sign.";
inline constexpr std::string_view kSigningKind = "signing";
inline bool is_signing_record_id(std::string_view id) { return id.starts_with(kSigningPrefix); }
inline constexpr size_t kMaxPublicKeyBytes = 1024;

// Bounds of a record, beside kMaxKeyBytes. KMS's ciphertext has at most 6144 bytes.
inline constexpr size_t kMaxRecordBytes = size_t{256} << 10;
// Of a new key: its check value is published, and would let a shorter one be found by trial. Older
// records with shorter keys still read.
inline constexpr uint32_t kMinKeyBytes = 16;
inline constexpr size_t kMaxBlobBytes = size_t{16} << 10;

// kCorrupt for anything that is not a well-formed record of the requested `id`, a record of another
// one included. What does not parse is never "absent".
Result<Record> parse_record(std::string_view json, std::string_view id);

// One line of JSON, which parse_record turns into an equal record. kInvalid, a bug in keyfs, for a
// record without such a form, like one that RKMS wrote.
Result<std::string> to_json(const Record& record);

// The same without parsing it again: for a copy of what parse_record returned, never for a store.
Result<std::string> to_json_unchecked(const Record& record);

}  // namespace keyfs
