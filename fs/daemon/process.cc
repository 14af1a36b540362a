#include "fs/daemon/process.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <system_error>

#include "base/file.h"
#include "base/secret.h"

namespace keyfs {
namespace {

// Enough for a few thousand keys, credentials and the bodies of requests in flight.
constexpr size_t kLeastLockable = size_t{1} << 20;

// Connections, mostly; limited, since children inherit it, and some of them close every descriptor
// one by one.
constexpr rlim_t kDescriptors = 65'536;

// Both included.
void close_descriptors(unsigned from, unsigned to) {
  if (from > to || ::close_range(from, to, 0) == 0) return;
  // A sandbox may not know close_range(2).
  rlimit files{};
  ::getrlimit(RLIMIT_NOFILE, &files);
  const unsigned end = static_cast<unsigned>(std::min<rlim_t>(files.rlim_max, kDescriptors));
  for (unsigned fd = from; fd <= std::min(to, end); ++fd) ::close(static_cast<int>(fd));
}

std::string reason() { return std::generic_category().message(errno); }

}  // namespace

Result<void> set_up_process() {
  for (int fd = 0; fd <= 2; ++fd) {
    // open() takes the lowest free number: `fd`, since those below it are already open.
    if (::fcntl(fd, F_GETFD) < 0 && ::open("/dev/null", O_RDWR) != fd) {
      return fail(Code::kUnavailable, "could not open /dev/null: " + reason());
    }
  }
  for (int signal = 1; signal < SIGRTMAX; ++signal) {
    if (signal == SIGHUP || signal == SIGINT || signal == SIGQUIT) continue;
    std::signal(signal, signal == SIGPIPE || signal == SIGXFSZ ? SIG_IGN : SIG_DFL);
  }
  sigset_t none;
  sigemptyset(&none);
  pthread_sigmask(SIG_SETMASK, &none, nullptr);
  ::umask(077);
  const rlimit no_core{0, 0};
  if (::setrlimit(RLIMIT_CORE, &no_core) != 0 || ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) {
    return fail(Code::kUnavailable, "could not disable core dumps: " + reason());
  }
  return {};
}

Result<void> set_up_daemon(int keep) {
  std::signal(SIGHUP, SIG_DFL);
  const auto first = static_cast<unsigned>(keep);
  if (keep >= 3) close_descriptors(3, first - 1);
  close_descriptors(keep >= 3 ? first + 1 : 3, ~0U);
  for (const char* name : {"LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"}) ::unsetenv(name);
  if (::chdir("/") != 0) return fail(Code::kUnavailable, "could not change to /: " + reason());
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < kDescriptors) {
    files.rlim_cur = std::min<rlim_t>(files.rlim_max, kDescriptors);
    ::setrlimit(RLIMIT_NOFILE, &files);  // without it there are fewer connections
  }
  return {};
}

void end_process(int code) {
  const auto threads = read_to_end("/proc/self/status");
  if (threads && threads->find("\nThreads:\t1\n") != std::string::npos) std::exit(code);
  ::_exit(code);
}

Result<void> check_lockable_memory() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_MEMLOCK, &limit);  // if refused, the check below reports it
  }
  const size_t lockable = SecretArena::lockable_bytes();
  if (lockable >= kLeastLockable) return {};
  return fail(
      Code::kInvalid,
      "may lock only " + std::to_string(lockable / 1024) +
          " KiB of memory (RLIMIT_MEMLOCK), but keys are held only in locked memory: at least " +
          std::to_string(kLeastLockable / 1024) +
          " KiB are needed; raise the limit with `ulimit -l`, LimitMEMLOCK= (systemd) or "
          "/etc/security/limits.conf");
}

}  // namespace keyfs
