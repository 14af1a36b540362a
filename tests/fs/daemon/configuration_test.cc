#include "fs/daemon/configuration.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "fs/cli/caller.h"

namespace keyfs {
namespace {

namespace fs = std::filesystem;

class EmbeddedTest : public ::testing::Test {
 protected:
  EmbeddedTest() {
    std::string path = fs::temp_directory_path() / "keyfs-cli-XXXXXX";
    folder_ = ::mkdtemp(path.data());
    mask_ = ::umask(077);
  }
  ~EmbeddedTest() override {
    ::umask(mask_);
    std::error_code error;
    fs::remove_all(folder_, error);
  }

  Configuration load() {
    ConfigurationSource common;
    common.embedded = dir();
    auto loaded = load_configuration(common);
    EXPECT_TRUE(loaded) << loaded.error().message;
    return std::move(*loaded);
  }
  Result<void> prepare() { return prepare_embedded(load(), arena_, random_); }
  std::string dir() const { return folder_ + "/keys"; }
  std::string master(char letter) const { return dir() + "/masters/local-" + letter + ".key"; }
  static mode_t mode_of(const std::string& path) {
    struct stat found {};
    return ::stat(path.c_str(), &found) == 0 ? found.st_mode & 07777 : 0;
  }
  static std::string text_of(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  std::string folder_;
  mode_t mask_ = 0;
  SecretArena arena_;
  OsRandom random_;
};

TEST_F(EmbeddedTest, first_use_makes_a_closed_directory_and_three_masters) {
  ASSERT_TRUE(prepare());
  EXPECT_EQ(mode_of(dir()), 0700u);
  EXPECT_EQ(mode_of(dir() + "/masters"), 0700u);
  for (const char letter : {'a', 'b', 'c'}) {
    EXPECT_EQ(mode_of(master(letter)), 0600u);
    EXPECT_EQ(text_of(master(letter)).size(), 32u);
  }
  EXPECT_NE(text_of(master('a')), text_of(master('b')));
}

TEST_F(EmbeddedTest, a_second_use_leaves_the_masters_as_they_are) {
  ASSERT_TRUE(prepare());
  const std::string before = text_of(master('a'));
  ASSERT_TRUE(prepare());
  EXPECT_EQ(text_of(master('a')), before);
}

TEST_F(EmbeddedTest, an_interrupted_first_use_is_finished) {
  ASSERT_TRUE(prepare());
  fs::remove(master('b'));
  ASSERT_TRUE(prepare());
  EXPECT_EQ(text_of(master('b')).size(), 32u);
}

TEST_F(EmbeddedTest, a_master_that_was_lost_is_not_replaced) {
  ASSERT_TRUE(prepare());
  std::ofstream(dir() + "/keys.db") << "a store";
  fs::remove(master('b'));
  ASSERT_TRUE(prepare());
  EXPECT_FALSE(fs::exists(master('b')));
}

TEST_F(EmbeddedTest, an_empty_directory_is_closed_to_others) {
  fs::create_directory(dir());
  ::chmod(dir().c_str(), 0755);
  ASSERT_TRUE(prepare());
  EXPECT_EQ(mode_of(dir()), 0700u);
}

TEST_F(EmbeddedTest, a_directory_that_others_can_write_to_is_refused) {
  fs::create_directory(dir());
  std::ofstream(dir() + "/something") << "x";
  ::chmod(dir().c_str(), 0777);
  const auto prepared = prepare();
  ASSERT_FALSE(prepared);
  EXPECT_EQ(prepared.error().code, Code::kInvalid);
  EXPECT_NE(prepared.error().message.find("chmod go-w"), std::string::npos)
      << prepared.error().message;
  EXPECT_FALSE(fs::exists(dir() + "/masters"));
}

TEST_F(EmbeddedTest, commands_that_only_look_make_nothing) {
  for (const bool there : {false, true}) {
    if (there) fs::create_directory(dir());
    const auto checked = check_embedded(load());
    ASSERT_FALSE(checked);
    EXPECT_NE(checked.error().message.find("keyfs mount --embedded"), std::string::npos);
    EXPECT_EQ(fs::exists(dir()), there);
    EXPECT_FALSE(fs::exists(dir() + "/keys.db"));
  }
}

TEST_F(EmbeddedTest, no_masters_are_made_for_a_store_that_was_lost) {
  ASSERT_TRUE(prepare());
  std::ofstream(dir() + "/state/store-id") << "sqlite 0123456789abcdef0123456789abcdef\n";
  fs::remove_all(dir() + "/masters");
  ASSERT_TRUE(prepare());
  EXPECT_FALSE(fs::exists(dir() + "/masters"));
}

TEST_F(EmbeddedTest, whoever_mounts_may_do_everything_and_nobody_else_anything) {
  const Configuration configuration = load();
  const User me = invoking_user();
  const User other{{me.caller.uid + 1, me.caller.gid + 1}, {}, "other"};
  const auto mine = permission_for(*configuration.policy, "orders", me);
  EXPECT_TRUE(mine.see && mine.create && mine.administer);
  const auto theirs = permission_for(*configuration.policy, "orders", other);
  EXPECT_FALSE(theirs.see || theirs.create || theirs.administer);
}

TEST_F(EmbeddedTest, the_text_in_force_reads_back_as_the_same_configuration) {
  const Configuration configuration = load();
  const std::string text = effective_text(configuration);
  std::ofstream(folder_ + "/keyfs.ini") << text;
  ConfigurationSource common;
  common.config = folder_ + "/keyfs.ini";
  auto again = load_configuration(common);
  ASSERT_TRUE(again) << again.error().message << "\n" << text;
  EXPECT_EQ(effective_text(*again), text);
  EXPECT_NE(text.find("fresh_for = 5m\n"), std::string::npos) << text;
  EXPECT_NE(text.find("serve_stale_for = 1d\n"), std::string::npos) << text;
}

TEST_F(EmbeddedTest, what_is_said_of_rotation_is_read_shown_and_needs_a_restart) {
  const auto read = [this](const std::string& rotation) {
    const std::string path = folder_ + "/keyfs.ini";
    std::ofstream(path) << "[store]\ntype = sqlite\npath = /a\n" << rotation;
    ConfigurationSource source;
    source.config = path;
    return load_configuration(source);
  };
  const auto without = read("");
  ASSERT_TRUE(without) << without.error().message;
  EXPECT_NE(effective_text(*without).find("\n[rotation]\nrun = yes\nsettle = 30s\n"),
            std::string::npos)
      << effective_text(*without);
  const auto written = read("[rotation]\nsettle = 30000ms\n");
  ASSERT_TRUE(written) << written.error().message;
  EXPECT_TRUE(needs_restart(*without, *written).empty());
  const auto changed = read("[rotation]\nsettle = 5s\nwebhook_file = /etc/keyfs/webhook\n");
  ASSERT_TRUE(changed) << changed.error().message;
  EXPECT_EQ(needs_restart(*without, *changed),
            (std::vector<std::string>{"[rotation] settle", "[rotation] webhook_file"}));
  const auto wrong = read("[rotation]\nsettle = 5\n");
  ASSERT_FALSE(wrong);
  EXPECT_NE(wrong.error().message.find("keyfs.ini:5: [rotation] settle: "), std::string::npos)
      << wrong.error().message;
  EXPECT_FALSE(read("[rotation daily]\n"));
}

TEST(FindUser, takes_names_and_numbers) {
  const auto root = find_user("root");
  ASSERT_TRUE(root);
  EXPECT_EQ(root->caller.uid, 0u);
  EXPECT_EQ(root->text(), "root (uid 0)");
  const auto number = find_user("3999999999");
  ASSERT_TRUE(number);
  EXPECT_EQ(number->caller.uid, 3999999999u);
  EXPECT_EQ(number->text(), "uid 3999999999");
  EXPECT_FALSE(find_user("no such user"));
  EXPECT_FALSE(find_user(""));
  EXPECT_FALSE(find_user("-1"));
}

TEST_F(EmbeddedTest, what_a_reload_does_not_take_over_is_named) {
  const auto read = [this](const std::string& keyfs, const std::string& rest) {
    const std::string path = folder_ + "/keyfs.ini";
    std::ofstream(path) << "[keyfs]\n" << keyfs << "[store]\ntype = sqlite\n" << rest;
    ConfigurationSource source;
    source.config = path;
    auto loaded = load_configuration(source);
    EXPECT_TRUE(loaded) << loaded.error().message;
    return std::move(*loaded);
  };
  const auto before = read("fresh_for = 1m\n", "path = /a\n[keys *]\nread = uid:1\n");
  EXPECT_TRUE(needs_restart(before, before).empty());
  const auto policy = read("fresh_for = 60s\n", "path = /a\n[keys *]\nread = uid:2\n");
  EXPECT_TRUE(needs_restart(before, policy).empty());
  const auto consumer = read("fresh_for = 60s\n",
                             "path = /a\n[keys *]\nread = uid:1\n[consumer web]\n"
                             "match = uid:1\nrefresh = signal:HUP\n");
  EXPECT_TRUE(needs_restart(before, consumer).empty());
  const std::string keys = "path = /a\n[keys *]\nread = uid:1\n";
  const auto first = read("fresh_for = 1m\n", (keys + "[sign ca]\nuse = uid:1\n").c_str());
  EXPECT_EQ(needs_restart(before, first), (std::vector<std::string>{"[sign ...]"}));
  const auto other = read("fresh_for = 1m\n", (keys + "[sign *]\nsee = uid:2\n").c_str());
  EXPECT_TRUE(needs_restart(first, other).empty());
  const auto signing = read("fresh_for = 1m\n", (keys + "[signing]\ngrace = 2h\n").c_str());
  EXPECT_EQ(needs_restart(before, signing), (std::vector<std::string>{"[signing] grace"}));
  const auto all = read("log_level = debug\n", "path = /b\nkeep = 1\n[keys *]\nread = uid:1\n");
  EXPECT_EQ(needs_restart(before, all),
            (std::vector<std::string>{"fresh_for", "log_level", "[store] path", "[store] keep"}));
  EXPECT_EQ(needs_restart(all, before),
            (std::vector<std::string>{"fresh_for", "log_level", "[store] path", "[store] keep"}));
}

TEST_F(EmbeddedTest, a_configuration_that_others_can_write_or_own_is_refused) {
  const std::string path = folder_ + "/keyfs.ini";
  std::ofstream(path) << "[store]\ntype = sqlite\n";
  ConfigurationSource source;
  source.config = path;
  ASSERT_EQ(::chmod(path.c_str(), 0644), 0);
  EXPECT_TRUE(load_configuration(source));
  ASSERT_EQ(::chmod(path.c_str(), 0664), 0);
  const auto open = load_configuration(source);
  ASSERT_FALSE(open);
  EXPECT_EQ(open.error().code, Code::kInvalid);
  EXPECT_NE(open.error().message.find("others can write it"), std::string::npos);
  ASSERT_EQ(::chmod(path.c_str(), 0600), 0);
  if (::chown(path.c_str(), 12345, 0) != 0) GTEST_SKIP() << "needs root";
  const auto foreign = load_configuration(source);
  ASSERT_FALSE(foreign);
  EXPECT_NE(foreign.error().message.find("is owned by uid 12345"), std::string::npos);
}

}  // namespace
}  // namespace keyfs
