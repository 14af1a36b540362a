// What a command makes of a rotation that an earlier one has left to the board.
#include "fs/cli/handed_over.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "support/fake_random.h"
#include "support/temporary_directory.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;
using State = TicketFate::State;
using Key = RotatedKey::State;

TicketFate fate_of(State state, Key key = Key::kWaiting) {
  TicketFate fate;
  fate.state = state;
  if (state == State::kInRun) fate.run = "r-00000007";
  fate.key = key;
  return fate;
}

class HandedOver : public ::testing::Test {
 protected:
  Result<RotationToken> take() {
    return RotationToken::take(state_dir_, "orders", false, random_, 0s);
  }
  std::string leave() {
    auto token = take();
    EXPECT_TRUE(token && token->hand_over());
    return token->text();
  }
  // Of the command that comes next; it is killed then.
  std::string next(const std::optional<TicketFate>& fate) {
    auto token = take();
    EXPECT_TRUE(token && token->handed_over());
    EXPECT_TRUE(take_up(*token, fate, random_));
    return token->text();
  }

 private:
  const testing::TemporaryDirectory folder_;
  const std::string state_dir_ = folder_.file("state");
  FakeRandom random_;
};

TEST_F(HandedOver, rotation_that_still_waits_is_gone_on_with) {
  for (const auto& fate :
       {fate_of(State::kWaiting), fate_of(State::kOverdue), fate_of(State::kOverdue, Key::kOverdue),
        fate_of(State::kInRun, Key::kWaiting), fate_of(State::kInRun, Key::kOverdue)}) {
    const std::string token = leave();
    EXPECT_EQ(next(fate), token);
  }
}

TEST_F(HandedOver, rotation_that_others_have_done_is_forgotten_and_another_begins) {
  for (const auto& fate : {fate_of(State::kInRun, Key::kCurrent),
                           fate_of(State::kInRun, Key::kRefused), fate_of(State::kGone)}) {
    const std::string token = leave();
    EXPECT_NE(next(fate), token);
  }
}

TEST_F(HandedOver, rotation_is_gone_on_with_while_the_board_does_not_tell) {
  const std::string token = leave();
  EXPECT_EQ(next(std::nullopt), token);
}

TEST_F(HandedOver, command_that_is_killed_goes_on_with_whichever_token_it_had_taken_up) {
  const std::string token = leave();
  EXPECT_EQ(next(fate_of(State::kOverdue)), token);
  {
    const auto again = take();  // which may have made it current, and asks nobody
    EXPECT_EQ(again->text(), token);
    EXPECT_FALSE(again->handed_over());
  }
  leave();
  const std::string other = next(fate_of(State::kInRun, Key::kCurrent));
  const auto again = take();
  EXPECT_EQ(again->text(), other);
  EXPECT_FALSE(again->handed_over());
}

}  // namespace
}  // namespace keyfs
