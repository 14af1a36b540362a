#include "base/line_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

namespace keyfs {
namespace {

struct LineFileTest : ::testing::Test {
  LineFileTest() {
    char name[] = "/tmp/keyfs-lines-XXXXXX";
    dir = ::mkdtemp(name);
    path = dir + "/lines";
  }
  ~LineFileTest() override {
    if (mounted) ::umount2(dir.c_str(), MNT_DETACH);
    std::filesystem::remove_all(dir);
  }
  static std::string text_of(const std::string& file) {
    std::ifstream in(file);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  Result<LineFile> open() { return LineFile::open("the log", path, 0600); }
  std::string refusal() {
    const auto file = open();
    return file ? "opened" : file.error().message;
  }

  std::string dir, path;
  bool mounted = false;
};

TEST_F(LineFileTest, a_torn_end_gets_its_newline_before_the_next_line) {
  std::ofstream(path) << "one\nhal";
  auto file = open();
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ(file->write("two\nthree\n").lines, 2u);
  EXPECT_EQ(file->write("four\n").lines, 1u);
  EXPECT_EQ(text_of(path), "one\nhal\ntwo\nthree\nfour\n");
}

TEST_F(LineFileTest, an_end_that_was_torn_before_a_reopen_is_mended_after_it) {
  auto file = open();
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ(file->write("one\n").lines, 1u);
  std::ofstream(path, std::ios::app) << "hal";
  ASSERT_TRUE(file->reopen());
  EXPECT_EQ(file->write("two\n").lines, 1u);
  EXPECT_EQ(text_of(path), "one\nhal\ntwo\n");
}

TEST_F(LineFileTest, a_full_disk_tells_how_many_lines_are_whole_and_the_next_one_stands_by_itself) {
  if (::mount("none", dir.c_str(), "tmpfs", 0, "size=4096") != 0) GTEST_SKIP() << "not root";
  mounted = true;
  auto file = open();
  ASSERT_TRUE(file) << file.error().message;
  const std::string line = std::string(999, 'x') + "\n";
  const auto written = file->write(line + line + line + line + line);
  EXPECT_EQ(written.lines, 4u);
  ASSERT_TRUE(written.error);
  EXPECT_EQ(written.error->message,
            "could not write the log " + path + ": No space left on device");
  ASSERT_EQ(::mount("none", dir.c_str(), nullptr, MS_REMOUNT, "size=16384"), 0);
  for (const bool anew : {false, true}) {
    if (anew) {
      // Like a process that starts after this one was killed.
      std::ofstream(path, std::ios::app) << "hal";
      file = open();
    }
    EXPECT_EQ(file->write("after\n").lines, 1u);
    EXPECT_TRUE(text_of(path).ends_with(anew ? "\nhal\nafter\n" : "x\nafter\n"));
  }
}

TEST_F(LineFileTest, what_others_own_or_can_write_is_refused_with_what_to_do) {
  ASSERT_EQ(::symlink("elsewhere", path.c_str()), 0);
  EXPECT_NE(refusal().find("is a symbolic link"), std::string::npos) << refusal();
  ASSERT_EQ(::unlink(path.c_str()), 0);
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  EXPECT_NE(refusal().find("is not a regular file"), std::string::npos) << refusal();
  ASSERT_EQ(::unlink(path.c_str()), 0);
  std::ofstream(path) << "";
  for (const mode_t mode : {0620u, 0602u, 0666u}) {
    ASSERT_EQ(::chmod(path.c_str(), mode), 0);
    EXPECT_NE(refusal().find("others can write it"), std::string::npos) << refusal();
  }
  ASSERT_EQ(::chmod(path.c_str(), 0644), 0);
  EXPECT_EQ(refusal(), "opened");
  struct stat about {};
  ASSERT_EQ(::stat(path.c_str(), &about), 0);
  EXPECT_EQ(about.st_mode & 0777, 0600u);
  if (::geteuid() != 0) return;
  ASSERT_EQ(::chown(path.c_str(), 4001, 4001), 0);
  EXPECT_NE(refusal().find("is owned by uid 4001, and keyfs runs as uid 0"), std::string::npos);
}

TEST_F(LineFileTest,
       a_file_that_was_removed_is_made_anew_by_the_next_line_and_a_moved_one_goes_on) {
  auto file = open();
  ASSERT_TRUE(file) << file.error().message;
  std::filesystem::rename(path, path + ".1");
  EXPECT_EQ(file->write("one\n").lines, 1u);
  EXPECT_EQ(text_of(path + ".1"), "one\n");
  std::filesystem::remove(path + ".1");
  EXPECT_EQ(file->write("two\n").lines, 1u);
  EXPECT_EQ(text_of(path), "two\n");
  std::filesystem::remove(path);
  ASSERT_EQ(::symlink("/dev/null", path.c_str()), 0);  // not a file to write to
  const auto refused = file->write("three\n");
  EXPECT_EQ(refused.lines, 0u);
  EXPECT_TRUE(refused.error);
}

TEST_F(LineFileTest, a_file_whose_file_system_was_unmounted_is_made_anew_where_its_name_leads_now) {
  const std::string disk = dir + "/disk";
  std::filesystem::create_directory(disk);
  if (::mount("none", disk.c_str(), "tmpfs", 0, "") != 0) GTEST_SKIP() << "not root";
  path = disk + "/lines";
  auto file = open();
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_FALSE(file->write("one\n").elsewhere);
  ASSERT_EQ(::umount2(disk.c_str(), MNT_DETACH), 0);
  const auto written = file->write("two\n");
  EXPECT_EQ(written.lines, 1u);
  EXPECT_TRUE(written.elsewhere);
  EXPECT_EQ(text_of(path), "two\n");
  EXPECT_FALSE(file->write("three\n").elsewhere);
  EXPECT_EQ(text_of(path), "two\nthree\n");
}

TEST_F(LineFileTest, a_file_that_another_tool_put_in_its_place_is_the_one_that_is_written) {
  auto file = open();
  ASSERT_TRUE(file) << file.error().message;
  file->write("one\n");
  std::filesystem::rename(path, path + ".1");
  std::ofstream(path) << "";
  EXPECT_TRUE(file->write("two\n").elsewhere);
  EXPECT_EQ(text_of(path + ".1"), "one\n");
  EXPECT_EQ(text_of(path), "two\n");
}

TEST_F(LineFileTest,
       a_directory_that_was_replaced_gets_a_new_file_and_one_that_is_gone_is_an_error) {
  const std::string place = dir + "/place";
  std::filesystem::create_directory(place);
  path = place + "/lines";
  auto file = open();
  ASSERT_TRUE(file) << file.error().message;
  file->write("one\n");
  std::filesystem::rename(place, place + ".1");
  EXPECT_TRUE(file->write("lost\n").error);
  std::filesystem::create_directory(place);
  EXPECT_TRUE(file->write("two\n").elsewhere);
  EXPECT_EQ(text_of(path), "two\n");
}

TEST_F(LineFileTest, a_file_that_was_moved_away_or_removed_is_followed_by_a_new_one) {
  auto file = open();
  ASSERT_TRUE(file) << file.error().message;
  file->write("before\n");
  std::filesystem::rename(path, path + ".1");
  ASSERT_TRUE(file->follow());
  file->write("after\n");
  EXPECT_EQ(text_of(path + ".1"), "before\n");
  EXPECT_EQ(text_of(path), "after\n");
  std::filesystem::remove(path);
  ASSERT_TRUE(file->follow());
  file->write("anew\n");
  EXPECT_EQ(text_of(path), "anew\n");
  // If it can't, the old file stays in use.
  std::filesystem::rename(path, path + ".2");
  ASSERT_EQ(::symlink("elsewhere", path.c_str()), 0);
  EXPECT_FALSE(file->follow());
  file->write("still\n");
  EXPECT_EQ(text_of(path + ".2"), "anew\nstill\n");
}

}  // namespace
}  // namespace keyfs
