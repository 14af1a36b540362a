// Keys whose creation nobody heard of: they are found by their tokens, and do not stay.
#include <algorithm>

#include "fs/sign/signing_fixture.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;
using testing::SigningHost;
using When = MemoryCustody::When;

class UnheardTest : public testing::SigningTest {
 protected:
  Task<void> generate_behind(SigningKeys& signing) {
    GenerateRequest one = wanted("ca");
    (void)co_await signing.generate(std::move(one));
  }
  // The reply to the next creation is lost, which took effect or did not.
  void lose(When when) { custody.fail("create", 1, when, Error(Code::kTimeout, "lost")); }
  bool settle(SigningHost& one) { return run(one->settle(soon())); }
  // Of the one entry in `begun`.
  std::string token() const {
    const std::filesystem::directory_iterator only(options.directory + "/begun");
    std::ifstream file(only->path());
    std::string line;
    std::getline(file, line);
    const std::string before = R"("token":")";
    const size_t at = line.find(before);
    return at == line.npos ? "" : line.substr(at + before.size(), 16);
  }
  bool is_deleted(const std::string& key) const { return keys->keys.at(key).deletion.has_value(); }
};

TEST_F(UnheardTest, a_key_whose_reply_was_lost_is_queued_at_once) {
  auto one = loaded_host();
  ASSERT_TRUE(generate(*one, "ca").has_value());
  lose(When::kAfter);
  EXPECT_FALSE(generate(*one, "ca").has_value());
  EXPECT_EQ(files("begun"), 0u);
  EXPECT_EQ(files("doomed"), 1u);
  EXPECT_EQ(one->signing->status().queued_deletions, 1u);
  EXPECT_TRUE(settle(*one));
  EXPECT_EQ(keys->orphans(), std::vector<std::string>());
  EXPECT_FALSE(is_deleted(custody.key_of("ca")));
  expect_right_key(*one, "ca");
}

TEST_F(UnheardTest, one_that_was_killed_before_the_reply_is_found_by_the_next_process) {
  auto one = loaded_host();
  lose(When::kAfter);
  block("made");  // it is killed before it could look
  one->start(generate_behind(*one->signing));
  until_running("made");
  one.reset();
  open();
  ASSERT_EQ(keys->orphans().size(), 1u);
  auto next = loaded_host();
  EXPECT_TRUE(settle(*next));
  EXPECT_EQ(keys->orphans(), std::vector<std::string>());
  EXPECT_EQ(files("begun"), 0u);
  EXPECT_EQ(files("doomed"), 0u);
}

TEST_F(UnheardTest, the_same_name_of_another_server_or_another_time_is_left_alone) {
  const std::string other =
      keys->add(SigningKeyType::kEcP256, "KEY/example.org/ca/0123456789abcdef", time.clock.wall());
  const std::string older =
      keys->add(SigningKeyType::kEcP256, "KEY/example.org/ca", time.clock.wall());
  auto one = loaded_host();
  lose(When::kAfter);
  EXPECT_FALSE(generate(*one, "ca").has_value());
  EXPECT_TRUE(settle(*one));
  EXPECT_EQ(keys->orphans(), (std::vector<std::string>{other, older}));
  EXPECT_EQ(keys->keys.size(), 3u);
}

TEST_F(UnheardTest, one_that_is_not_found_is_looked_for_for_ten_minutes_and_no_command_waits) {
  auto one = loaded_host();
  lose(When::kBefore);
  EXPECT_FALSE(generate(*one, "ca").has_value());
  const TimePoint begin = loop.now();
  EXPECT_FALSE(settle(*one));
  EXPECT_LT(loop.now() - begin, 1s);
  EXPECT_EQ(custody.count("made"), 1u);
  EXPECT_EQ(one->signing->status().unfinished, 1u);
  EXPECT_TRUE(one->signing->status().last_error.find("ca") != std::string::npos);
  auto next = loaded_host();
  EXPECT_FALSE(settle(*next));
  EXPECT_NE(next->signing->status().last_error, "");
  next.reset();
  one->run_behind();
  wait(9min);
  EXPECT_EQ(files("begun"), 1u);
  EXPECT_GE(custody.count("made"), 5u);
  EXPECT_LE(custody.count("made"), 8u);
  EXPECT_EQ(log.count("is not known; where keys"), 0u);
  wait(2min);
  EXPECT_EQ(files("begun"), 0u);
  EXPECT_EQ(log.count("is not known; where keys"), 1u);
  EXPECT_EQ(one->signing->status().unfinished, 0u);
  EXPECT_TRUE(settle(*one));
}

TEST_F(UnheardTest, one_that_is_seen_only_later_is_deleted_then) {
  auto one = loaded_host();
  one->run_behind();
  lose(When::kBefore);
  EXPECT_FALSE(generate(*one, "ca").has_value());
  wait(20s);
  ASSERT_EQ(files("begun"), 1u);
  ASSERT_EQ(token().size(), 16u);
  const std::string late =
      keys->add(SigningKeyType::kEcP256, "KEY/example.org/ca/" + token(), time.clock.wall());
  wait(2min);
  EXPECT_TRUE(is_deleted(late));
  EXPECT_EQ(files("begun"), 0u);
}

TEST_F(UnheardTest, while_nobody_answers_it_is_not_given_up) {
  auto one = loaded_host();
  one->run_behind();
  lose(When::kAfter);
  custody.fail_always("made", Error(Code::kUnavailable, "out"));
  EXPECT_FALSE(generate(*one, "ca").has_value());
  wait(1h);
  EXPECT_EQ(files("begun"), 1u);
  EXPECT_EQ(keys->orphans().size(), 1u);
  custody.fail_always("made", std::nullopt);
  wait(6min);
  EXPECT_EQ(files("begun"), 0u);
  EXPECT_EQ(keys->orphans(), std::vector<std::string>());
}

TEST_F(UnheardTest, where_keys_must_not_be_listed_it_is_told_once_and_ends_after_ten_minutes) {
  auto one = loaded_host();
  one->run_behind();
  lose(When::kAfter);
  custody.fail_always("made", Error(Code::kDenied, "allow kms:ListKeys"));
  EXPECT_FALSE(generate(*one, "ca").has_value());
  wait(9min);
  EXPECT_EQ(files("begun"), 1u);
  EXPECT_EQ(log.count("allow kms:ListKeys"), 1u);
  wait(2min);
  EXPECT_EQ(files("begun"), 0u);
}

TEST_F(UnheardTest, a_custody_that_leaves_none_is_not_asked) {
  MemoryCustodyOptions about;
  about.kind = "wrapped";
  about.leaves_strays = false;
  MemoryCustody wrapped(loop, keys, about);
  auto one = std::make_unique<SigningHost>(*this, options, std::vector<Custody*>{&wrapped});
  wrapped.fail("create", 1, When::kBefore, Error(Code::kUnavailable, "out"));
  EXPECT_FALSE(generate(*one, "ca").has_value());
  EXPECT_EQ(files("begun"), 0u);
  EXPECT_EQ(wrapped.count("made"), 0u);
  EXPECT_TRUE(settle(*one));
}

}  // namespace
}  // namespace keyfs
