// credential_process.
//   https://docs.aws.amazon.com/sdkref/latest/guide/feature-process-credentials.html
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>

#include "base/aws/credentials_sources.h"
#include "base/aws/shell_words.h"
#include "base/file.h"
#include "base/secret_json.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;
using Steady = std::chrono::steady_clock;

constexpr size_t kMaxOutput = 64 * 1024;

// Kills the whole process group unless it was already reaped.
struct Child {
  pid_t pid = -1;
  ~Child() {
    if (pid <= 0) return;
    ::kill(-pid, SIGKILL);
    while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
};

// Its standard output, after a successful exit. stderr is discarded: it may contain what must not
// be logged. The child gets none of our descriptors (all are O_CLOEXEC) and its own process group.
Result<SecretBytes> run(SecretArena& arena, const std::string& who, std::vector<std::string> words,
                        Steady::time_point until, const std::atomic<bool>& dropped) {
  const auto failed = [&who](const std::string& what) {
    return fail(Code::kUnauthenticated, who + ": " + what);
  };
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return failed(std::strerror(errno));
  const Descriptor out(ends[0]);
  Descriptor in(ends[1]);
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attributes);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, in.get(), 1);
  posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
  sigset_t all;
  sigset_t none;
  sigfillset(&all);
  sigemptyset(&none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes,
                           POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  Child child;
  const int error =
      ::posix_spawnp(&child.pid, argv[0], &actions, &attributes, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (error != 0) {
    child.pid = -1;
    return failed(std::string("the program cannot be started: ") + std::strerror(error) +
                  " (no shell is used; if you need one, write sh -c '...')");
  }
  in.reset();

  auto output = arena.allocate(kMaxOutput);
  if (!output) return fail(output.error());
  size_t size = 0;
  const auto over = [&] { return dropped || Steady::now() >= until; };
  constexpr int kLookMs = 50;  // how often to check whether anybody still wants it
  for (;;) {
    pollfd ready{out.get(), POLLIN, 0};
    const int got_ready = ::poll(&ready, 1, kLookMs);
    if (over()) return fail(Code::kTimeout, who + ": the process does not exit");
    if (got_ready == 0 || (got_ready < 0 && errno == EINTR)) continue;
    if (got_ready < 0) return failed(std::strerror(errno));
    const ssize_t got =
        ::read(out.get(), output->reveal_mutable().data() + size, output->size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return failed(std::strerror(errno));
    if (got == 0) break;
    size += static_cast<size_t>(got);
    if (size == output->size()) return failed("the process writes more than 64 KiB");
  }
  // It has closed its output, but may still take time to exit.
  int status = 0;
  for (;;) {
    const pid_t ended = ::waitpid(child.pid, &status, WNOHANG);
    if (ended == child.pid) break;
    if (ended < 0 && errno != EINTR) return failed(std::strerror(errno));
    if (over()) return fail(Code::kTimeout, who + ": the process does not exit");
    ::poll(nullptr, 0, 5);
  }
  child.pid = -1;
  if (!WIFEXITED(status)) return failed("the process was killed by a signal");
  if (WEXITSTATUS(status) != 0) {
    return failed("the process exited with code " + std::to_string(WEXITSTATUS(status)));
  }
  output->truncate(size);
  return output;
}

class Process final : public AwsCredentialSource {
 public:
  Process(AwsSourceParts& parts, std::string profile, std::string command)
      : parts_(parts), profile_(std::move(profile)), command_(std::move(command)) {}

  std::string name() const override { return "the credential_process of profile " + profile_; }

  Task<Result<AwsCredentialsPtr>> fetch(TimePoint deadline) override {
    SecretArena& arena = parts_.http.arena();
    const auto words = shell_words(command_);
    if (!words) co_return fail(words.error().within(name()));
    if (words->empty()) co_return fail(Code::kInvalid, name() + ": is empty");
    const Duration within = std::clamp<Duration>(deadline - parts_.http.loop().now(), 0s, 30s);
    // Dropping this task kills the process, so that nothing waits for it, not even shutdown.
    struct Dropped {
      std::shared_ptr<std::atomic<bool>> flag = std::make_shared<std::atomic<bool>>(false);
      ~Dropped() { *flag = true; }
    } dropped;
    const std::function<Result<SecretBytes>()> work =
        [&arena, who = name(), command = *words, until = Steady::now() + within,
         flag = dropped.flag] { return run(arena, who, command, until, *flag); };
    auto output = co_await parts_.worker.run(work);
    if (!output) co_return fail(output.error());
    auto json = SecretJson::parse(output->reveal_text());
    if (!json || json->raw("Version") != "1") {
      co_return fail(Code::kUnauthenticated, name() + ": its output is not JSON of Version 1");
    }
    co_return parse_credentials_json(arena, name(), output->reveal_text(), "SessionToken");
  }

 private:
  AwsSourceParts& parts_;
  std::string profile_;
  std::string command_;
};

}  // namespace

AwsCredentialSourcePtr process_credentials(AwsSourceParts& parts, std::string profile,
                                           std::string command) {
  return std::make_unique<Process>(parts, std::move(profile), std::move(command));
}

}  // namespace keyfs
