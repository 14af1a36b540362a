#include "fs/cli/check_state_dir.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "support/temporary_directory.h"

namespace keyfs {
namespace {

TEST(CheckStateDir, one_that_is_not_there_can_be_made_and_is_not_said_to_be_written) {
  const testing::TemporaryDirectory folder;
  const std::string path = folder.path() + "/lib/keyfs";
  const CheckItem item = check_state_dir(path);
  EXPECT_TRUE(item.ok) << item.detail;
  EXPECT_EQ(item.what, "state_dir can be made");
  EXPECT_EQ(item.detail, path);
  EXPECT_FALSE(std::filesystem::exists(folder.path() + "/lib"));
}

TEST(CheckStateDir, one_that_is_there_can_be_written_and_stays) {
  const testing::TemporaryDirectory folder;
  const std::string path = folder.path() + "/state";
  std::filesystem::create_directory(path);
  std::filesystem::permissions(path, std::filesystem::perms::owner_all);
  const CheckItem item = check_state_dir(path);
  EXPECT_TRUE(item.ok) << item.detail;
  EXPECT_EQ(item.what, "state_dir can be written");
  EXPECT_TRUE(std::filesystem::exists(path));
}

TEST(CheckStateDir, where_none_can_be_made_it_says_what_that_means) {
  const testing::TemporaryDirectory folder;
  std::ofstream(folder.path() + "/file") << "no directory";
  const CheckItem item = check_state_dir(folder.path() + "/file/state");
  EXPECT_FALSE(item.ok);
  EXPECT_FALSE(item.essential);
  EXPECT_NE(item.remedy.find("none is made on this host"), std::string::npos);
}

}  // namespace
}  // namespace keyfs
