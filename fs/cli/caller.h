// The user who runs this command, or whom it is about, as the policy sees users.
//
// Thread-safety: plain values. Blocking: invoking_user() and find_user() query the user database.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "fs/cli/output.h"
#include "fs/policy/policy.h"

namespace keyfs {

// What was typed as ids of keys; an invalid one is told, and is a mistake in the command line
// (ExitCode::kUsage): nothing is to be tried.
bool are_key_ids(const std::vector<std::string>& ids, Output& output);

struct User {
  Caller caller;
  std::vector<gid_t> groups;  // supplementary ones
  std::string name;           // "app", or "uid 1234" if the number has no name

  // "app (uid 1000)"
  std::string text() const;
};

User invoking_user();
// By name or by number; a number without an entry gets the same number as its only group. kInvalid
// for an unknown name.
Result<User> find_user(const std::string& name_or_number);

// What the policy lets a user do with a key on the command line.
struct Permission {
  bool see = false;  // list, describe
  bool create = false;
  bool administer = false;  // disable, enable, delete, heal, rotate, promote, retire, destroy
  const PolicySection* section = nullptr;
};
// Neither blocks nor fails.
Permission permission_for(const Policy& policy, std::string_view id, const User& user);

// "alice (uid 1000) may not disable orders: [keys orders*] (keyfs.ini:12) does not name them in
// admin"
Error refusal(const Permission& permission, const User& user, std::string_view verb,
              std::string_view id, std::string_view entries);

}  // namespace keyfs
