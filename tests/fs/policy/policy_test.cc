#include "fs/policy/policy.h"

#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <string>

namespace keyfs {
namespace {

class Names final : public NameService {
 public:
  Result<std::optional<uid_t>> uid_of(const std::string& user) override { return look(user); }
  Result<std::optional<gid_t>> gid_of(const std::string& group) override { return look(group); }

 private:
  Result<std::optional<uid_t>> look(const std::string& name) {
    static const std::map<std::string, uint32_t> known = {
        {"app", 1000}, {"ops", 1001}, {"staff", 2000}, {"root", 0}};
    if (name == "ldap") return fail(Code::kUnavailable, "connection refused");
    const auto found = known.find(name);
    if (found == known.end()) return std::optional<uint32_t>();
    return std::optional<uint32_t>(found->second);
  }
};

Result<std::unique_ptr<const Policy>> load(const std::string& text) {
  auto file = ConfigFile::parse(text, "k.ini");
  if (!file) return fail(file.error());
  Names names;
  return Policy::load(*file, names);
}

std::string mistake(const std::string& text) {
  auto policy = load(text);
  return policy ? "no mistake" : policy.error().message;
}

// Counts how often the groups are requested; without any they are unknown.
class CountedGroups final : public SupplementaryGroups {
 public:
  CountedGroups() = default;
  explicit CountedGroups(std::vector<gid_t> groups) : groups_(std::move(groups)) {}
  std::optional<std::span<const gid_t>> get() override {
    ++asked;
    if (!groups_) return std::nullopt;
    return std::span<const gid_t>(*groups_);
  }
  int asked = 0;

