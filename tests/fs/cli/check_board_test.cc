#include "fs/cli/check_board.h"

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "fs/rotation/documents.h"
#include "support/fake_time.h"
#include "support/memory_board.h"

namespace keyfs {
namespace {

class CheckBoard : public ::testing::Test {
 protected:
  void write(const std::string& name, const std::string& text) {
    const auto there = documents_->find(name);
    ASSERT_TRUE(documents_->write(name, text, there ? there->revision : "").done);
  }
  std::optional<CheckItem> check() {
    const TimePoint soon = time_.loop.now() + std::chrono::seconds(10);
    return time_.loop.run_task(check_board(board_, time_.loop, soon));
  }

  testing::FakeTimeLoop time_;
  std::shared_ptr<MemoryDocuments> documents_ = std::make_shared<MemoryDocuments>();
  MemoryBoard board_{time_.loop, documents_};
};

TEST_F(CheckBoard, an_empty_board_and_a_whole_one_are_well) {
  EXPECT_FALSE(check());
  write(kHeadName, to_text(Head{1, "web-1", "life", 7}));
  RunNow now;
  now.number = 1;
  write(kNowName, to_text(now));
  EXPECT_FALSE(check());
}

TEST_F(CheckBoard, a_damaged_lock_fails_with_the_words_of_status) {
  write(kHeadName, R"({"epoch":"x"})");
  const auto item = check();
  ASSERT_TRUE(item);
  EXPECT_FALSE(item->ok);
  EXPECT_FALSE(item->essential) << "keys are served";
  EXPECT_EQ(item->detail, damage_text("run/head"));
}

TEST_F(CheckBoard, names_run_now_and_the_run_that_goes_on) {
  RunNow now;
  now.number = 1;
  now.run = run_of(1);
  write(kNowName, to_text(now));
  write(run_name(run_of(1)), "{}");
  const auto item = check();
  ASSERT_TRUE(item);
  EXPECT_NE(item->detail.find(run_name(run_of(1)) + ": no keys are rotated"), std::string::npos)
      << item->detail;
  write(kNowName, "{}");
  const auto other = check();
  ASSERT_TRUE(other);
  EXPECT_NE(other->detail.find("run/now: no keys are rotated"), std::string::npos) << other->detail;
}

}  // namespace
}  // namespace keyfs
