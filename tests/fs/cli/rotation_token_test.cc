#include "fs/cli/rotation_token.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <future>
#include <optional>

#include "support/fake_random.h"
#include "support/temporary_directory.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;

struct RotationTokenTest : ::testing::Test {
  Result<RotationToken> take(Duration patience = 0s, const std::string& id = "orders",
                             bool hold = false) {
    return RotationToken::take(state_dir, id, hold, random, patience);
  }
  const testing::TemporaryDirectory folder;
  const std::string state_dir = folder.file("state");
  const std::string file = state_dir + "/rotations/orders";
  FakeRandom random;
};

TEST_F(RotationTokenTest, is_the_same_until_the_rotation_is_done_and_then_another) {
  std::string token;
  {
    const auto first = take();  // the process is killed
    ASSERT_TRUE(first) << first.error().message;
    token = first->text();
    EXPECT_EQ(token.size(), 32u);
  }
  auto again = take();
  ASSERT_TRUE(again);
  EXPECT_EQ(again->text(), token);
  EXPECT_TRUE(again->forget());
  EXPECT_FALSE(std::filesystem::exists(file));
  const auto next = take();
  ASSERT_TRUE(next);
  EXPECT_NE(next->text(), token);
  EXPECT_NE(take(0s, "bills")->text(), next->text()) << "each key has its own";
}

TEST_F(RotationTokenTest, of_a_rotation_that_holds_is_another_than_of_one_that_does_not) {
  const std::string held = take(0s, "orders", true)->text();
  EXPECT_EQ(take(0s, "orders", true)->text(), held) << "it goes on";
  const std::string other = take(0s, "orders", false)->text();
  EXPECT_NE(other, held);
  EXPECT_EQ(take(0s, "orders", false)->text(), other);
}

TEST_F(RotationTokenTest, says_that_its_rotation_was_handed_over_until_somebody_goes_on_with_it) {
  std::string token;
  {
    auto first = take();
    ASSERT_TRUE(first) << first.error().message;
    EXPECT_FALSE(first->handed_over());
    ASSERT_TRUE(first->hand_over());
    token = first->text();
  }
  EXPECT_TRUE(take()->handed_over()) << "looking at it changes nothing";
  {
    auto second = take();
    EXPECT_EQ(second->text(), token);
    ASSERT_TRUE(second->handed_over());
    ASSERT_TRUE(second->take_back());  // and then it is killed
  }
  auto third = take();
  EXPECT_EQ(third->text(), token);
  EXPECT_FALSE(third->handed_over());
  ASSERT_TRUE(third->hand_over());
  ASSERT_TRUE(third->hand_over());
  ASSERT_TRUE(third->forget());
  EXPECT_FALSE(take()->handed_over());
}

TEST_F(RotationTokenTest, that_is_made_anew_is_another_and_not_handed_over) {
  std::string first;
  std::string second;
  {
    auto token = take();
    first = token->text();
    ASSERT_TRUE(token->hand_over());
    ASSERT_TRUE(token->renew(random));
    EXPECT_FALSE(token->handed_over());
    second = token->text();
  }
  EXPECT_NE(second, first);
  const auto again = take();
  EXPECT_EQ(again->text(), second);
  EXPECT_FALSE(again->handed_over());
}

TEST_F(RotationTokenTest, is_kept_and_not_handed_over_where_that_note_was_cut_short) {
  const std::string token = take()->text();
  for (const std::string& rest :
       {std::string(), std::string("handed"), std::string("handed over"), std::string(12, '\0')}) {
    std::ofstream(file, std::ios::trunc) << token << "\n" << rest;
    auto again = take();
    EXPECT_EQ(again->text(), token);
    EXPECT_FALSE(again->handed_over());
    ASSERT_TRUE(again->hand_over());
    again = fail(Code::kUnavailable, "dropped");
    EXPECT_TRUE(take()->handed_over());
  }
  EXPECT_NE(take(0s, "orders", true)->text(), token) << "one that holds is another all the same";
}

TEST_F(RotationTokenTest, that_cannot_be_removed_is_told) {
  auto token = take();
  ASSERT_TRUE(token);
  std::filesystem::remove(file);
  std::filesystem::create_directory(file);
  EXPECT_FALSE(token->forget());
}

TEST_F(RotationTokenTest, is_this_users_alone) {
  ASSERT_TRUE(take());
  struct stat about {};
  ASSERT_EQ(::stat(file.c_str(), &about), 0);
  EXPECT_EQ(about.st_mode & 0777, 0600u);
  ASSERT_EQ(::stat((state_dir + "/rotations").c_str(), &about), 0);
  EXPECT_EQ(about.st_mode & 0777, 0700u);
  std::filesystem::remove(file);
  std::filesystem::create_symlink(folder.file("elsewhere"), file);
  EXPECT_EQ(take().error().code, Code::kDenied);
  EXPECT_FALSE(std::filesystem::exists(folder.file("elsewhere")));
}

TEST_F(RotationTokenTest, a_second_command_waits_for_the_first_and_is_a_rotation_of_its_own) {
  auto first = take();
  ASSERT_TRUE(first);
  const std::string token = first->text();
  const auto busy = take();
  ASSERT_FALSE(busy);
  EXPECT_EQ(busy.error().code, Code::kUnavailable);
  EXPECT_NE(busy.error().message.find("another keyfs rotate"), std::string::npos);
  FakeRandom other(2);
  auto second = std::async(std::launch::async, [&] {
    return RotationToken::take(state_dir, "orders", false, other, 30s);
  });
  first->forget();
  const auto got = second.get();
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_NE(got->text(), token);
  EXPECT_TRUE(std::filesystem::exists(file)) << "locked is what the next one finds";
  EXPECT_FALSE(take());
}

TEST_F(RotationTokenTest, a_token_that_was_cut_short_never_began_and_is_made_anew) {
  const std::string token = take()->text();
  for (const std::string& text : {std::string(), token, token.substr(0, 20) + "\n",
                                  std::string("../../etc/passwd/012345678901234\n")}) {
    std::ofstream(file, std::ios::trunc) << text;
    const auto anew = take();
    ASSERT_TRUE(anew) << anew.error().message;
    EXPECT_EQ(anew->text().size(), 32u);
    EXPECT_NE(anew->text(), token);
    EXPECT_EQ(take(0s, "bills")->text().size(), 32u);
  }
  const std::string last = take()->text();
  EXPECT_EQ(take()->text(), last);
}

TEST_F(RotationTokenTest, a_directory_that_others_may_write_to_is_refused) {
  ASSERT_TRUE(take());
  ::chmod((state_dir + "/rotations").c_str(), 0777);
  EXPECT_EQ(take().error().code, Code::kDenied);
}

}  // namespace
}  // namespace keyfs
