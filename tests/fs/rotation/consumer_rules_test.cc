#include "fs/rotation/consumer_rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <fstream>
#include <iterator>
#include <string>

namespace keyfs {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

Result<ConsumerRules> load(std::string_view text) {
  SystemNames names;
  const auto file = ConfigFile::parse(text, "keyfs.ini");
  if (!file) return fail(file.error());
  return ConsumerRules::load(*file, names);
}

std::string mistake(std::string_view text) {
  const auto rules = load(text);
  return rules ? "none" : rules.error().message;
}

ConsumerRule only(std::string_view text) {
  const auto rules = load(text);
  EXPECT_TRUE(rules) << (rules ? "" : rules.error().message);
  return rules && !rules->all().empty() ? rules->all().front() : ConsumerRule();
}

std::string section(std::string_view refresh) {
  return "[consumer a]\nmatch = uid:7\nrefresh = " + std::string(refresh) + "\n";
}

TEST(ConsumerRules, a_section_is_read_as_it_is_written) {
  const ConsumerRule rule = only(
      "[consumer nginx]\nmatch = unit:nginx.service, exe:/usr/sbin/*, user:root\nkeys = tls-*, ca\n"
      "refresh = signal:HUP\nconfirm = exit\ntimeout = 5s\n");
  EXPECT_EQ(rule.name, "nginx");
  EXPECT_EQ(rule.refresh.kind, RefreshKind::kSignal);
  EXPECT_EQ(rule.refresh.signal, SIGHUP);
  EXPECT_EQ(rule.confirm, Confirm::kExit);
  EXPECT_EQ(rule.timeout, 5s);
  EXPECT_TRUE(rule.covers("tls-a"));
  EXPECT_TRUE(rule.covers("ca"));
  EXPECT_FALSE(rule.covers("orders"));
  EXPECT_TRUE(rule.fits({"nginx.service", "/system.slice/nginx.service", "/usr/sbin/nginx", 0}));
}

TEST(ConsumerRules, without_confirm_the_opening_is_waited_for_and_without_keys_all_count) {
  const ConsumerRule rule = only(section("watch"));
  EXPECT_EQ(rule.confirm, Confirm::kOpen);
  EXPECT_EQ(rule.timeout, 30s);
  EXPECT_TRUE(rule.covers("anything"));
}

TEST(ConsumerRules, all_that_is_named_must_fit) {
  const ConsumerRule rule =
      only("[consumer a]\nmatch = unit:app@*.service, exe:/opt/app, uid:7\nrefresh = watch\n");
  EXPECT_TRUE(rule.fits({"app@1.service", "/x", "/opt/app", 7}));
  EXPECT_FALSE(rule.fits({"app@1.service", "/x", "/opt/app", 8}));
  EXPECT_FALSE(rule.fits({"app@1.service", "/x", "/opt/other", 7}));
  EXPECT_FALSE(rule.fits({"", "/x", "/opt/app", 7}));
}

TEST(ConsumerRules, what_is_unknown_of_a_program_fits_no_glob) {
  const ConsumerRule rule = only("[consumer a]\nmatch = exe:*\nrefresh = watch\n");
  EXPECT_FALSE(rule.fits({"", "", "", 0}));
}

TEST(ConsumerRules, a_section_is_another_once_it_or_one_before_it_tells_others) {
  const auto print_of = [](const std::string& text) {
    const auto rules = load(text);
    const ConsumerRule* rule = rules ? rules->find("b") : nullptr;
    EXPECT_NE(rule, nullptr) << text;
    return rule != nullptr ? rule->print : std::string();
  };
  const std::string first = "[consumer a]\nmatch = uid:1\nrefresh = watch\n";
  const std::string second = "[consumer b]\nmatch = uid:2, exe:/x\nrefresh = ";
  const std::string print = print_of(first + second + "watch\n");
  EXPECT_EQ(print.size(), 16u);
  EXPECT_EQ(print_of(first + second + "watch\n"), print);
  // How they are told is nobody's loss.
  EXPECT_EQ(print_of(first + second + "signal:HUP\ntimeout = 5s\nconfirm = exit\n"), print);
  EXPECT_NE(print_of(first + second + "watch\nkeys = a\n"), print);
  EXPECT_NE(print_of(first + "[consumer b]\nmatch = exe:/x\nrefresh = watch\n"), print);
  EXPECT_NE(print_of("[consumer a]\nmatch = uid:2\nrefresh = watch\n" + second + "watch\n"), print);
  EXPECT_NE(print_of(second + "watch\n"), print);
  EXPECT_EQ(print_of(first + second + "watch\n[consumer c]\nmatch = uid:2\nrefresh = watch\n"),
            print);  // those that follow take nobody away
}

TEST(ConsumerRules, the_first_section_that_fits_program_and_key_decides) {
  const auto rules = load(
      "[consumer tls]\nmatch = uid:7\nkeys = tls-*\nrefresh = watch\n"
      "[consumer rest]\nmatch = uid:7\nrefresh = watch\n");
  ASSERT_TRUE(rules);
  const Who who{"", "", "/bin/app", 7};
  EXPECT_EQ(rules->rule_for(who, "tls-a")->name, "tls");
  EXPECT_EQ(rules->rule_for(who, "orders")->name, "rest");
  EXPECT_EQ(rules->rule_for({"", "", "/bin/app", 8}, "orders"), nullptr);
}

TEST(ConsumerRules, each_kind_of_refresh) {
  EXPECT_EQ(only(section("signal:SIGUSR1")).refresh.signal, SIGUSR1);
  EXPECT_EQ(only(section("signal:RTMIN+2")).refresh.signal, SIGRTMIN + 2);
  EXPECT_EQ(only(section("exec:/opt/a b/reload")).refresh.target, "/opt/a b/reload");
  const Refresh unit = only(section("systemd:restart app@1.service")).refresh;
  EXPECT_EQ(unit.verb + "|" + unit.target, "restart|app@1.service");
  const Refresh http = only(section("http:POST http://127.0.0.1:81/reload?x=1")).refresh;
  EXPECT_EQ(http.verb + "|" + http.target, "POST|http://127.0.0.1:81/reload?x=1");
  EXPECT_EQ(only(section("watch")).refresh.kind, RefreshKind::kWatch);
}

TEST(ConsumerRules, a_refresh_that_cannot_work_is_refused_with_its_line) {
  for (const char* refresh :
       {"signal:KILL", "signal:STOP", "signal:", "signal:RTMIN+31", "exec:reload",
        "exec:", "systemd:stop a.service", "systemd:reload", "systemd:reload nginx",
        "systemd:reload -H.host", "systemd:reload a.service b.service", "http:DELETE http://h/",
        "http:POST ftp://h/", "http:POST http://", "http:POST http://u:p@h/", "http://h/", "poll",
        "watch:it"}) {
    EXPECT_THAT(mistake(section(refresh)), HasSubstr("keyfs.ini:3: [consumer a] refresh: "))
        << refresh;
  }
  EXPECT_THAT(mistake("[consumer a]\nmatch = uid:7\n"), HasSubstr("refresh"));
}

TEST(ConsumerRules, a_password_in_a_refused_url_is_not_told) {
  for (const char* refresh :
       {"http:POST https://hook:t0psecret@h/reload", "http:POST http://t0psecret@h/",
        "http:POST http://hook:t0psecret@t0psecret@h/", "http:hook:t0psecret@h/",
        "http:POST hook:t0psecret@h/", "http:http://hook:t0psecret@h/",
        "http:DELETE http://hook:t0psecret@h/", "https:POST https://hook:t0psecret@h/",
        "https://hook:t0psecret@h/", "exec:https://hook:t0psecret@h/"}) {
    const std::string text = mistake(section(refresh));
    EXPECT_THAT(text, HasSubstr("keyfs.ini:3: [consumer a] refresh: ")) << refresh;
    EXPECT_THAT(text, HasSubstr("...@h/")) << refresh;
    EXPECT_EQ(text.find("t0psecret"), text.npos) << text;
  }
  EXPECT_THAT(mistake(section("systemd:stop app@1.service")), HasSubstr("app@1.service"));
}

TEST(ConsumerRules, other_mistakes_are_told_with_their_line) {
  EXPECT_THAT(mistake("[consumer a]\nrefresh = watch\n"), HasSubstr("match"));
  EXPECT_THAT(mistake("[consumer a]\nmatch = pid:7\nrefresh = watch\n"), HasSubstr(":2:"));
  EXPECT_THAT(mistake("[consumer a]\nmatch = uid:7, user:root\nrefresh = watch\n"),
              HasSubstr("only one"));
  EXPECT_THAT(mistake("[consumer a]\nmatch = user:no-such-user-here\nrefresh = watch\n"),
              HasSubstr("there is no user"));
  EXPECT_THAT(mistake("[consumer a]\nmatch = exe:[\nrefresh = watch\n"), HasSubstr(":2:"));
  EXPECT_THAT(mistake(section("watch") + "confirm = exit\n"), HasSubstr("there is none"));
  EXPECT_THAT(mistake(section("watch") + "timeout = 0s\n"), HasSubstr("timeout"));
  EXPECT_THAT(mistake(section("watch") + "confrim = open\n"), HasSubstr("did you mean confirm"));
  EXPECT_THAT(mistake("[consumer a b]\nmatch = uid:7\nrefresh = watch\n"), HasSubstr("name"));
}

TEST(ConsumerRules, the_manual_tells_of_every_word_and_of_the_bounds) {
  std::ifstream file(KEYFS_INI_MANUAL);
  std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const size_t begin = text.find("\n.Ss [consumer NAME]");
  ASSERT_NE(begin, text.npos);
  text = text.substr(begin, text.find("\n.Ss [keys GLOB]") - begin);
  for (const char* word :
       {"It Cm match", "It Cm keys", "It Cm refresh", "It Cm confirm No = open",
        "Cm unit:", "Cm cgroup:", "Cm exe:", "Cm user:", "Cm uid:", "Cm signal:", "Cm exec:",
        "Cm systemd:reload", "Cm systemd:restart", "Cm http:POST", "It Cm watch", "Cm exit :",
        "Cm none :", "It Cm timeout No = 30s\nFor hook and confirmation together, 1s to 1h."}) {
    EXPECT_THAT(text, HasSubstr(word));
  }
  EXPECT_EQ(mistake(section("watch") + "timeout = 1s\n"), "none");
  EXPECT_EQ(mistake(section("watch") + "timeout = 1h\n"), "none");
  EXPECT_NE(mistake(section("watch") + "timeout = 999ms\n"), "none");
  EXPECT_NE(mistake(section("watch") + "timeout = 3601s\n"), "none");
}

TEST(ConsumerRules, a_unit_is_of_the_systems_manager_and_nobody_can_pass_for_another) {
  EXPECT_EQ(unit_of("/system.slice/nginx.service"), "nginx.service");
  EXPECT_EQ(unit_of("/system.slice/system-app.slice/app@1.service/worker"), "app@1.service");
  EXPECT_EQ(unit_of("/user.slice/user-7.slice/user@7.service/app.slice/nginx.service"),
            "user@7.service");
  EXPECT_EQ(unit_of("/user.slice/user-7.slice/session-3.scope"), "session-3.scope");
  EXPECT_EQ(unit_of("/kubepods/pod1/nginx.service"), "");
  EXPECT_EQ(unit_of("/../../nginx.service"), "");
  EXPECT_EQ(unit_of("/"), "");
  EXPECT_EQ(unit_of(""), "");
}

}  // namespace
}  // namespace keyfs
