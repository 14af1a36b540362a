// The user who runs this command, or whom it is about, as the policy sees users.
//
// Thread-safety: plain values. Blocking: invoking_user() and find_user() query the user database.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "fs/policy/policy.h"

namespace keyfs {

// For messages about an invalid key id.
inline constexpr std::string_view kKeyIdRule =
    "1 to 255 of A-Z a-z 0-9 . _ : @ + = , ~ -, the first a letter or a digit";

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
  bool administer = false;  // disable, enable, delete, heal
  const PolicySection* section = nullptr;
};
// Neither blocks nor fails.
Permission permission_for(const Policy& policy, std::string_view id, const User& user);

// "alice (uid 1000) may not disable orders: [keys orders*] (keyfs.ini:12) does not name them in
// admin"
Error refusal(const Permission& permission, const User& user, std::string_view verb,
              std::string_view id, std::string_view entries);

}  // namespace keyfs
