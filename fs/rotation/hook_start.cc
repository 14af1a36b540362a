#include "fs/rotation/hook_start.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "base/file.h"

namespace keyfs {
namespace {

constexpr int kError = 3;  // the child's end of the pipe, which its exec closes

struct Plan {
  char* const* arguments;
  char* const* environment;
  int input;
  int output;
  int error;  // a pipe, for errno
  pid_t parent;
};

// Only system calls from here to exec: the child uses our memory (no copy of the keys is made), in
// the midst of our other threads.

[[noreturn]] void give_up(int to) {
  const int error = errno;
  while (::write(to, &error, sizeof error) < 0 && errno == EINTR) {
  }
  ::_exit(127);
}

void close_from(int first) {
  if (::close_range(static_cast<unsigned>(first), ~0U, 0) == 0) return;
  // A sandbox may not know close_range(2). Ours are all closed by exec, but for a library's that
  // does not mark them.
  const long most = ::sysconf(_SC_OPEN_MAX);
  for (int fd = first; fd < most; ++fd) ::close(fd);
}

[[noreturn]] void become(const Plan& plan) {
  // Above those that are about to be replaced.
  const int error = ::fcntl(plan.error, F_DUPFD_CLOEXEC, kError);
  if (error < 0) give_up(plan.error);
  const int input = ::fcntl(plan.input, F_DUPFD_CLOEXEC, kError);
  const int output = ::fcntl(plan.output, F_DUPFD_CLOEXEC, kError);
  if (input < 0 || output < 0) give_up(error);
  // A session is a process group too, and has no terminal that could stop it.
  if (::setsid() < 0) give_up(error);
  if (::dup2(input, 0) < 0 || ::dup2(output, 1) < 0 || ::dup2(input, 2) < 0) give_up(error);
  if (error != kError && ::dup3(error, kError, O_CLOEXEC) < 0) give_up(error);
  close_from(kError + 1);
  struct sigaction plain {};
  plain.sa_handler = SIG_DFL;
  for (int signal = 1; signal < NSIG; ++signal) ::sigaction(signal, &plain, nullptr);
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) give_up(kError);
  if (::getppid() != plan.parent) ::_exit(127);  // it has ended before
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::execve(plan.arguments[0], plan.arguments, plan.environment);
  give_up(kError);
}

[[gnu::noinline]] pid_t begin(const Plan& plan) {
  const pid_t pid = ::vfork();
  if (pid == 0) become(plan);
  return pid;
}

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> all;
  for (std::string& word : words) all.push_back(word.data());
  all.push_back(nullptr);
  return all;
}

// What the child has written; 0 once it is the program, or was killed.
int error_of(int from) {
  int error = 0;
  for (;;) {
    const ssize_t size = ::read(from, &error, sizeof error);
    if (size < 0 && errno == EINTR) continue;
    return size == sizeof error ? error : 0;
  }
}

}  // namespace

Result<pid_t> start_hook(std::vector<std::string>& arguments, std::vector<std::string>& environment,
                         int output) {
  const std::string& path = arguments[0];
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return fail(os_error("a pipe", "cannot be made"));
  const Descriptor from(ends[0]);
  Descriptor to(ends[1]);
  const Descriptor nothing(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!nothing.is_open()) return fail(os_error("/dev/null", "cannot be opened"));
  const auto words = pointers(arguments);
  const auto variables = pointers(environment);
  const Plan plan{words.data(),  variables.data(),
                  nothing.get(), output >= 0 ? output : nothing.get(),
                  to.get(),      ::getpid()};
  // No handler of ours runs in the child.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  const pid_t pid = begin(plan);
  const int not_begun = errno;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (pid < 0) return fail(os_error(path, "cannot be started", not_begun));
  to.reset();
  const int error = error_of(from.get());
  if (error == 0) return pid;
  while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
  if (error == ENOEXEC) {
    return fail(Code::kUnavailable, path +
                                        ": cannot be started: it is neither a program for this "
                                        "machine nor a script that begins with #!");
  }
  return fail(os_error(path, "cannot be started", error));
}

}  // namespace keyfs
