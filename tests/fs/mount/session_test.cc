// Mounting and unmounting: options, impossible mount points, signals, what a dead daemon leaves
// behind.
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cerrno>
#include <csignal>
#include <fstream>
#include <thread>

#include "fs/mount/mount_fixture.h"
#include "fs/mount/mountpoint.h"

namespace keyfs {
namespace {

using namespace keyfs::testing;  // NOLINT: a test's own fixture

bool has(const std::vector<std::string>& options, const std::string& option) {
  return std::find(options.begin(), options.end(), option) != options.end();
}

TEST(MountOptions, are_restrictive_by_default) {
  const auto options = mount_options("", false);
  ASSERT_TRUE(options);
  for (const std::string option :
       {"ro", "nodev", "nosuid", "noexec", "max_read=4096", "subtype=keyfs", "fsname=keyfs"}) {
    EXPECT_TRUE(has(*options, option)) << option;
  }
  EXPECT_FALSE(has(*options, "allow_other"));
  EXPECT_TRUE(has(*mount_options("", true), "allow_other"));
  EXPECT_TRUE(has(*mount_options("allow_other", false), "allow_other"));
}

TEST(MountOptions, the_users_own_are_passed_on) {
  const auto options = mount_options("fsname=payments,nodev,context=system_u:x", false);
  ASSERT_TRUE(options);
  EXPECT_TRUE(has(*options, "fsname=payments"));
  EXPECT_FALSE(has(*options, "fsname=keyfs"));
  EXPECT_TRUE(has(*options, "context=system_u:x"));
}

TEST(MountOptions, what_would_break_a_promise_is_refused_by_name) {
  for (const std::string option :
       {"rw", "dev", "suid", "exec", "default_permissions", "auto_unmount", "kernel_cache",
        "frobnicate", "max_read=9", "fsname", "subtype=x"}) {
    const auto options = mount_options("nodev," + option, true);
    ASSERT_FALSE(options) << option;
    EXPECT_EQ(options.error().code, Code::kInvalid);
    EXPECT_NE(options.error().message.find(option), std::string::npos);
  }
}

TEST(Mountinfo, is_read_with_its_escapes) {
  const auto entries = parse_mountinfo(
      "36 35 98:0 / /mnt/a\\040b rw,noatime shared:1 master:2 - fuse.keyfs keyfs ro\n"
      "37 35 98:1 / /mnt/c rw - ext4 /dev/x rw\n"
      "38 35 98:1 / /broken rw\n");
  ASSERT_EQ(entries.size(), 2U);
  EXPECT_EQ(entries[0].mountpoint, "/mnt/a b");
  EXPECT_EQ(entries[0].type, "fuse.keyfs");
  EXPECT_EQ(entries[0].id, 36U);
  EXPECT_EQ(entries[0].parent, 35U);
  EXPECT_EQ(entries[0].device, ::makedev(98, 0));
  EXPECT_EQ(entries[0].root, "/");
  EXPECT_EQ(entries[1].type, "ext4");
}

class SessionTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!can_mount()) GTEST_SKIP() << "needs root and /dev/fuse";
    ::chmod(dir_.path().c_str(), 0755);
    root_ = dir_.path() + "/mnt";
    std::filesystem::create_directory(root_);
  }
  // A daemon of its own process, which SIGTERM stops.
  pid_t start_daemon() {
    const pid_t child = start([&] {
      sigset_t term;
      sigemptyset(&term);
      sigaddset(&term, SIGTERM);
      pthread_sigmask(SIG_BLOCK, &term, nullptr);
      FuseSide side;
      side.backend.add("root-a", "x");
      auto session = FuseSession::mount({root_, ""}, side.ops, side.log.log());
      if (!session) return 9;
      std::thread stopper([&] {
        int signal = 0;
        sigwait(&term, &signal);
        (*session)->stop();
      });
      const auto ended = (*session)->run([&] { std::ofstream(dir_.path() + "/ready") << "ready"; });
      ::pthread_kill(stopper.native_handle(), SIGTERM);  // when nobody else has sent it one
      stopper.join();
      if (side.log.has("was left alone")) std::ofstream(dir_.path() + "/covered") << "told";
      return ended ? 0 : 8;
    });
    until([&] { return std::filesystem::exists(dir_.path() + "/ready"); });
    std::filesystem::remove(dir_.path() + "/ready");
    return child;
  }
  static void until(const std::function<bool()>& holds) {
    for (int i = 0; i < 1'000 && !holds(); ++i) ::usleep(10'000);
    EXPECT_TRUE(holds());
  }
  bool mounted() const {
    const auto mounts = read_mounts();
    for (const auto& entry : *mounts) {
      if (entry.mountpoint == root_) return true;
    }
    return false;
  }

  MountDirectory dir_;
  std::string root_;
  LogCapture log_;
};

