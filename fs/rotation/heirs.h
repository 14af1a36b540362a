// Who has a key open without having opened it: a process that was given the descriptor by one that
// has ended since, as a daemon that opens its files before it forks itself into the background.
//
// Thread-safety: a plain function. Blocking: it reads links of /proc, of all processes; no request
// goes to the mount. Errors: none; what may not be read (without CAP_SYS_PTRACE, those of other
// users) is left out.
#pragma once

#include <sys/types.h>

#include <optional>
#include <set>
#include <string>
#include <vector>

namespace keyfs {

struct KeyUser {
  uid_t uid = 0;
  std::string key;
};

// A process of one of these users that has a file of that key's name open in the file system that is
// mounted there, and is none of `others`.
std::optional<pid_t> heir_of(const std::string& mountpoint, const std::vector<KeyUser>& users,
                             const std::set<pid_t>& others);

}  // namespace keyfs
