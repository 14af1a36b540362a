// keyfs-spire: started by a SPIRE server as its key manager. Ends with it.
#include <sys/prctl.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <ctime>
#include <memory>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>

#include "base/clock.h"
#include "base/http.h"
#include "base/log.h"
#include "base/log_sink.h"
#include "base/thread.h"
#include "fs/daemon/process.h"
#include "fs/spire/handshake.h"
#include "fs/spire/log_lines.h"
#include "fs/spire/plugin.h"
#include "fs/spire/server.h"

namespace {

using namespace keyfs;

constexpr std::string_view kHelp =
    R"(keyfs-spire is a key manager for a SPIRE server, which starts it; a person does not.
In the server's configuration:

  plugins {
    KeyManager "keyfs" {
      plugin_cmd = "/usr/local/bin/keyfs-spire"
      plugin_data {
        region = "us-east-1"
        key_identifier_file = "/var/lib/spire/server/key_identifier"
      }
    }
  }

See keyfs-spire(8). Options: --help, --version
)";

constexpr auto kTick = std::chrono::milliseconds(200);      // how often SPIRE is looked for
constexpr auto kPatience = std::chrono::milliseconds(800);  // after its last stream has ended
constexpr auto kEnd = std::chrono::milliseconds(300);       // for calls that still run
constexpr unsigned kLongestEnd = 1;                         // seconds; SPIRE kills after two

// Waits until SPIRE wants the end, or has ended. Why, for the log.
const char* wait_for_end(const GrpcServer& server, pid_t parent) {
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  timespec tick{};
  tick.tv_nsec = std::chrono::nanoseconds(kTick).count();
  for (;;) {
    if (::sigtimedwait(&ends, nullptr, &tick) == SIGTERM) return "SIGTERM, or asked by SPIRE";
    // Not PR_SET_PDEATHSIG: the kernel sends that when the thread that started us ends, and Go ends
    // threads.
    if (::getppid() != parent) return "SPIRE has ended";
    if (server.connection_lost(kPatience)) return "SPIRE has closed its connection";
  }
}

int serve(Log& log, CurlGlobal& curl, const Clock& clock, pid_t parent) {
  const auto failed = [&log](const Error& error) {
    log.error("could not start", {{"reason", error.message}});
    return 1;
  };
  auto place = SocketPlace::make(process_environment());
  if (!place) return failed(place.error());
  Plugin plugin({curl, clock, log, [] { ::kill(::getpid(), SIGTERM); }});
  auto server = GrpcServer::start(place->socket(), plugin, clock);
  if (!server) return failed(server.error());
  if (auto told = tell_spire(place->socket()); !told) return failed(told.error());
  const char* why = wait_for_end(**server, parent);
  std::signal(SIGALRM, [](int) { ::_exit(0); });
  ::alarm(kLongestEnd);  // whatever hangs
  log.info("ends", {{"reason", why}});
  place->remove();
  (*server)->stop(kEnd);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const pid_t parent = ::getppid();
  if (argc > 1 && std::string_view(argv[1]) == "--version") {
    return std::printf("keyfs-spire %s\n", KEYFS_VERSION) > 0 && std::fflush(stdout) == 0 ? 0 : 1;
  }
  if (argc > 1 && std::string_view(argv[1]) == "--help") {
    return std::fwrite(kHelp.data(), 1, kHelp.size(), stdout) == kHelp.size() &&
                   std::fflush(stdout) == 0
               ? 0
               : 1;
  }
  if (!started_by_spire(process_environment())) {
    (void)std::fwrite(kHelp.data(), 1, kHelp.size(), stderr);
    return 1;
  }
  if (auto ok = set_up_process(); !ok) {
    (void)std::fprintf(stderr, "keyfs-spire: %s\n", ok.error().message.c_str());
    return 1;
  }
  // What a terminal sends to SPIRE is SPIRE's business; it tells us when to end.
  std::signal(SIGINT, SIG_IGN);
  std::signal(SIGHUP, SIG_IGN);
  sigset_t waited;
  sigemptyset(&waited);
  sigaddset(&waited, SIGTERM);
  ::pthread_sigmask(SIG_BLOCK, &waited, nullptr);  // before the first thread

  int code = 1;
  try {
    CurlGlobal curl;
    SystemClock clock;
    const auto lines = make_fd_sink(STDERR_FILENO, false);
    SpireLogSink sink(*lines, clock);
    Log log(sink, clock, spire_log_options());
    if (auto ok = check_lockable_memory(); !ok) log.warn(ok.error().message);
    code = serve(log, curl, clock, parent);
  } catch (const std::system_error& error) {
    (void)std::fprintf(stderr, "keyfs-spire: %s\n", error_of(error).message.c_str());
  }
  end_process(code);
}
