// [sign GLOB]: who may do what with which signing keys.
//
// Sections in file order; the first whose glob matches the id decides, and no match hides it. `use`
// lists who may sign, and see; `see` who may read the public files; `create` and `admin` who may
// administer keys by the command line. `algorithms` says what may be signed with (all, if it is not
// there), `rate` how many signatures each user may have made: N/s, N/m or N/h.
//
// Thread-safety: immutable once loaded. Ownership: the Policy owns its sections. Blocking: only
// read(), while `names` queries the user database. Errors: only read()'s: kInvalid, one line with
// file and line.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/config.h"
#include "base/result.h"
#include "fs/policy/glob.h"
#include "fs/policy/principals.h"

namespace keyfs {

enum class SigningAlgorithm : uint8_t;  // kms/signing/key_types.h
struct SignSection;

// So many in each period, and as many at once after a quiet one.
struct SignRate {
  uint32_t count = 0;
  std::chrono::milliseconds period{};
};

struct SignDecision {
  const SignSection* section;  // never null; section->hidden if no glob matched
  bool use = false;
  bool see = false;  // whoever may use, may see
  bool create = false;
  bool admin = false;
  bool groups_unknown = false;  // they were needed, but are unknown
};

struct SignSection : PolicyPlace {
  std::optional<Glob> glob;  // none in the hidden section
  Principals use, see, create, admin;
  uint32_t algorithms = ~uint32_t{0};  // a bit for each that may be used
  std::string algorithms_text;         // as written; empty: all
  std::optional<SignRate> rate;
  std::string rate_text;

  // What `ls -l` shows: the first of `use` for signatures; mode 0400, or 0440 if a group may, or
  // 0444 for public files that any may see.
  uid_t owner = 0;
  gid_t group = 0;
  mode_t mode = 0400;
  mode_t public_mode = 0400;

  // `embedded`: its lines are in no file that anybody could look up.
  static Result<SignSection> read(const ConfigSection& from, NameService& names, bool embedded);

  bool permits(SigningAlgorithm algorithm) const {
    return (algorithms >> static_cast<unsigned>(algorithm) & 1) != 0;
  }
  // What it permits a caller. Does not allocate, and calls `groups` at most once.
  SignDecision decide(const Caller& caller, SupplementaryGroups& groups) const;
  bool may_use(const Caller& caller, SupplementaryGroups& groups) const;
  bool may_see(const Caller& caller, SupplementaryGroups& groups) const;

  // As text for people, as Policy::explain().
  std::string explain(std::string_view id, const Caller& caller, SupplementaryGroups& groups) const;
  std::string fingerprint() const;
};

}  // namespace keyfs