 private:
  std::optional<std::vector<gid_t>> groups_;
};

constexpr const char* kText =
    "[keys payments-secret]\n"  // 1
    "[keys payments-*]\n"       // 2
    "read = user:app, gid:2000\n"
    "create = user:app\n"
    "admin = uid:1001\n"
    "[keys public-*]\n"  // 6
    "read = any\n"
    "[keys team-[a-c]?]\n"  // 8
    "read = group:staff, user:ops\n"
    "create = any\n"
    "[admin]\n"  // 11
    "read = user:ops\n";

struct PolicyTest : ::testing::Test {
  std::unique_ptr<const Policy> policy = std::move(*load(kText));
  Decision decide(std::string_view id, uid_t uid, gid_t gid, std::vector<gid_t> more = {}) {
    KnownGroups groups(std::move(more));
    return policy->decide(id, {uid, gid}, groups);
  }
};

TEST_F(PolicyTest, an_id_that_no_section_matches_is_hidden_also_from_root) {
  EXPECT_TRUE(decide("orders", 1000, 1000).hidden());
  EXPECT_TRUE(decide("orders", 0, 0).hidden());
  EXPECT_FALSE(decide("orders", 0, 0).read);
}

TEST_F(PolicyTest, the_first_section_that_matches_decides) {
  EXPECT_TRUE(decide("payments-secret", 1000, 1000).denied());
  EXPECT_TRUE(decide("payments-secret2", 1000, 1000).read);
  EXPECT_EQ(decide("payments-secret", 1000, 1000).section->line, 1);
}

TEST_F(PolicyTest, root_has_no_privilege_of_its_own) {
  EXPECT_TRUE(decide("payments-eu", 0, 0).denied());
  EXPECT_TRUE(decide("public-a", 0, 0).read);
}

TEST_F(PolicyTest, create_and_admin_are_apart_from_read) {
  const Decision app = decide("payments-eu", 1000, 1000);
  EXPECT_TRUE(app.read && app.create && !app.admin);
  const Decision member = decide("payments-eu", 5, 2000);
  EXPECT_TRUE(member.read && !member.create && !member.admin);
  const Decision admin = decide("payments-eu", 1001, 1001);
  EXPECT_TRUE(!admin.read && !admin.create && admin.admin);
}

TEST_F(PolicyTest, nobody_creates_what_he_may_not_read) {
  EXPECT_FALSE(decide("team-a1", 7, 7).create);
  EXPECT_TRUE(decide("team-a1", 1001, 7).create);
  KnownGroups groups;
  EXPECT_FALSE(Policy::may_create(policy->section_for("team-a1"), {7, 7}, groups));
}

TEST_F(PolicyTest, supplementary_groups_count) {
  EXPECT_TRUE(decide("team-b2", 7, 7, {9, 2000}).read);
  EXPECT_FALSE(decide("team-b2", 7, 7, {9, 2001}).read);
}

TEST_F(PolicyTest, groups_are_asked_for_only_when_the_decision_depends_on_them_and_once) {
  CountedGroups groups({2000});
  EXPECT_TRUE(Policy::may_read(policy->section_for("payments-x"), {1000, 1}, groups));
  EXPECT_TRUE(Policy::may_read(policy->section_for("payments-x"), {1, 2000}, groups));
  EXPECT_TRUE(Policy::may_read(policy->section_for("public-x"), {1, 1}, groups));
  EXPECT_FALSE(Policy::may_read(policy->section_for("hidden"), {1, 1}, groups));
  EXPECT_EQ(groups.asked, 0);
  EXPECT_TRUE(policy->decide("payments-x", {1, 1}, groups).read);
  EXPECT_EQ(groups.asked, 1);
}

TEST_F(PolicyTest, groups_that_cannot_be_learned_permit_nothing) {
  CountedGroups unknown;
  const Decision decision = policy->decide("team-a1", {7, 7}, unknown);
  EXPECT_TRUE(decision.denied());
  EXPECT_TRUE(decision.groups_unknown);
}

TEST_F(PolicyTest, only_those_whom_the_admin_section_names_see_the_status) {
  KnownGroups groups;
  EXPECT_TRUE(policy->is_admin({1001, 1}, groups));
  EXPECT_FALSE(policy->is_admin({0, 0}, groups));
  EXPECT_FALSE((*load("[keys *]\nread = any\n"))->is_admin({0, 0}, groups));
}

TEST_F(PolicyTest, ls_shows_the_first_readers_and_no_more_than_0440) {
  const PolicySection& payments = policy->section_for("payments-eu");
  EXPECT_EQ(payments.owner, 1000u);
  EXPECT_EQ(payments.group, 2000u);
  EXPECT_EQ(payments.mode, 0440u);
  const PolicySection& open = policy->section_for("public-a");
  EXPECT_EQ(open.owner, 0u);
  EXPECT_EQ(open.mode, 0400u);
}

TEST(PolicyTimes, a_section_says_when_its_keys_are_rotated_and_old_versions_retired) {
  using namespace std::chrono_literals;
  const auto policy = load("[keys a]\nrotate_every = 90d\nretire_after = 30d\n[keys *]\n");
  ASSERT_TRUE(policy) << policy.error().message;
  const PolicySection& section = (*policy)->section_for("a");
  EXPECT_EQ(section.rotate_every, 90 * 24h);
  EXPECT_EQ(section.retire_after, 30 * 24h);
  EXPECT_FALSE((*policy)->section_for("b").rotate_every);
  EXPECT_FALSE((*policy)->section_for("b").retire_after);
  KnownGroups none;
  const std::string text = (*policy)->explain("a", {1, 1}, none);
  EXPECT_NE(text.find("rotated every 90d "), std::string::npos) << text;
  EXPECT_NE(text.find("are retired 30d after "), std::string::npos) << text;
  EXPECT_NE(text.find("(retire_after)"), std::string::npos) << text;
}

TEST(PolicyTimes, a_time_that_makes_no_sense_is_a_mistake) {
  for (const char* wrong : {"rotate_every = 0s", "rotate_every = 999ms", "rotate_every = 90",
                            "rotate_every = never", "retire_after = 3651d", "retire_after = -1d"}) {
    const std::string said = mistake("[keys a]\n" + std::string(wrong) + "\n");
    EXPECT_TRUE(said.starts_with("k.ini:2: [keys a] r")) << said;
  }
}

TEST(PolicyTimes, a_reload_takes_over_a_time_that_was_changed) {
  const auto quarter = load("[keys a]\nrotate_every = 90d\n");
  const auto month = load("[keys a]\nrotate_every = 30d\n");
  const auto retired = load("[keys a]\nretire_after = 90d\n");
  const auto never = load("[keys a]\n");
  ASSERT_TRUE(quarter && month && retired && never);
  EXPECT_FALSE((*quarter)->same_as(**month));
  EXPECT_FALSE((*quarter)->same_as(**never));
  EXPECT_FALSE((*quarter)->same_as(**retired));
}

TEST_F(PolicyTest, explain_names_the_line_that_decides) {
  KnownGroups groups({2000});
  const std::string text = policy->explain("payments-eu", {1234, 1234}, groups);
  EXPECT_NE(text.find("[keys payments-*] decides (k.ini:2)"), text.npos) << text;
  EXPECT_NE(text.find("read: yes, by line 3"), text.npos) << text;
  EXPECT_NE(text.find("create: no, not in line 4"), text.npos) << text;
  EXPECT_NE(policy->explain("zzz", {0, 0}, groups).find("no [keys ...] section matches"),
            std::string::npos);
}

TEST_F(PolicyTest, explain_says_that_a_creator_lacks_the_right_to_read) {
  KnownGroups none;
  const std::string text = policy->explain("team-a1", {7, 7}, none);
  EXPECT_NE(text.find("read: no, not in line 9"), text.npos) << text;
  EXPECT_NE(text.find("create: no, though in line 10 (create = any): only who may read"), text.npos)
      << text;
}

TEST_F(PolicyTest, a_reload_that_changes_nothing_keeps_the_policy) {
  PolicyHolder holder(std::move(policy));
  const Policy* before = &holder.current();
  const PolicySection* section = &before->section_for("public-a");
  EXPECT_FALSE(holder.replace(std::move(*load(kText))));
  EXPECT_EQ(&holder.current(), before);
  EXPECT_TRUE(holder.replace(std::move(*load("[keys *]\nread = any\n"))));
  EXPECT_NE(&holder.current(), before);
  EXPECT_EQ(section->title, "[keys public-*]");  // still valid for holders
}

TEST(PolicyMistakes, are_told_with_their_line) {
  EXPECT_EQ(mistake("[keys a]\nread = user:nobody-here\n"),
            "k.ini:2: [keys a] read: there is no user \"nobody-here\"");
  EXPECT_EQ(mistake("[keys a]\nread = group:x\n"),
            "k.ini:2: [keys a] read: there is no group \"x\"");
  EXPECT_EQ(mistake("[keys a]\nread = user:ldap\n"),
            "k.ini:2: [keys a] read: could not look up user \"ldap\": connection refused");
  EXPECT_EQ(mistake("[keys a]\ncreate = any\n"),
            "k.ini:2: [keys a] create: permits creating keys that nobody may read: add a read "
            "list");
  EXPECT_EQ(mistake("[keys a]\nread = user:ops\ncreate = user:app\n"), "no mistake")
      << "taking somebody out of read alone takes effect";
  EXPECT_EQ(
      mistake("[keys a]\nread = app\n"),
      "k.ini:2: [keys a] read: \"app\" is neither user:NAME, uid:N, group:NAME, gid:N, nor any");
  EXPECT_EQ(mistake("[keys a]\nread = uid:4294967295\n"),
            "k.ini:2: [keys a] read: \"uid:4294967295\" needs a number from 0 to 4294967294");
  EXPECT_EQ(mistake("[keys a]\nwrite = any\n").substr(0, 35),
            "k.ini:2: [keys a] write: unknown ke");
  EXPECT_EQ(mistake("[keys a/b]\nread = any\n").substr(0, 32), "k.ini:1: [keys a/b] the pattern ");
  EXPECT_EQ(mistake("[keys [z-a]]\nread = any\n").substr(0, 30), "k.ini:1: [keys [z-a]] a revers");
}

TEST(SystemNames, know_root_and_not_everybody) {
  SystemNames names;
  EXPECT_EQ(names.uid_of("root")->value(), 0u);
  EXPECT_EQ(names.gid_of("root")->value(), 0u);
  EXPECT_FALSE(names.uid_of("surely-nobody-is-called-so")->has_value());
}

TEST(Glob, matches_the_whole_text) {
  const auto matches = [](std::string_view pattern, std::string_view text) {
    auto glob = Glob::parse(pattern);
    return glob && glob->matches(text);
  };
  EXPECT_TRUE(matches("abc", "abc"));
  EXPECT_FALSE(matches("abc", "abcd"));
  EXPECT_FALSE(matches("abc", "ab"));
  EXPECT_TRUE(matches("*", "anything"));
  EXPECT_TRUE(matches("a*", "a"));
  EXPECT_TRUE(matches("*a*b*c", "xxaxxbxxbxxc"));
  EXPECT_FALSE(matches("*a*b*c", "xxaxxcxxb"));
  EXPECT_TRUE(matches("a?c", "abc"));
  EXPECT_FALSE(matches("a?c", "ac"));
  EXPECT_TRUE(matches("a**c", "abbc"));
  EXPECT_TRUE(matches("k[0-9]", "k5"));
  EXPECT_FALSE(matches("k[!0-9]", "k5"));
  EXPECT_TRUE(matches("k[a-]", "k-"));
  EXPECT_TRUE(matches("k[!0-9]x", "kzx"));
}

TEST(Glob, bad_brackets_are_mistakes) {
  for (const char* pattern : {"", "a[", "[]", "[!]", "[z-a]"}) {
    EXPECT_FALSE(Glob::parse(pattern)) << pattern;
  }
}

TEST(NeverCreate, names_that_tools_probe_are_not_made_by_opening) {
  const auto policy = *load("[keys *]\nread = any\ncreate = any\n");
  for (const char* name :
       {"HEAD", "Makefile", "package.json", "package-lock.json", "npm-shrinkwrap.json", "yarn.lock",
        "rust-toolchain", "rust-toolchain.toml", "pytest.toml", "pom.xml", "CMakeCache.txt",
        "cscope.files", "tags", "libc.so.6", "libfoo.so", "libfoo.so.1.2.3", "desktop.ini"}) {
    EXPECT_TRUE(policy->never_creates(name)) << name;
    KnownGroups groups;
    EXPECT_NE(policy->explain(name, {1, 1}, groups).find("create: no, a name that tools probe"),
              std::string::npos)
        << name;
  }
  for (const char* name : {"orders", "so", "libso", "app.sock", "HEAD-1", "soo.so-1"}) {
    EXPECT_FALSE(policy->never_creates(name)) << name;
  }
}

TEST(NeverCreate, the_configuration_says_which) {
  const auto policy =
      *load("[keyfs]\nnever_create = HEAD, tmp-*\n  *.bak\n[keys *]\nread = any\ncreate = any\n");
  EXPECT_TRUE(policy->never_creates("HEAD"));
  EXPECT_TRUE(policy->never_creates("tmp-1"));
  EXPECT_TRUE(policy->never_creates("a.bak"));
  EXPECT_FALSE(policy->never_creates("Makefile"));
  const auto none = *load("[keyfs]\nnever_create = none\n[keys *]\nread = any\n");
  EXPECT_FALSE(none->never_creates("HEAD"));
  EXPECT_FALSE(none->same_as(**load("[keyfs]\nnever_create = HEAD\n[keys *]\nread = any\n")));
  EXPECT_EQ(mistake("[keyfs]\nnever_create = a b[\n"),
            "k.ini:2: [keyfs] never_create: \"b[\": \"[\" without \"]\" in the pattern");
}

TEST(Glob, many_stars_cost_no_more_than_length_times_length) {
  std::string pattern;
  for (int i = 0; i < 120; ++i) pattern += "*a";
  pattern += "b";
  auto glob = Glob::parse(pattern);
  // With backtracking to every star this would practically never end.
  EXPECT_FALSE(glob->matches(std::string(255, 'a')));
}

}  // namespace
}  // namespace keyfs
