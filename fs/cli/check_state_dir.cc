#include "fs/cli/check_state_dir.h"

#include <sys/stat.h>

#include <cerrno>

#include "fs/daemon/state_dir.h"

namespace keyfs {

CheckItem check_state_dir(const std::string& state_dir) {
  struct stat about {};
  const bool absent = ::lstat(state_dir.c_str(), &about) != 0 && errno == ENOENT;
  CheckItem item{absent ? "state_dir can be made" : "state_dir can be written", true, state_dir, "",
                 false};
  const auto state = StateDir::prepare(state_dir);
  if (!state) return item;
  state->take_back();
  if (!state->usable()) {
    item.ok = false;
    item.detail = state->trouble();
    item.remedy =
        "make it writable for the daemon's user, with free space; until then keys are served and "
        "none is made on this host";
  }
  return item;
}

}  // namespace keyfs
