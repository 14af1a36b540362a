// What was begun, on disk.
#include "fs/sign/journal.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "support/temporary_directory.h"

namespace keyfs {
namespace {

class JournalTest : public ::testing::Test {
 protected:
  static Begun new_key() {
    Begun what;
    what.id = "ca";
    what.custody = "kms";
    what.from = "old";
    return what;
  }
  void append(const std::string& path, const std::string& text) {
    std::ofstream(path, std::ios::app) << text;
  }

  testing::TemporaryDirectory directory;
  Journal journal{directory.file("begun")};
};

TEST_F(JournalTest, an_entry_is_left_alone_while_its_owner_lives_and_read_afterwards) {
  auto entry = journal.begin(new_key());
  ASSERT_TRUE(entry.has_value()) << entry.error().message;
  ASSERT_TRUE((*entry)->set_key("new").has_value());
  auto left = journal.left_over();
  ASSERT_TRUE(left.has_value());
  EXPECT_TRUE(left->entries.empty());
  EXPECT_EQ(left->living, 1u);
  ASSERT_EQ(journal.all()->size(), 1u);
  EXPECT_EQ(journal.all()->front().key, "new");
  EXPECT_FALSE(journal.all()->front().named);
  ASSERT_TRUE((*entry)->set_named().has_value());
  EXPECT_TRUE(journal.all()->front().named);
  entry->reset();
  left = journal.left_over();
  ASSERT_EQ(left->entries.size(), 1u);
  const Begun& what = left->entries[0]->what();
  EXPECT_FALSE(what.removal);
  EXPECT_EQ(what.id, "ca");
  EXPECT_EQ(what.custody, "kms");
  EXPECT_EQ(what.from, "old");
  EXPECT_EQ(what.key, "new");
  EXPECT_TRUE(what.named);
  // Whoever found it has it now.
  EXPECT_TRUE(journal.left_over()->entries.empty());
  EXPECT_TRUE(left->entries[0]->finish().has_value());
  left->entries.clear();
  EXPECT_TRUE(std::filesystem::is_empty(directory.file("begun")));
}

TEST_F(JournalTest, a_line_that_was_cut_short_counts_as_not_written) {
  auto entry = journal.begin(new_key());
  append((*entry)->path(), "{\"key\":\"ne");
  entry->reset();
  const auto left = journal.left_over();
  ASSERT_EQ(left->entries.size(), 1u);
  EXPECT_EQ(left->entries[0]->what().key, "");
  EXPECT_EQ(left->entries[0]->what().id, "ca");
}

TEST_F(JournalTest, what_says_nothing_is_named_and_stays) {
  ASSERT_TRUE(journal.begin(new_key()).has_value());
  append(directory.file("begun/zzzzzz.json"), "{}\n");
  append(directory.file("begun/draft"), "");
  const auto left = journal.left_over();
  EXPECT_EQ(left->damaged, std::vector<std::string>{directory.file("begun/zzzzzz.json")});
  EXPECT_EQ(left->entries.size(), 1u);
  EXPECT_FALSE(std::filesystem::exists(directory.file("begun/draft")));
}

TEST_F(JournalTest, only_its_user_may_read_it) {
  auto entry = journal.begin(new_key());
  struct stat about {};
  ASSERT_EQ(::stat((*entry)->path().c_str(), &about), 0);
  EXPECT_EQ(about.st_mode & 07777, 0600u);
  ASSERT_EQ(::stat(directory.file("begun").c_str(), &about), 0);
  EXPECT_EQ(about.st_mode & 07777, 0700u);
  // What others may write is not believed.
  ASSERT_EQ(::chmod((*entry)->path().c_str(), 0666), 0);
  entry->reset();
  EXPECT_EQ(journal.left_over()->damaged.size(), 1u);
}

TEST_F(JournalTest, there_is_nothing_before_the_first_one) {
  EXPECT_TRUE(journal.left_over()->entries.empty());
  EXPECT_TRUE(journal.all()->empty());
}

}  // namespace
}  // namespace keyfs
