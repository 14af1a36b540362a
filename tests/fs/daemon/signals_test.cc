#include "fs/daemon/signals.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <functional>
#include <future>

namespace keyfs {
namespace {

using namespace std::chrono_literals;

// Signals are a whole process's: each test has its own. Its exit code.
int in_child(const std::function<int()>& work) {
  const pid_t child = ::fork();
  if (child == 0) {
    DaemonSignals::block();
    ::_exit(work());
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

TEST(DaemonSignals, term_and_int_are_told_with_their_number) {
  for (const int signal : {SIGTERM, SIGINT}) {
    EXPECT_EQ(
        in_child([&] {
          std::promise<int> heard;
          auto signals = DaemonSignals::start({[&](int number) { heard.set_value(number); }, {}});
          ::kill(::getpid(), signal);
          return heard.get_future().get() == signal ? 0 : 1;
        }),
        0);
  }
}

TEST(DaemonSignals, a_hangup_that_comes_too_early_is_acted_on_once_reloads_are_accepted) {
  EXPECT_EQ(in_child([] {
              std::promise<void> reloaded;
              auto signals = DaemonSignals::start({{}, [&] { reloaded.set_value(); }});
              ::kill(::getpid(), SIGHUP);
              auto done = reloaded.get_future();
              if (done.wait_for(100ms) == std::future_status::ready) return 1;
              (*signals)->accept_reloads();
              done.get();
              return 0;
            }),
            0);
}

TEST(DaemonSignals, a_reload_that_hangs_does_not_keep_term_from_being_heard) {
  EXPECT_EQ(in_child([] {
              std::promise<void> reloading;
              std::promise<void> heard;
              auto signals = DaemonSignals::start({[&](int) { heard.set_value(); },
                                                   [&] {
                                                     reloading.set_value();
                                                     ::pause();
                                                   }});
              (*signals)->accept_reloads();
              ::kill(::getpid(), SIGHUP);
              reloading.get_future().get();
              ::kill(::getpid(), SIGTERM);
              heard.get_future().get();
              ::_exit(0);
              return 1;
            }),
            0);
}

TEST(DaemonSignals, a_reload_that_hangs_is_told_of_and_loses_no_later_hangup) {
  EXPECT_EQ(in_child([] {
              std::promise<void> reloading, told, go_on, again;
              auto may_go_on = go_on.get_future();
              int reloads = 0;
              int slow = 0;
              DaemonSignals::Hooks hooks;
              hooks.on_reload = [&] {
                if (++reloads == 2) again.set_value();
                if (reloads > 1) return;
                reloading.set_value();
                may_go_on.wait();
              };
              hooks.on_slow_reload = [&](std::chrono::milliseconds since) {
                if (since < slow * 20ms) ::_exit(2);
                if (++slow == 2) told.set_value();
              };
              hooks.slow_reload = 10ms;
              auto signals = DaemonSignals::start(std::move(hooks));
              (*signals)->accept_reloads();
              ::kill(::getpid(), SIGHUP);
              reloading.get_future().get();
              told.get_future().get();
              ::kill(::getpid(), SIGHUP);
              go_on.set_value();
              again.get_future().get();
              (*signals)->end_reloads();
              return reloads == 2 ? 0 : 1;
            }),
            0);
}

TEST(DaemonSignals, what_is_taken_down_for_too_long_is_ended_with_its_code) {
  EXPECT_EQ(in_child([] {
              auto signals = DaemonSignals::start({[](int) {}, {}});
              (*signals)->end_within(50ms, ExitCode::kPartial);
              for (;;) ::pause();
              return 1;
            }),
            static_cast<int>(ExitCode::kPartial));
}

}  // namespace
}  // namespace keyfs
