// Who may do what with which ids.
//
// [keys GLOB] sections in file order; the first whose glob matches the id decides, and no match
// hides the id. `read`, `create` and `admin` list user:NAME, uid:N, group:NAME, gid:N, or any;
// [admin] lists who may read .keyfs/ and administer the daemon. Names are resolved when the policy
// is loaded, and an unknown one is a mistake. root has no special privilege. `rotate_every` and
// `retire_after` of the section say when its keys are rotated, and old versions retired.
//
// [sign GLOB] sections decide likewise about signing keys (fs/policy/sign_policy.h). A right to a
// data key is none to a signing key of that name, and the other way round.
//
// [keyfs] never_create belongs to the policy: it is reloaded with it, and `explain` shows it.
//
// Thread-safety: a Policy is immutable; a PolicyHolder is thread-safe, and current() is one atomic
// load. Ownership: the holder keeps every policy that it was ever given, so that references to
// sections are valid as long as the holder lives (a policy identical to the current one is not
// added). Blocking: only load(). Errors: only load()'s.
#pragma once

#include <sys/types.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/config.h"
#include "base/result.h"
#include "fs/policy/glob.h"
#include "fs/policy/never_create.h"
#include "fs/policy/principals.h"
#include "fs/policy/sign_policy.h"

namespace keyfs {

// The name of a configuration that is no file: that of --embedded. Nobody can look up its lines.
inline constexpr std::string_view kNoConfigFile = "--embedded";

struct PolicySection : PolicyPlace {
  std::optional<Glob> glob;  // none in the hidden section and in [admin]
  Principals read, create, admin;
  // How often a key gets a new version by itself, and how long after that older ones are retired;
  // never if not set.
  std::optional<std::chrono::milliseconds> rotate_every, retire_after;

  // What `ls -l` shows: owner and group from the first `read` entries (0 if there is none), and
  // mode 0400, or 0440 if a group may read.
  uid_t owner = 0;
  gid_t group = 0;
  mode_t mode = 0400;
};

struct Decision {
  const PolicySection* section;  // never null; section->hidden if no glob matched
  bool read = false;
  bool create = false;  // only together with read
  bool admin = false;
  bool groups_unknown = false;  // they were needed, but are unknown

  bool hidden() const { return section->hidden; }     // ENOENT
  bool denied() const { return !hidden() && !read; }  // EACCES
};

class Policy {
 public:
  // The [keys ...], [sign ...] and [admin] sections of `file`, and never_create of [keyfs]. Blocks while
  // `names` queries the user database. kInvalid, one line with file and line.
  static Result<std::unique_ptr<const Policy>> load(const ConfigFile& file, NameService& names);

  Policy(const Policy&) = delete;
  Policy& operator=(const Policy&) = delete;

  // The section that decides for `id`; the hidden one if none matches. Tries the globs in order:
  // keep the answer for as long as the policy is current.
  const PolicySection& section_for(std::string_view id) const;
  // What a section permits a caller. Does not allocate, and calls `groups` at most once.
  static Decision decide(const PolicySection& section, const Caller& caller,
                         SupplementaryGroups& groups);
  Decision decide(std::string_view id, const Caller& caller, SupplementaryGroups& groups) const {
    return decide(section_for(id), caller, groups);
  }
  // Only `read`: for a warm open, and for each name in a directory listing. So a `create` list does
  // not cause a lookup of groups.
  static bool may_read(const PolicySection& section, const Caller& caller,
                       SupplementaryGroups& groups);

  // `create`, and `read` with it.
  static bool may_create(const PolicySection& section, const Caller& caller,
                         SupplementaryGroups& groups);

  // The same for signing keys; SignSection::decide() says what it permits a caller.
  const SignSection& sign_section_for(std::string_view id) const;
  const std::vector<SignSection>& sign_sections() const { return sign_sections_; }

  // [admin] read: may see .keyfs/status, .keyfs/metrics.
  bool is_admin(const Caller& caller, SupplementaryGroups& groups) const;
  const PolicySection& admin_section() const { return admin_; }

  // True if opening never creates this name, for any user.
  const NeverCreate& never_create() const { return never_create_; }
  bool never_creates(std::string_view id) const { return never_create_.matches(id); }

  // As text for people: which section and line decides for this caller and id, and what it permits.
  std::string explain(std::string_view id, const Caller& caller, SupplementaryGroups& groups) const;

  const std::vector<PolicySection>& sections() const { return sections_; }
  // True if both permit the same by the same lines.
  bool same_as(const Policy& other) const { return fingerprint_ == other.fingerprint_; }

 private:
  Policy() = default;

  std::vector<PolicySection> sections_;  // in file order
  std::vector<SignSection> sign_sections_;
  PolicySection hidden_;
  SignSection sign_hidden_;
  PolicySection admin_;
  NeverCreate never_create_;
  std::string fingerprint_;  // everything that was read, with names resolved
};

class PolicyHolder {
 public:
  explicit PolicyHolder(std::unique_ptr<const Policy> first);

  const Policy& current() const { return *current_.load(std::memory_order_acquire); }
  // False if it is identical to the current one, which then stays.
  bool replace(std::unique_ptr<const Policy> next);

 private:
  std::atomic<const Policy*> current_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<const Policy>> all_;
};

}  // namespace keyfs
