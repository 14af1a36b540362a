#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <initializer_list>
#include <string>

#include "fs/mount/pending_signals.h"

namespace keyfs {
namespace {

struct Masks {
  std::initializer_list<int> own = {}, shared = {}, blocked = {}, ignored = {}, caught = {};
};

std::string status_of(const Masks& masks) {
  const auto line = [](const char* name, std::initializer_list<int> signals) {
    unsigned long long mask = 0;
    for (const int signal : signals) mask |= 1ULL << (signal - 1);
    char text[64];
    std::snprintf(text, sizeof text, "%s:\t%016llx\n", name, mask);
    return std::string(text);
  };
  return "Name:\tcat\nState:\tD (disk sleep)\nSigQ:\t1/95000\n" + line("SigPnd", masks.own) +
         line("ShdPnd", masks.shared) + line("SigBlk", masks.blocked) +
         line("SigIgn", masks.ignored) + line("SigCgt", masks.caught) + "CapInh:\t0\n";
}

Signalled signalled(const Masks& masks) { return signals_in(status_of(masks)); }

TEST(PendingSignals, one_who_is_killed_is_let_go_at_once) {
  EXPECT_EQ(signalled({.own = {SIGKILL}}), Signalled::kStop);
  EXPECT_EQ(signalled({.shared = {SIGKILL}}), Signalled::kStop);
}

TEST(PendingSignals, interrupt_without_a_handler_kills) {
  EXPECT_EQ(signalled({.shared = {SIGINT}}), Signalled::kStop);
  EXPECT_EQ(signalled({.shared = {SIGALRM}}), Signalled::kStop);
  EXPECT_EQ(signalled({.own = {SIGSEGV}}), Signalled::kStop);
}

TEST(PendingSignals, interrupt_with_a_handler_is_wanted_now) {
  EXPECT_EQ(signalled({.shared = {SIGINT}, .caught = {SIGINT}}), Signalled::kStop);
  EXPECT_EQ(signalled({.shared = {SIGTERM}, .caught = {SIGTERM, SIGURG}}), Signalled::kStop);
}

TEST(PendingSignals, goes_preemption_signal_disturbs_nothing) {
  EXPECT_EQ(signalled({.own = {SIGURG}, .caught = {SIGURG, SIGINT, SIGTERM}}), Signalled::kNo);
  EXPECT_EQ(signalled({.shared = {SIGCHLD, SIGWINCH}, .caught = {SIGCHLD}}), Signalled::kNo);
}

TEST(PendingSignals, other_handlers_are_to_run_some_time) {
  EXPECT_EQ(signalled({.own = {SIGUSR1}, .caught = {SIGUSR1}}), Signalled::kHandler);
  EXPECT_EQ(signalled({.own = {SIGRTMIN}, .caught = {SIGRTMIN}}), Signalled::kHandler);
}

TEST(PendingSignals, what_is_blocked_or_ignored_does_not_count) {
  EXPECT_EQ(signalled({.shared = {SIGINT}, .blocked = {SIGINT}}), Signalled::kNo);
  EXPECT_EQ(signalled({.shared = {SIGHUP}, .ignored = {SIGHUP}}), Signalled::kNo);
  EXPECT_EQ(signalled({}), Signalled::kNo);
}

TEST(PendingSignals, a_stop_is_not_an_end) {
  EXPECT_EQ(signalled({.shared = {SIGTSTP}}), Signalled::kNo);
}

TEST(PendingSignals, what_cannot_be_read_is_unknown) {
  EXPECT_EQ(signals_in(""), Signalled::kUnknown);
  EXPECT_EQ(signals_in("Name:\tSigPnd:\nSigPnd:\t\nShdPnd:"), Signalled::kUnknown);
  EXPECT_EQ(pending_signals(0), Signalled::kUnknown);
}

TEST(PendingSignals, reads_this_very_thread) {
  EXPECT_EQ(pending_signals(::gettid()), Signalled::kNo);
}

}  // namespace
}  // namespace keyfs