TEST_F(SessionTest, stop_unmounts_also_while_files_are_open) {
  const pid_t daemon = start_daemon();
  const int file = ::open((root_ + "/root-a").c_str(), O_RDONLY | O_CLOEXEC);
  EXPECT_GE(file, 0);
  ::kill(daemon, SIGTERM);
  EXPECT_EQ(wait_for(daemon), 0);
  EXPECT_FALSE(mounted());
  char byte = 0;
  EXPECT_EQ(::read(file, &byte, 1), -1);
  EXPECT_EQ(errno, ENOTCONN);
  ::close(file);
}

TEST_F(SessionTest, what_was_mounted_over_it_is_left_alone_at_its_end) {
  const pid_t daemon = start_daemon();
  ASSERT_EQ(::mount("none", root_.c_str(), "tmpfs", 0, nullptr), 0);
  std::ofstream(root_ + "/theirs") << "x";
  ::kill(daemon, SIGTERM);
  EXPECT_EQ(wait_for(daemon), 0);
  EXPECT_TRUE(std::filesystem::exists(root_ + "/theirs"));
  EXPECT_TRUE(std::filesystem::exists(dir_.path() + "/covered"));
  ASSERT_EQ(::umount2(root_.c_str(), 0), 0);
  EXPECT_EQ(open_error(root_ + "/root-a"), ENOTCONN);
  // The next one cleans up what is left.
  EXPECT_TRUE(prepare_mountpoint(root_, log_.log()));
  EXPECT_FALSE(mounted());
}

TEST_F(SessionTest, moved_to_another_path_it_unmounts_itself_and_not_who_came_to_its_old_place) {
  const std::string folder = dir_.path() + "/p";
  const std::string moved = dir_.path() + "/q";
  root_ = folder + "/keys";
  std::filesystem::create_directories(root_);
  const pid_t first = start_daemon();
  std::filesystem::rename(folder, moved);
  std::filesystem::create_directories(root_);
  const pid_t second = start_daemon();
  ::kill(first, SIGTERM);
  EXPECT_EQ(wait_for(first), 0);
  EXPECT_FALSE(mount_at(moved + "/keys")->is_root);
  EXPECT_EQ(run("cat " + root_ + "/root-a").output, "x");
  ::kill(second, SIGTERM);
  EXPECT_EQ(wait_for(second), 0);
  EXPECT_FALSE(mounted());
  ::umount2((moved + "/keys").c_str(), MNT_DETACH);
  ::umount2(root_.c_str(), MNT_DETACH);
}

TEST_F(SessionTest, a_mount_that_is_hidden_beneath_another_one_does_not_count_as_mounted) {
  const pid_t daemon = start_daemon();
  ASSERT_EQ(::mount("none", dir_.path().c_str(), "tmpfs", 0, nullptr), 0);
  std::filesystem::create_directory(root_);
  const auto prepared = prepare_mountpoint(root_, log_.log());
  EXPECT_TRUE(prepared) << prepared.error().message;
  ASSERT_EQ(::umount2(dir_.path().c_str(), MNT_DETACH), 0);
  ::kill(daemon, SIGTERM);
  EXPECT_EQ(wait_for(daemon), 0);
}

TEST_F(SessionTest, one_that_does_not_answer_is_told_of_in_time) {
  const pid_t daemon = start_daemon();
  ::kill(daemon, SIGSTOP);
  int status = 0;
  ASSERT_EQ(::waitpid(daemon, &status, WUNTRACED), daemon);  // all of its threads have stopped
  const auto prepared = prepare_mountpoint(root_, log_.log());
  ASSERT_FALSE(prepared);
  EXPECT_NE(prepared.error().message.find("does not answer"), std::string::npos);
  ::kill(daemon, SIGCONT);
  ::kill(daemon, SIGTERM);
  EXPECT_EQ(wait_for(daemon), 0);
}

TEST_F(SessionTest, unmounted_from_outside_it_ends) {
  const pid_t daemon = start_daemon();
  EXPECT_EQ(::umount2(root_.c_str(), 0), 0);
  EXPECT_EQ(wait_for(daemon), 0);
}

