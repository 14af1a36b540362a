// The lists of users in a policy, and who is named in one.
//
// Thread-safety: plain values; an Asker is of one thread. Ownership: an Asker refers to its caller
// and groups. Blocking: only read_principals(), by its NameService, and SupplementaryGroups may read
// /proc. Errors: mistakes are told to the ConfigReader.
#pragma once

#include <sys/types.h>

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/config_reader.h"
#include "base/result.h"

namespace keyfs {

class Policy;

struct Caller {
  uid_t uid = 0;
  gid_t gid = 0;
};

// The users in one list.
struct Principals {
  bool any = false;
  std::vector<uid_t> uids;
  std::vector<gid_t> gids;
  std::string text;  // as written
  int line = 0;      // its line; 0: there is no list

  bool empty() const { return !any && uids.empty() && gids.empty(); }
  bool name_user(const Caller& caller) const;  // without supplementary groups
  bool name_group(std::span<const gid_t> groups) const;
};

// Looks up a user's or group's number by name; tests supply their own.
class NameService {
 public:
  virtual ~NameService() = default;
  // nullopt: there is no such name; kUnavailable if the database does not answer. Both may block.
  virtual Result<std::optional<uid_t>> uid_of(const std::string& user) = 0;
  virtual Result<std::optional<gid_t>> gid_of(const std::string& group) = 0;
};
// getpwnam_r, getgrnam_r.
class SystemNames final : public NameService {
 public:
  Result<std::optional<uid_t>> uid_of(const std::string& user) override;
  Result<std::optional<gid_t>> gid_of(const std::string& group) override;
};

// Where a section is, and of which policy.
struct PolicyPlace {
  const Policy* policy = nullptr;  // that it belongs to
  bool hidden = false;             // the section used if no glob matches
  std::string title;               // "[keys payments-*]"; "" for the hidden one
  std::string file;
  int line = 0;  // 0: in no file
};

// Where an operator finds it: "FILE:LINE", or "set by --embedded".
std::string place_of(const PolicyPlace& section);

// The caller's supplementary groups, requested only if the decision depends on them.
class SupplementaryGroups {
 public:
  virtual ~SupplementaryGroups() = default;
  // nullopt when they cannot be learned: then they count as none, so nothing is permitted by them.
  virtual std::optional<std::span<const gid_t>> get() = 0;
};
class KnownGroups final : public SupplementaryGroups {
 public:
  explicit KnownGroups(std::vector<gid_t> groups = {}) : groups_(std::move(groups)) {}
  std::optional<std::span<const gid_t>> get() override { return groups_; }

 private:
  std::vector<gid_t> groups_;
};

// The answers for one decision, with the groups looked up once.
class Asker {
 public:
  Asker(const Caller& caller, SupplementaryGroups& groups) : caller_(caller), groups_(groups) {}

  bool named_in(const Principals& list);
  bool groups_unknown() const { return asked_ && !known_; }

 private:
  const Caller& caller_;
  SupplementaryGroups& groups_;
  std::optional<std::span<const gid_t>> known_;
  bool asked_ = false;
};

// A list of the section, with its names resolved; a name that cannot be resolved is a mistake.
Principals read_principals(ConfigReader& in, std::string_view key, NameService& names);

// Everything about it, for comparison.
std::string fingerprint_of(const Principals& list);

// Why a glob can match no id; nullopt: it can. Surely a typo.
std::optional<std::string> hopeless(std::string_view pattern);

}  // namespace keyfs
