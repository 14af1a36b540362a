#include "fs/daemon/process.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <string>
#include <system_error>

#include "base/secret.h"

namespace keyfs {
namespace {

// Enough for a few thousand keys, credentials and the bodies of requests in flight.
constexpr size_t kLeastLockable = size_t{1} << 20;

std::string reason() { return std::generic_category().message(errno); }

}  // namespace

Result<void> harden_process() {
  for (int fd = 0; fd <= 2; ++fd) {
    // open() takes the lowest free number: `fd`, since those below it are open by now.
    if (::fcntl(fd, F_GETFD) < 0 && ::open("/dev/null", O_RDWR) != fd) {
      return fail(Code::kUnavailable, "could not open /dev/null: " + reason());
    }
  }
  ::umask(077);
  std::signal(SIGPIPE, SIG_IGN);
  const rlimit none{0, 0};
  if (::setrlimit(RLIMIT_CORE, &none) != 0 || ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) {
    return fail(Code::kUnavailable, "could not switch off core dumps: " + reason());
  }
  return {};
}

Result<void> check_lockable_memory() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_MEMLOCK, &limit);  // when refused, the look below tells
  }
  const size_t lockable = SecretArena::lockable_bytes();
  if (lockable >= kLeastLockable) return {};
  return fail(
      Code::kInvalid,
      "may lock only " + std::to_string(lockable / 1024) +
          " KiB of memory (RLIMIT_MEMLOCK), and keys are held in locked memory only: at least " +
          std::to_string(kLeastLockable / 1024) +
          " KiB are needed; raise it with `ulimit -l`, LimitMEMLOCK= (systemd) or "
          "/etc/security/limits.conf");
}

}  // namespace keyfs
