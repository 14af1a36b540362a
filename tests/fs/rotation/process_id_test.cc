#include "fs/rotation/process_id.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>
#include <string>

#include "fs/rotation/consumers_fixture.h"

namespace keyfs {
namespace {

using testing::Child;
using testing::comes_true;
using testing::contents;
using testing::listener;
using testing::sleeper;
using testing::TemporaryDirectory;

ProcessId identity(pid_t pid) {
  const auto process = process_as_of(pid, SystemClock().now());
  EXPECT_TRUE(process);
  return process.value_or(ProcessId());
}

TEST(ProcessId, a_signal_reaches_the_process) {
  TemporaryDirectory folder;
  Child child(listener(folder.file("heard")));
  ASSERT_TRUE(comes_true([&] { return contents(folder.file("heard")) == "ready\n"; }));
  const ProcessId process = identity(child.pid());
  EXPECT_TRUE(is_running(process));
  EXPECT_EQ(send_signal(process, program_of(child.pid()), SIGHUP), Sent::kSent);
  EXPECT_TRUE(comes_true([&] { return contents(folder.file("heard")) == "ready\nhup\n"; }));
}

TEST(ProcessId, a_number_that_was_used_again_is_gone_and_its_new_owner_gets_no_signal) {
  TemporaryDirectory folder;
  Child child(listener(folder.file("heard")));
  ASSERT_TRUE(comes_true([&] { return contents(folder.file("heard")) == "ready\n"; }));
  ProcessId before = identity(child.pid());
  before.start -= 1;  // the one that had this number until then
  EXPECT_FALSE(is_running(before));
  EXPECT_EQ(send_signal(before, "", SIGKILL), Sent::kGone);
  EXPECT_EQ(send_signal(identity(child.pid()), "", SIGHUP), Sent::kSent);  // it lives
  EXPECT_TRUE(comes_true([&] { return contents(folder.file("heard")) == "ready\nhup\n"; }));
}

TEST(ProcessId, a_process_that_runs_another_program_by_now_gets_no_signal) {
  Child child(sleeper());
  const ProcessId process = identity(child.pid());
  EXPECT_EQ(send_signal(process, "/usr/sbin/another", SIGKILL), Sent::kGone);
  EXPECT_TRUE(is_running(process));
}

TEST(ProcessId, a_zombie_does_not_run) {
  Child child(sleeper());
  const ProcessId process = identity(child.pid());
  ::kill(child.pid(), SIGKILL);
  EXPECT_TRUE(comes_true([&] { return !is_running(process); }));  // and nobody has reaped it yet
  EXPECT_EQ(send_signal(process, "", SIGHUP), Sent::kGone);
  child.end();
  EXPECT_FALSE(is_running(process));
  EXPECT_EQ(send_signal(process, "", SIGHUP), Sent::kGone);
}

TEST(ProcessId, a_process_whose_first_thread_has_ended_runs_still) {
  Child child({"python3", "-c",
               "import ctypes, os, threading, time\n"
               "threading.Thread(target=time.sleep, args=(1000,)).start()\n"
               "exit_thread = {'x86_64': 60, 'aarch64': 93}[os.uname().machine]\n"
               "ctypes.CDLL(None).syscall(exit_thread, 0)"});
  const auto stat = [&] { return contents("/proc/" + std::to_string(child.pid()) + "/stat"); };
  ASSERT_TRUE(comes_true([&] { return stat().find(") Z ") != std::string::npos; }));
  const ProcessId process = identity(child.pid());
  EXPECT_TRUE(is_running(process));
  EXPECT_EQ(send_signal(process, "", SIGKILL), Sent::kSent);
  EXPECT_TRUE(comes_true([&] { return !is_running(process); }));
}

TEST(ProcessId, who_started_after_the_opening_did_not_open) {
  const TimePoint before = SystemClock().now() - std::chrono::seconds(1);
  Child child(sleeper());
  EXPECT_FALSE(process_as_of(child.pid(), before));
  EXPECT_TRUE(process_as_of(child.pid(), SystemClock().now()));
  EXPECT_FALSE(process_as_of(0, SystemClock().now()));
  EXPECT_FALSE(process_as_of(-1, SystemClock().now()));
}

TEST(ProcessId, a_name_with_brackets_and_blanks_is_no_obstacle) {
  TemporaryDirectory folder;
  const std::string program = folder.file("x) Z 1 (y");
  std::filesystem::copy_file("/bin/sleep", program);
  Child child({program, "1000"});
  EXPECT_TRUE(comes_true([&] { return program_of(child.pid()) == program; }));
  EXPECT_TRUE(is_running(identity(child.pid())));
}

TEST(ProcessId, a_program_that_was_replaced_on_disk_is_the_same_program) {
  TemporaryDirectory folder;
  const std::string program = folder.file("server");
  std::filesystem::copy_file("/bin/sleep", program);
  Child child({program, "1000"});
  ASSERT_TRUE(comes_true([&] { return program_of(child.pid()) == program; }));
  std::filesystem::remove(program);
  EXPECT_EQ(program_of(child.pid()), program);
  EXPECT_EQ(send_signal(identity(child.pid()), program, SIGCONT), Sent::kSent);
}

TEST(ProcessId, numbers_are_of_this_boot_and_namespace) {
  EXPECT_EQ(process_epoch(), process_epoch());
  EXPECT_NE(process_epoch().find(" pid:["), std::string::npos);
}

}  // namespace
}  // namespace keyfs
