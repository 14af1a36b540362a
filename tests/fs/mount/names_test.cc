// The cost of names that are only looked up, and of callers who may read nothing.
#include <sys/statvfs.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

#include "fs/mount/mount_fixture.h"

namespace keyfs {
namespace {

using namespace keyfs::testing;  // NOLINT: a test's own fixture

class NamesTest : public MountTest {
 protected:
  static constexpr size_t kMost = 100;
  void make_side() override {
    FuseOptions options;
    options.lone_names = kMost;
    mount(std::make_unique<FuseSide>(options));
  }
  // As a user without rights: 0 or the errno of stat(2).
  static int look(const std::string& path) {
    struct stat attributes {};
    return ::stat(path.c_str(), &attributes) == 0 ? 0 : errno;
  }
  size_t known() const { return side_->ops.status().known_keys; }
  bool known_soon(size_t most) const {
    for (int i = 0; i < 1'000 && known() > most; ++i) ::usleep(10'000);
    return known() <= most;
  }
};

TEST_F(NamesTest, names_that_are_only_asked_for_are_forgotten_but_for_the_newest) {
  for (int i = 0; i < 5'000; ++i) {
    const int error = look(path("app-" + std::to_string(i)));
    ASSERT_TRUE(error == 0 || error == EAGAIN) << error;
  }
  EXPECT_TRUE(known_soon(kMost)) << known();
  // Another thread releases what is forgotten last.
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (side_->cache.usage().entries > kMost && std::chrono::steady_clock::now() < give_up) {
    std::this_thread::yield();
  }
  EXPECT_LE(side_->cache.usage().entries, kMost);
}

TEST_F(NamesTest, names_whose_key_is_in_use_or_listed_stay) {
  const int used = ::open(path("root-used").c_str(), O_RDONLY);
  ASSERT_GE(used, 0);
  for (int i = 0; i < 300; ++i) backend().add("root-listed-" + std::to_string(i), "x");
  run("ls -l " + root_);
  const size_t before = known();
  EXPECT_GE(before, 300U);
  for (int i = 0; i < 1'000; ++i) look(path("app-" + std::to_string(i)));
  EXPECT_TRUE(known_soon(before + kMost));
  EXPECT_GE(known(), before);
  struct stat attributes {};
  EXPECT_EQ(::fstat(used, &attributes), 0);
  EXPECT_TRUE(side_->cache.find("root-used"));
  EXPECT_TRUE(side_->cache.find("root-listed-7"));
  ::close(used);
}

TEST_F(NamesTest, a_name_that_was_forgotten_is_there_again_when_it_is_asked_for) {
  backend().add("root-a", "x");
  EXPECT_EQ(look(path("root-0")), 0);
  for (int i = 0; i < 1'000; ++i) look(path("app-" + std::to_string(i)));
  EXPECT_TRUE(known_soon(kMost));
  EXPECT_EQ(open_error(path("root-0")), 0);
  EXPECT_EQ(open_error(path("root-a")), 0);
}

TEST_F(MountTest, ls_by_who_may_read_nothing_does_not_make_the_store_be_read) {
  backend().add("app-a", "x");
  EXPECT_EQ(run(as_user(1005, "ls -A " + root_)).output, "");
  EXPECT_EQ(run(as_user(1005, "ls -la " + root_ + "; test -r " + path("app-a"))).status, 1);
  EXPECT_EQ(backend().lists, 0);
  EXPECT_EQ(backend().pages, 0);
  EXPECT_EQ(backend().describes, 0);
  EXPECT_EQ(run(as_user(1002, "ls -A " + root_)).output, "");
  EXPECT_EQ(backend().lists, 1);  // who may read something
  EXPECT_EQ(run(as_user(1005, "ls -A " + root_, "2000")).output, "");
  EXPECT_EQ(backend().lists, 2);  // by a group
}

TEST_F(MountTest, who_may_read_nothing_and_is_admin_sees_the_files_of_keyfs) {
  side_->policy.replace(policy_of("[keys app-*]\nread = uid:1001\n[admin]\nread = uid:1005\n"));
  EXPECT_EQ(run(as_user(1005, "ls -A " + root_)).output, ".keyfs\n");
  EXPECT_EQ(backend().lists, 0);
}

TEST_F(MountTest, stat_by_who_may_not_read_does_not_make_the_store_be_read) {
  backend().add("app-a", std::string(64, 'x'));
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(run(as_user(1002, "stat -c %s " + path("app-a"))).output, "4096\n");
  }
  EXPECT_EQ(backend().describes, 0);
  EXPECT_EQ(run(as_user(1001, "stat -c %s " + path("app-a"))).output, "64\n");
  EXPECT_EQ(backend().describes, 1);
  EXPECT_EQ(run(as_user(1002, "stat -c %s " + path("app-a"))).output, "64\n");  // known now
  EXPECT_EQ(run(as_user(1001, "stat -c %s " + path("app-a"))).output, "64\n");
  EXPECT_EQ(backend().describes, 1);
}

TEST_F(MountTest, stat_does_not_wait_long_for_a_store_that_hangs) {
  backend().hang(true);
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(run("stat -c %s " + path("root-" + std::to_string(i))).output, "4096\n");
  }
  EXPECT_LT(since(begin), std::chrono::seconds(3));
  backend().hang(false);
}

TEST_F(MountTest, many_who_look_at_once_do_not_all_ask_the_store) {
  backend().hang(true);
  const auto begin = std::chrono::steady_clock::now();
  std::vector<std::thread> looks;
  std::atomic<int> failed{0};
  for (int i = 0; i < 150; ++i) {
    looks.emplace_back([&, i] {
      struct stat attributes {};
      if (::stat(path("root-" + std::to_string(i)).c_str(), &attributes) != 0) ++failed;
    });
  }
  for (auto& look : looks) look.join();
  EXPECT_EQ(failed, 0);
  // After some got no answer in time, none asks for a second.
  EXPECT_LE(backend().describes, 64 * (1 + since(begin) / std::chrono::seconds(1)));
  EXPECT_GE(backend().describes, 1);
  backend().hang(false);
}

TEST_F(MountTest, a_name_that_is_not_there_has_the_size_that_it_would_be_made_with) {
  EXPECT_EQ(run("stat -c %s " + path("root-new")).output, "32\n");
}

TEST_F(MountTest, df_of_inodes_has_room) {
  open_error(path("root-a"));
  struct statvfs figures {};
  ASSERT_EQ(::statvfs(root_.c_str(), &figures), 0);
  EXPECT_GT(figures.f_ffree, figures.f_files / 2);
  EXPECT_EQ(figures.f_files - figures.f_ffree, 1U);
  EXPECT_LE(figures.f_files, UINT32_MAX);
  EXPECT_EQ(run("df --output=ipcent " + root_ + " | tail -1 | tr -d ' '").output, "1%\n");
}

TEST_F(MountTest, inode_numbers_fit_32_bits) {
  for (int i = 0; i < 200; ++i) {
    const std::string name = "root-" + std::to_string(i);
    backend().add(name, "x");
    struct stat attributes {};
    ASSERT_EQ(::stat(path(name).c_str(), &attributes), 0);
    EXPECT_LE(attributes.st_ino, UINT32_MAX) << name;
    EXPECT_GE(attributes.st_ino, 64U) << name;
  }
}

}  // namespace
}  // namespace keyfs
