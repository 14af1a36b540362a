// What is known about an open(2) of a key when it is answered, or about the creation of one: one
// line of the audit.
//
// Thread-safety: a plain value. Ownership: keeps the key's entry and the process's description
// alive; refers to the policy's section and the region's name, whose owners (PolicyHolder,
// KeyCache) outlive the audit. Blocking: never. Errors: none.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "fs/audit/process_info.h"
#include "fs/keys/data_key.h"
#include "fs/keys/key_cache.h"
#include "fs/policy/policy.h"

namespace keyfs {

enum class AuditVerdict : uint8_t { kAllowed, kDenied, kAbsent, kFailed };
std::string_view to_string(AuditVerdict verdict);

// What a line about a signature has beside that of an open.
struct SigningFacts {
  std::string id;
  std::string pinned;       // the fingerprint that it was asked for by; empty: the current key
  std::string fingerprint;  // of the key that signed, or would have; empty: not known
  std::string_view algorithm;
  std::string digest;  // hex, lower case
  std::string region;  // that signed; empty: none, or this host
  std::string request_id;
};

struct AuditEvent {
  enum class Kind : uint8_t {
    kOpen,
    kSign,            // a signature, handed out or refused
    kCreating,        // a new key's record is about to be saved
    kCreated,         // it was, and the opener did not get the key
    kPerhapsCreated,  // the store did not say
  };

  WallTime time{};
  Duration took{};
  KeyRef key;                                   // none: of many keys
  std::shared_ptr<const ProcessInfo> process;   // may be null
  std::shared_ptr<const SigningFacts> signing;  // of kSign, which has no key; none: of many
  const PolicyPlace* section = nullptr;         // the section that decided; may be null
  const std::string* region = nullptr;          // that gave the key; may be null
  // Why it failed, if the reason came from the store or the regions; may be null.
  std::shared_ptr<const std::string> reason;
  // Told once, on the audit's thread, whether the line was written; null: nobody waits for it. Only
  // lines about keys (of_a_key()) have it.
  std::shared_ptr<const std::function<void(bool kept)>> receipt;
  uint64_t count = 1;  // of opens; more than one: all else is said of the last of them
  uint64_t after = 0;  // of a refusal: how many lines about keys came before it
  uid_t uid = 0;
  gid_t gid = 0;
  uint32_t version = 0;   // that was handed out, or created
  uint32_t asked = 0;     // by number; 0: the current one
  std::string_view view;  // "hex", "base64": the text of it; a constant, or empty
  int error = 0;          // errno of the reply, 0 if it was opened
  Kind kind = Kind::kOpen;
  AuditVerdict verdict = AuditVerdict::kFailed;  // of an open, or a signature
  KeySource source = KeySource::kNone;
  bool created = false;
  bool anybody = false;  // of many users

  // A key was opened, or a signature asked for; otherwise one is created.
  bool is_asked() const { return kind == Kind::kOpen || kind == Kind::kSign; }
  // A line that nothing may displace: a key, or a signature, was handed out, or a key created.
  bool of_a_key() const { return verdict == AuditVerdict::kAllowed || created || !is_asked(); }
  // What it tells of must not happen without it, if the audit is required.
  bool comes_first() const { return verdict == AuditVerdict::kAllowed || kind == Kind::kCreating; }
};

}  // namespace keyfs