TEST_F(SessionTest, what_a_killed_daemon_left_is_cleaned_up_and_told) {
  ::kill(start_daemon(), SIGKILL);
  until([&] { return open_error(root_ + "/root-a") == ENOTCONN; });
  const auto prepared = prepare_mountpoint(root_, log_.log());
  ASSERT_TRUE(prepared) << prepared.error().message;
  EXPECT_EQ(*prepared, root_);
  EXPECT_FALSE(mounted());
  EXPECT_TRUE(log_.has("unmounted a dead keyfs"));
  const pid_t daemon = start_daemon();
  EXPECT_EQ(run("cat " + root_ + "/root-a").output, "x");
  ::kill(daemon, SIGTERM);
  EXPECT_EQ(wait_for(daemon), 0);
}

TEST_F(SessionTest, a_live_keyfs_is_left_alone) {
  const pid_t daemon = start_daemon();
  const auto prepared = prepare_mountpoint(root_ + "/", log_.log());
  ASSERT_FALSE(prepared);
  EXPECT_EQ(prepared.error().code, Code::kInvalid);
  EXPECT_NE(prepared.error().message.find("already mounted there"), std::string::npos);
  EXPECT_EQ(run("cat " + root_ + "/root-a").output, "x");
  ::kill(daemon, SIGTERM);
  EXPECT_EQ(wait_for(daemon), 0);
}

TEST_F(SessionTest, another_file_system_is_left_alone) {
  ASSERT_EQ(::mount("none", root_.c_str(), "tmpfs", 0, nullptr), 0);
  const auto prepared = prepare_mountpoint(root_, log_.log());
  ASSERT_FALSE(prepared);
  EXPECT_NE(prepared.error().message.find("tmpfs"), std::string::npos);
  EXPECT_TRUE(mounted());
}

TEST_F(SessionTest, a_mount_point_that_cannot_be_is_told_plainly) {
  std::ofstream(dir_.path() + "/file") << "x";
  for (const std::string& path :
       {dir_.path() + "/none", dir_.path() + "/none/none", dir_.path() + "/file", std::string()}) {
    const auto prepared = prepare_mountpoint(path, log_.log());
    ASSERT_FALSE(prepared) << path;
    EXPECT_EQ(prepared.error().code, Code::kInvalid);
    EXPECT_NE(prepared.error().message.find("cannot mount on " + path), std::string::npos);
  }
}

TEST_F(SessionTest, a_symbolic_link_leads_to_the_directory) {
  std::filesystem::create_directory_symlink(root_, dir_.path() + "/link");
  const auto prepared = prepare_mountpoint(dir_.path() + "/link", log_.log());
  ASSERT_TRUE(prepared);
  EXPECT_EQ(*prepared, root_);
}

TEST_F(SessionTest, files_that_would_be_hidden_are_told_of) {
  std::ofstream(root_ + "/file") << "x";
  EXPECT_TRUE(prepare_mountpoint(root_, log_.log()));
  EXPECT_TRUE(log_.has("hides files"));
}

TEST_F(SessionTest, an_ordinary_user_mounts_through_fusermount3) {
  ASSERT_EQ(::chown(root_.c_str(), 1001, 1001), 0);
  if (::access("/usr/bin/fusermount3", X_OK) != 0) GTEST_SKIP() << "no fusermount3";
  struct stat device {};
  if (::stat("/dev/fuse", &device) != 0 || (device.st_mode & 0006) != 0006) {
    GTEST_SKIP() << "/dev/fuse is root's own";
  }
  const pid_t child = start([&] {
    if (::setgid(1001) != 0 || ::setuid(1001) != 0) return 1;
    FuseSide side;
    auto session = FuseSession::mount({root_, ""}, side.ops, side.log.log());
    if (!session) return 2;
    side.serve(std::move(*session));
    side.backend.add("app-a", "x");
    const int error = open_error(root_ + "/app-a");
    side.end_session();
    return error == 0 ? 0 : 3;
  });
  EXPECT_EQ(wait_for(child), 0);
  EXPECT_FALSE(mounted());
}

TEST_F(SessionTest, a_failed_mount_leaves_nothing_behind) {
  FuseSide side;
  const auto session = FuseSession::mount({root_, "fscontext=nonsense"}, side.ops, log_.log());
  ASSERT_FALSE(session);
  EXPECT_FALSE(mounted());
  EXPECT_NE(session.error().message.find("cannot mount"), std::string::npos);
}

}  // namespace
}  // namespace keyfs
