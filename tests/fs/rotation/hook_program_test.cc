#include "fs/rotation/hook_program.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <sstream>
#include <string>
#include <thread>

#include "fs/rotation/consumers_fixture.h"
#include "fs/rotation/trusted_program.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;
using Steady = std::chrono::steady_clock;
using testing::comes_true;
using testing::contents;
using ::testing::HasSubstr;
using testing::TemporaryDirectory;
using testing::write_text;

class Hooks : public ::testing::Test {
 protected:
  // A script in a directory that is ours alone.
  std::string script(const std::string& text) {
    std::string path = folder_.file("hook-" + std::to_string(++scripts_));
    write_text(path, "#!/bin/sh\n" + text + "\n", 0700);
    return path;
  }
  Result<HookEnd> run(const std::string& path, std::chrono::milliseconds within = 20s,
                      size_t output = 0, std::vector<std::string> environment = {}) {
    HookProgram program;
    program.arguments = {path};
    program.environment = std::move(environment);
    program.environment.push_back("PATH=/usr/bin:/bin");
    program.until = Steady::now() + within;
    program.output = output;
    return run_program(std::move(program), dropped_);
  }
  // The process whose number is in that file.
  static bool has_ended(const std::string& file) {
    const auto pid = static_cast<pid_t>(std::stol(contents(file)));
    return comes_true([pid] { return ::kill(pid, 0) != 0 || !runs(pid); });
  }
  static bool runs(pid_t pid) {
    const std::string stat = contents("/proc/" + std::to_string(pid) + "/stat");
    return !stat.empty() && stat.find(") Z ") == stat.npos;
  }

  TemporaryDirectory folder_;
  std::atomic<bool> dropped_{false};
  int scripts_ = 0;
};

TEST_F(Hooks, how_it_ended_is_told) {
  const auto well = run(script("exit 0"));
  ASSERT_TRUE(well) << well.error().message;
  EXPECT_TRUE(well->well());
  const auto badly = run(script("exit 7"));
  ASSERT_TRUE(badly);
  EXPECT_EQ(to_string(*badly), "exited with code 7");
  const auto killed = run(script("kill -9 $$"));
  ASSERT_TRUE(killed);
  EXPECT_EQ(to_string(*killed), "was killed by signal 9");
  EXPECT_FALSE(killed->well());
}

TEST_F(Hooks, the_environment_is_what_was_given_and_nothing_else) {
  ::setenv("KEYFS_TEST_SECRET", "leaks", 1);
  const std::string out = folder_.file("environment");
  const auto end = run(script("/usr/bin/env > " + out), 20s, 0, {"KEYFS_RUN=r1"});
  ::unsetenv("KEYFS_TEST_SECRET");
  ASSERT_TRUE(end) << end.error().message;
  const std::string text = contents(out);
  EXPECT_THAT(text, HasSubstr("KEYFS_RUN=r1\n"));
  EXPECT_THAT(text, ::testing::Not(HasSubstr("leaks")));
  EXPECT_THAT(text, ::testing::Not(HasSubstr("HOME=")));
}

TEST_F(Hooks, signals_are_those_of_a_program_that_was_started_plainly) {
  sigset_t blocked;
  sigset_t before;
  sigfillset(&blocked);
  pthread_sigmask(SIG_SETMASK, &blocked, &before);  // as in our threads
  const std::string out = folder_.file("state");
  const auto end = run(script("grep -E 'SigBlk|SigIgn' /proc/self/status > " + out));
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  ASSERT_TRUE(end) << end.error().message;
  const std::string text = contents(out);
  EXPECT_THAT(text, HasSubstr("SigBlk:\t0000000000000000\n"));
  // The two signals that are glibc's own (32 and 33) are as they were.
  const size_t ignored = text.find("SigIgn:\t");
  ASSERT_NE(ignored, std::string::npos) << text;
  EXPECT_EQ(std::stoull(text.substr(ignored + 8), nullptr, 16) & ~uint64_t{0x180000000}, 0U)
      << text;
}

TEST_F(Hooks, a_hang_is_killed_with_its_children_at_the_time_out) {
  const std::string child = folder_.file("child");
  const std::string self = folder_.file("self");
  const auto begin = Steady::now();
  const auto end = run(script("echo $$ > " + self +
                              "; trap '' TERM HUP INT; sleep 1000 & echo $! > " + child + "; wait"),
                       1s);
  const auto took = Steady::now() - begin;
  ASSERT_TRUE(end) << end.error().message;
  EXPECT_TRUE(end->killed);
  EXPECT_FALSE(end->well());
  EXPECT_EQ(end->left, 0);
  EXPECT_GE(took, 1s);
  EXPECT_LT(took, 2s);
  EXPECT_TRUE(has_ended(self));
  EXPECT_TRUE(has_ended(child));
}

