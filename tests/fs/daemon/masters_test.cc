#include "fs/daemon/masters.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "support/temporary_directory.h"

namespace keyfs {
namespace {

class MastersTest : public ::testing::Test {
 protected:
  MastersTest() {
    for (const char* name : {"a", "b"}) {
      std::filesystem::create_directory(place(name));
      ::chmod(place(name).c_str(), 0700);
      std::ofstream(path(name)) << std::string(32, 'x');
      ::chmod(path(name).c_str(), 0600);
    }
  }
  std::string place(const std::string& name) const { return dir_.file(name); }
  std::string path(const std::string& name) const { return place(name) + "/master.key"; }
  Result<std::vector<std::string>> check(const std::string& more = "") const {
    std::string text = more;
    for (const char* name : {"a", "b"}) {
      text += "[region " + std::string(name) + "]\ntype = local\nkey_file = " + path(name) + "\n";
    }
    const auto file = ConfigFile::parse(text, "test.ini");
    EXPECT_TRUE(file) << file.error().message;
    return check_masters(*file);
  }

  const testing::TemporaryDirectory dir_;
};

TEST_F(MastersTest, good_ones_and_those_that_can_be_restored_are_no_reason_to_refuse) {
  const auto good = check();
  ASSERT_TRUE(good);
  EXPECT_TRUE(good->empty());
  std::filesystem::remove(path("a"));
  std::filesystem::remove_all(place("b"));
  const auto gone = check();
  ASSERT_TRUE(gone);
  EXPECT_TRUE(gone->empty());
}

TEST_F(MastersTest, one_that_others_can_replace_takes_away_its_region_only) {
  ::chmod(place("a").c_str(), 0777);
  const auto refused = check();
  ASSERT_TRUE(refused);
  ASSERT_EQ(refused->size(), 1u);
  EXPECT_TRUE(refused->front().starts_with("a: master key " + path("a"))) << refused->front();
  EXPECT_NE(refused->front().find("can be replaced by others"), std::string::npos);
}

TEST_F(MastersTest, without_any_other_region_keyfs_does_not_start) {
  ::chmod(place("a").c_str(), 0777);
  ::chmod(path("b").c_str(), 0640);
  const auto refused = check();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kDenied);
  for (const std::string part : {"no region can be used", "a: ", "b: ", "chmod 600"}) {
    EXPECT_NE(refused.error().message.find(part), std::string::npos) << refused.error().message;
  }
  EXPECT_TRUE(check("[region us-east-1]\ntype = aws\nkey = alias/keyfs\n"));
}

TEST_F(MastersTest, a_link_and_a_pipe_are_no_masters) {
  std::filesystem::remove(path("a"));
  std::filesystem::create_symlink(path("b"), path("a"));
  EXPECT_EQ(check()->size(), 1u);
  std::filesystem::remove(path("a"));
  ASSERT_EQ(::mkfifo(path("a").c_str(), 0600), 0);
  EXPECT_EQ(check()->size(), 1u);
}

}  // namespace
}  // namespace keyfs
