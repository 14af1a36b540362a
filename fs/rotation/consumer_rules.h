// The [consumer NAME] sections: which programs are told that a key was rotated, and how.
//
//   [consumer nginx]
//   match = unit:nginx.service        unit:GLOB, cgroup:GLOB, exe:GLOB, user:NAME, uid:N; all must fit
//   keys = tls-*                      globs; all keys if absent
//   refresh = signal:HUP
//   confirm = open
//   timeout = 30s                     of hook and confirmation together
//
// The first section in the file that fits the program and the key decides. A unit is one of the
// system's service manager: a unit that a user's own manager made is user@UID.service, so that
// nobody can pass for another's unit. An executable is what /proc shows; a user who may make mount
// namespaces can show any path, so where other users may read the same keys, name a unit or a user
// too.
//
// Thread-safety: immutable. Blocking: load() while it looks up users. Errors: kInvalid, one line
// with file and line (base/config.h).
#pragma once

#include <sys/types.h>

#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/config.h"
#include "base/result.h"
#include "fs/policy/glob.h"
#include "fs/policy/policy.h"

namespace keyfs {

// A program that uses keys.
struct Who {
  std::string unit;  // of the system's manager; empty: none
  std::string cgroup;
  std::string executable;  // empty: unknown, as of a process in another PID namespace
  uid_t uid = 0;           // that it opened the keys as

  auto operator<=>(const Who&) const = default;  // NOLINT(modernize-use-nullptr)
};

// "nginx.service" of "/system.slice/nginx.service"; empty if there is none.
std::string unit_of(std::string_view cgroup);

enum class RefreshKind : uint8_t { kSignal, kExec, kSystemd, kHttp, kWatch };

struct Refresh {
  RefreshKind kind = RefreshKind::kWatch;
  int signal = 0;      // kSignal
  std::string target;  // kExec: the program's path; kSystemd: the unit; kHttp: the URL
  std::string verb;    // kSystemd: "reload", "restart"; kHttp: the method
  std::string text;    // as written
};

enum class Confirm : uint8_t {
  kOpen,  // it has opened the new version
  kExit,  // the hook ended well
  kNone,  // the hook was run, however it ended
};

struct ConsumerRule {
  std::string name;
  int line = 0;
  std::optional<Glob> unit, cgroup, executable;  // what is named must fit
  std::optional<uid_t> uid;
  std::vector<Glob> keys;  // none: all
  Refresh refresh;
  Confirm confirm = Confirm::kOpen;
  Duration timeout = std::chrono::seconds(30);
  // Of whom it tells of which keys, and so of the sections before it too: another text once that has
  // changed, also after a restart. How it tells them is not in it.
  std::string print{};

  bool fits(const Who& who) const;
  bool covers(std::string_view key) const;
};

class ConsumerRules {
 public:
  static constexpr size_t kMaxRules = 1000;  // each is compared with each new program

  // None.
  ConsumerRules() = default;
  static Result<ConsumerRules> load(const ConfigFile& file, NameService& names);

  const std::vector<ConsumerRule>& all() const { return rules_; }  // in file order
  const ConsumerRule* find(std::string_view name) const;           // null: there is none
  // The one that decides for this program and key; null: it is not told.
  const ConsumerRule* rule_for(const Who& who, std::string_view key) const;
  bool any(RefreshKind kind) const;

 private:
  std::vector<ConsumerRule> rules_;
};

}  // namespace keyfs