TEST_F(Hooks, descendants_that_left_its_group_or_its_session_are_killed_with_it) {
  const std::string child = folder_.file("child");
  const std::string grandchild = folder_.file("grandchild");
  const std::string orphan = folder_.file("orphan");
  const std::string inner =
      script("setsid sleep 1000 & echo $! > " + grandchild + "; trap '' TERM; wait");
  const auto begin = Steady::now();
  // timeout(1) is in a group of its own, and the process between it and the hook ends.
  const auto end = run(script("setsid " + inner + " & echo $! > " + child +
                              "; (timeout 1000 sleep 1000 & echo $! > " + orphan + "); wait"),
                       1s);
  ASSERT_TRUE(end) << end.error().message;
  EXPECT_TRUE(end->killed);
  EXPECT_LT(Steady::now() - begin, 3s);
  for (const std::string& file : {child, grandchild, orphan}) {
    ASSERT_NE(contents(file), "") << file;
    EXPECT_TRUE(has_ended(file)) << file;
  }
}

TEST_F(Hooks, one_that_starts_others_all_the_time_leaves_none) {
  const std::string all = folder_.file("all");
  const auto end = run(script("while :; do setsid sh -c 'echo $$ >> " + all +
                              "; exec sleep 1000' & sleep 0.02; done"),
                       700ms);
  ASSERT_TRUE(end) << end.error().message;
  EXPECT_TRUE(end->killed);
  std::istringstream lines(contents(all));
  int many = 0;
  for (pid_t pid; lines >> pid; ++many) {
    EXPECT_TRUE(comes_true([pid] { return !runs(pid); })) << many;
  }
  EXPECT_GT(many, 3);
}

TEST_F(Hooks, nobody_else_is_killed_with_a_hook) {
  // Another hook's child, and one of this process.
  const std::string others = folder_.file("others");
  const auto well = run(script("setsid sleep 1000 & echo $! > " + others + "; exit 0"));
  ASSERT_TRUE(well && well->well());
  const pid_t own = ::fork();
  if (own == 0) {
    ::pause();
    ::_exit(0);
  }
  const auto end = run(script("sleep 1000"), 200ms);
  ASSERT_TRUE(end && end->killed);
  const auto pid = static_cast<pid_t>(std::stol(contents(others)));
  EXPECT_TRUE(runs(pid));
  EXPECT_TRUE(runs(own));
  ::kill(pid, SIGKILL);
  ::kill(own, SIGKILL);
  ::waitpid(own, nullptr, 0);
}

TEST_F(Hooks, whoever_is_dropped_is_killed_with_its_children) {
  const std::string child = folder_.file("child");
  std::thread dropper([&] {
    comes_true([&] { return !contents(child).empty(); });
    dropped_ = true;
  });
  const auto end = run(script("sleep 1000 & echo $! > " + child + "; wait"));
  dropper.join();
  ASSERT_TRUE(end);
  EXPECT_TRUE(end->killed);
  EXPECT_TRUE(has_ended(child));
}

// A keyfs, a thread of which runs that program; it ends as it is told.
pid_t keyfs_with_hook(const std::string& path) {
  const pid_t keyfs = ::fork();
  if (keyfs != 0) return keyfs;
  std::thread hook([&path] {
    HookProgram program;
    program.arguments = {path};
    program.environment = {"PATH=/usr/bin:/bin"};
    program.until = Steady::now() + 60s;
    const std::atomic<bool> dropped{false};
    const auto end = run_program(std::move(program), dropped);
    ::_exit(end && end->well() ? 0 : 1);
  });
  for (;;) ::pause();
}

TEST_F(Hooks, a_hook_does_not_outlive_a_keyfs_that_was_killed) {
  const std::string self = folder_.file("self");
  const pid_t keyfs = keyfs_with_hook(
      script("trap '' TERM HUP INT; echo $$ > " + self + "; while :; do sleep 0.05; done"));
  ASSERT_GT(keyfs, 0);
  EXPECT_TRUE(comes_true([&] { return contents(self).ends_with('\n'); }));
  ::kill(keyfs, SIGKILL);
  ::waitpid(keyfs, nullptr, 0);
  EXPECT_TRUE(has_ended(self));
}

TEST_F(Hooks, a_hook_of_a_thread_lives_until_its_own_end) {
  const pid_t keyfs = keyfs_with_hook(script("sleep 0.3; exit 0"));
  ASSERT_GT(keyfs, 0);
  int status = -1;
  ::waitpid(keyfs, &status, 0);
  EXPECT_EQ(status, 0);
}

TEST_F(Hooks, what_a_hook_starts_and_leaves_behind_lives_on_and_holds_up_nothing) {
  const std::string child = folder_.file("child");
  const auto begin = Steady::now();
  const auto end = run(script("sleep 1000 & echo $! > " + child + "; exit 0"), 20s, 100);
  ASSERT_TRUE(end) << end.error().message;
  EXPECT_TRUE(end->well());
  EXPECT_LT(Steady::now() - begin, 10s);
  const auto pid = static_cast<pid_t>(std::stol(contents(child)));
  EXPECT_TRUE(runs(pid));
  ::kill(pid, SIGKILL);
}

