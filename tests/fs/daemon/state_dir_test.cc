#include "fs/daemon/state_dir.h"

#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "support/temporary_directory.h"

namespace keyfs {
namespace {

namespace fs = std::filesystem;

class StateDirTest : public ::testing::Test {
 protected:
  void SetUp() override { mask_ = ::umask(077); }
  void TearDown() override {
    ::umount2(mount_.c_str(), MNT_DETACH);
    ::umask(mask_);
  }
  // A small private disk.
  bool mount(const char* options) {
    fs::create_directory(mount_);
    return ::mount("none", mount_.c_str(), "tmpfs", 0, options) == 0;
  }
  testing::TemporaryDirectory folder_;
  const std::string mount_ = folder_.path() + "/disk";
  mode_t mask_ = 0;
};

TEST_F(StateDirTest, is_made_for_its_user_alone_and_taken_back_while_it_is_empty) {
  const std::string path = folder_.path() + "/a/b/state";
  const auto state = StateDir::prepare(path);
  ASSERT_TRUE(state) << state.error().message;
  EXPECT_TRUE(state->usable()) << state->trouble();
  EXPECT_EQ(state->for_known_store(), path);
  EXPECT_EQ(fs::status(path).permissions(), fs::perms::owner_all);
  EXPECT_TRUE(fs::is_empty(path));
  state->take_back();
  EXPECT_FALSE(fs::exists(folder_.path() + "/a"));
  EXPECT_TRUE(fs::exists(folder_.path()));
}

TEST_F(StateDirTest, what_was_there_or_is_used_is_not_taken_back) {
  const std::string path = folder_.path() + "/state";
  fs::create_directory(path);
  StateDir::prepare(path)->take_back();
  EXPECT_TRUE(fs::exists(path));
  const auto inner = StateDir::prepare(path + "/inner");
  std::ofstream(path + "/inner/file") << "x";
  inner->take_back();
  EXPECT_TRUE(fs::exists(path + "/inner/file"));
}

TEST_F(StateDirTest, a_full_or_read_only_disk_is_no_error_and_is_told) {
  if (!mount("size=16k")) GTEST_SKIP() << "needs root";
  fs::create_directory(mount_ + "/state");
  std::ofstream(mount_ + "/filler") << std::string(1 << 16, 'x');
  const auto full = StateDir::prepare(mount_ + "/state");
  ASSERT_TRUE(full) << full.error().message;
  EXPECT_FALSE(full->usable());
  EXPECT_NE(full->trouble().find("No space left"), std::string::npos) << full->trouble();
  EXPECT_EQ(full->for_known_store(), "");
  ::unlink((mount_ + "/filler").c_str());
  std::ofstream(mount_ + "/state/store-id") << "sqlite x\n";
  ASSERT_EQ(::mount("none", mount_.c_str(), nullptr, MS_REMOUNT | MS_RDONLY, nullptr), 0);
  const auto fixed = StateDir::prepare(mount_ + "/state");
  ASSERT_TRUE(fixed) << fixed.error().message;
  EXPECT_NE(fixed->trouble().find("Read-only"), std::string::npos) << fixed->trouble();
  EXPECT_EQ(fixed->for_known_store(), mount_ + "/state") << "what is remembered is compared";
  const auto absent = StateDir::prepare(mount_ + "/other");
  ASSERT_TRUE(absent);
  EXPECT_FALSE(absent->usable());
}

TEST_F(StateDirTest, one_that_others_own_or_can_write_is_refused) {
  const std::string path = folder_.path() + "/state";
  fs::create_directory(path);
  fs::permissions(path, fs::perms(0777));
  const auto open = StateDir::prepare(path);
  ASSERT_FALSE(open);
  EXPECT_EQ(open.error().code, Code::kDenied);
  fs::permissions(path, fs::perms(0700));
  if (::chown(path.c_str(), 12345, 0) != 0) GTEST_SKIP() << "needs root";
  const auto foreign = StateDir::prepare(path);
  ASSERT_FALSE(foreign);
  EXPECT_NE(foreign.error().message.find("is owned by uid 12345"), std::string::npos);
}

}  // namespace
}  // namespace keyfs
