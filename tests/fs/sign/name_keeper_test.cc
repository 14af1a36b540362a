// Names are kept alive, and what others have abandoned is disposed of: only that.
#include "fs/sign/signing_fixture.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;
using testing::SigningHost;
using When = MemoryCustody::When;

class NameKeeperTest : public testing::SigningTest {
 protected:
  NameKeeperTest() {
    options.keeps_alive = true;
    options.disposes = true;
  }
  WallTime ago(Duration time_ago) const {
    return time.clock.wall() - std::chrono::duration_cast<std::chrono::milliseconds>(time_ago);
  }
  // A name of anybody's, which was last written so long ago.
  std::string name(const std::string& full, Duration written) {
    const std::string key = keys->add(SigningKeyType::kEcP256, "KEY/example.org/x", ago(written));
    keys->names[full] = MemoryKeys::Name{key, ago(written)};
    return key;
  }
  std::string nameless(const std::string& description, Duration created) {
    return keys->add(SigningKeyType::kEcP256, description, ago(created));
  }
  bool alive(const std::string& key) const { return !keys->keys.at(key).deletion; }
  Task<void> generate_behind(SigningKeys& signing) {
    GenerateRequest one("new", SigningKeyType::kEcP256, "", GenerateRequest::Mode::kPut,
                        loop.now() + 24h);
    (void)co_await signing.generate(std::move(one));
  }
};

TEST_F(NameKeeperTest, each_name_is_written_again_every_six_hours) {
  make_named("ca");
  make_named("jwt");
  auto one = loaded_host();
  one->run_behind();
  wait(1h);
  EXPECT_EQ(custody.count("keep_alive"), 0u);  // they were just written
  wait(24h * 10);
  EXPECT_GE(custody.count("keep_alive"), 2u * 38);
  EXPECT_LE(custody.count("keep_alive"), 2u * 41);
  EXPECT_GE(keys->names.at("example_org/srv1/ca").refreshed, ago(8h));
}

TEST_F(NameKeeperTest, after_long_absence_names_are_written_at_once) {
  make_named("ca");
  wait(24h * 13);
  auto one = loaded_host();
  one->run_behind();
  wait(2min);
  EXPECT_EQ(custody.count("keep_alive"), 1u);
}

TEST_F(NameKeeperTest, a_name_that_somebody_else_moved_is_told_and_never_moved_back) {
  make_named("ca");
  options.lists = false;
  auto one = loaded_host();
  one->run_behind();
  wait(1h);
  const std::string theirs = make_named("ca");
  wait(7h);
  EXPECT_EQ(custody.key_of("ca"), theirs);
  EXPECT_TRUE(log.has("moved to another key by another process"));
  EXPECT_EQ(one->signing->find("ca")->key, theirs);
  expect_right_key(*one, "ca");
}

TEST_F(NameKeeperTest, only_what_was_abandoned_is_disposed_of) {
  // At the time of the disposal they are about a minute older.
  const std::string young = name("example_org/srv2/young", 24h * 14 - 1h);
  const std::string old = name("example_org/srv2/old", 24h * 14);
  const std::string mine = name("example_org/srv1/mine", 24h * 15);
  const std::string organic = name("example_organic/srv2/old", 24h * 15);
  const std::string ten = name("example_org/srv10/old", 24h * 15);
  const std::string other = name("a_b/srv1/old", 24h * 15);
  const std::string at_47 = nameless("KEY/example.org/a", 47h);
  const std::string at_48 = nameless("KEY/example.org/b", 48h);
  const std::string foreign = nameless("KEY/example.organic/a", 480h);
  const std::string theirs = nameless("something else", 480h);
  const std::string disabled = nameless("KEY/example.org/c", 480h);
  keys->keys.at(disabled).enabled = false;
  auto one = loaded_host();
  one->run_behind();
  wait(10min);
  EXPECT_TRUE(alive(young));
  EXPECT_FALSE(alive(old));
  EXPECT_TRUE(alive(mine));
  EXPECT_TRUE(alive(organic));
  EXPECT_FALSE(alive(ten));  // another server of the same trust domain
  EXPECT_TRUE(alive(other));
  EXPECT_TRUE(alive(at_47));
  EXPECT_FALSE(alive(at_48));
  EXPECT_TRUE(alive(foreign));
  EXPECT_TRUE(alive(theirs));
  EXPECT_TRUE(alive(disabled));
  EXPECT_EQ(one->signing->status().disposed, 3u);
  EXPECT_EQ(custody.key_of("mine"), mine);
  wait(26h);
  EXPECT_FALSE(alive(young));
  EXPECT_FALSE(alive(at_47));
  EXPECT_TRUE(alive(mine));
}

TEST_F(NameKeeperTest, nothing_is_disposed_of_before_the_own_names_were_kept_alive) {
  make_named("ca");
  const std::string stray = nameless("KEY/example.org/a", 480h);
  wait(24h);
  custody.fail_always("keep_alive", Error(Code::kUnavailable, "out"));
  auto one = loaded_host();
  one->run_behind();
  wait(24h * 2);
  EXPECT_TRUE(alive(stray));
  custody.fail_always("keep_alive", std::nullopt);
  wait(1h);
  EXPECT_FALSE(alive(stray));
}

TEST_F(NameKeeperTest, hosts_that_share_their_names_dispose_of_nothing) {
  options.disposes = false;
  options.keeps_alive = false;
  name("example_org/srv2/old", 24h * 15);
  nameless("KEY/example.org/a", 480h);
  auto one = loaded_host();
  one->run_behind();
  wait(24h * 2);
  for (const char* call : {"keep_alive", "dispose", "stale_siblings", "nameless_keys"}) {
    EXPECT_EQ(custody.count(call), 0u) << call;
  }
}

TEST_F(NameKeeperTest, a_key_that_was_begun_is_nobodys_stray) {
  options.nameless_after = 1h;
  options.dispose_every = 2h;
  auto one = loaded_host();
  one->run_behind();
  look_every = 1min;
  block("point");
  one->start(generate_behind(*one->signing));
  until_running("point");
  const std::string begun = keys->orphans().at(0);
  wait(12h);
  EXPECT_GE(custody.count("nameless_keys"), 3u);
  EXPECT_TRUE(alive(begun));
  open();
  wait(2min);
  EXPECT_EQ(custody.key_of("new"), begun);
}

TEST_F(NameKeeperTest, keys_that_are_nobodys_concern_are_not_asked_about_again) {
  nameless("something else", 480h);
  auto one = loaded_host();
  one->run_behind();
  wait(10min);
  std::ifstream known(options.directory + "/known");
  std::string line;
  EXPECT_TRUE(std::getline(known, line));
  EXPECT_EQ(line, keys->orphans().at(0));
}

}  // namespace
}  // namespace keyfs