TEST_F(Hooks, the_last_bytes_of_output_are_kept_however_much_there_is) {
  const auto end = run(script("yes x | head -c 300000; echo; echo the end; echo no >&2"), 20s, 16);
  ASSERT_TRUE(end) << end.error().message;
  EXPECT_TRUE(end->well());
  EXPECT_EQ(end->output.size(), 16u);
  EXPECT_THAT(end->output, HasSubstr("the end\n"));
}

TEST_F(Hooks, what_cannot_be_started_is_an_error) {
  const auto absent = run(folder_.file("absent"));
  ASSERT_FALSE(absent);
  EXPECT_THAT(absent.error().message, HasSubstr("absent"));
  const std::string text = folder_.file("text");
  write_text(text, "neither program nor script", 0700);
  const auto none = run(text);
  ASSERT_FALSE(none);
  EXPECT_THAT(none.error().message, HasSubstr("#!"));
}

class TrustedProgram : public Hooks {
 protected:
  TrustedProgram() { ::chmod(folder_.path().c_str(), 0755); }

  static std::string why_not(const std::string& path) {
    const auto ok = check_trusted_program(path);
    return ok ? "" : ok.error().message;
  }
};

TEST_F(TrustedProgram, the_systems_programs_are_trusted_through_its_links) {
  EXPECT_EQ(why_not("/bin/sh"), "");
  EXPECT_EQ(why_not("/usr/bin/../bin/./env"), "");
}

TEST_F(TrustedProgram, one_that_others_may_write_is_not) {
  const std::string path = script("exit 0");
  EXPECT_EQ(why_not(path), "");
  ::chmod(path.c_str(), 0770);
  EXPECT_THAT(why_not(path), HasSubstr("others can write it"));
  ::chmod(path.c_str(), 0702);
  EXPECT_THAT(why_not(path), HasSubstr("chmod go-w " + path));
}

TEST_F(TrustedProgram, one_in_a_directory_that_others_may_write_is_not) {
  const std::string directory = folder_.file("bin");
  std::filesystem::create_directories(directory + "/deep");
  const std::string path = directory + "/deep/hook";
  write_text(path, "#!/bin/sh\n", 0755);
  EXPECT_EQ(why_not(path), "");
  ::chmod(directory.c_str(), 0777);
  EXPECT_THAT(why_not(path), HasSubstr(directory + ": others can write it"));
  ::chmod(directory.c_str(), 01777);  // only an entry's owner may replace it
  EXPECT_EQ(why_not(path), "");
}

TEST_F(TrustedProgram, one_of_another_user_is_not) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can give files away";
  const std::string path = script("exit 0");
  ASSERT_EQ(::chown(path.c_str(), 1234, 0), 0);
  EXPECT_THAT(why_not(path), HasSubstr("belongs to uid 1234"));
}

TEST_F(TrustedProgram, a_link_that_others_made_or_whose_target_they_may_write_is_not) {
  const std::string path = script("exit 0");
  const std::string link = folder_.file("link");
  std::filesystem::create_symlink(path, link);
  EXPECT_EQ(why_not(link), "");
  // The target of a link leads through a directory that others may write.
  const std::string open = folder_.file("open");
  std::filesystem::create_directory(open);
  std::filesystem::create_symlink(path, open + "/inner");
  std::filesystem::create_symlink(open + "/inner", folder_.file("outer"));
  EXPECT_EQ(why_not(folder_.file("outer")), "");
  ::chmod(open.c_str(), 0777);
  EXPECT_THAT(why_not(folder_.file("outer")), HasSubstr(open + ": others can write it"));
  if (::geteuid() == 0) {
    ASSERT_EQ(::lchown(link.c_str(), 1234, 0), 0);
    EXPECT_THAT(why_not(link), HasSubstr("belongs to uid 1234"));
  }
}

TEST_F(TrustedProgram, what_is_no_program_is_told_as_such) {
  EXPECT_THAT(why_not(folder_.file("absent")), HasSubstr("No such file"));
  EXPECT_THAT(why_not(folder_.path()), HasSubstr("is not a program"));
  EXPECT_THAT(why_not("/"), HasSubstr("is not a program"));
  EXPECT_THAT(why_not("bin/sh"), HasSubstr("not an absolute path"));
  EXPECT_THAT(why_not("/bin/sh/more"), HasSubstr("is not a directory"));
  const std::string plain = folder_.file("plain");
  write_text(plain, "#!/bin/sh\n", 0600);
  EXPECT_THAT(why_not(plain), HasSubstr("chmod +x"));
  const std::string round = folder_.file("round");
  std::filesystem::create_symlink(round, round);
  EXPECT_THAT(why_not(round), HasSubstr("too many symbolic links"));
}

}  // namespace
}  // namespace keyfs
