#include "fs/rotation/consumer_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "fs/rotation/consumer_file.h"
#include "fs/rotation/consumers_fixture.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;
using testing::rules_of;

constexpr auto kRules = "[consumer app]\nmatch = exe:/opt/app*\nrefresh = watch\n";

class ConsumerTableTest : public ::testing::Test {
 protected:
  ConsumerTable table(ConsumerLimits limits = {}) {
    return ConsumerTable(rules_, limits,
                         [this](const ProcessId& id) { return !ended_.contains(id); });
  }
  static Who app(std::string name, uid_t uid = 7) {
    return {"", "/", "/opt/" + std::move(name), uid};
  }
  static ConsumerTable::Use use(uint32_t version) {
    return {version, {TimePoint(1s), TimePoint(1s)}};
  }
  // The later, the later seen.
  WallTime later() { return now_ += 1s; }

  ConsumerRules rules_ = rules_of(kRules);
  std::set<ProcessId> ended_;
  WallTime now_{1'800'000'000s};
};

TEST_F(ConsumerTableTest, what_is_news_is_told_and_the_same_again_is_not) {
  auto t = table();
  const ProcessId one{100, 1};
  EXPECT_TRUE(t.note(app("app"), one, true, "orders", use(1), later()));
  EXPECT_FALSE(t.note(app("app"), one, true, "orders", use(1), later()));
  EXPECT_TRUE(t.note(app("app"), one, true, "orders", use(2), later()));
  EXPECT_TRUE(t.note(app("app"), ProcessId{100, 2}, true, "orders", use(2), later()));
  EXPECT_TRUE(t.note(app("app"), one, true, "tls", use(1), later()));
  EXPECT_EQ(t.last_version(app("app"), "orders"), 2u);
  EXPECT_EQ(t.uses(), 5u);  // of the program 2, of its processes 2 and 1
  ASSERT_EQ(t.of("app").size(), 1u);
  EXPECT_EQ(t.of("app")[0]->processes.size(), 2u);
}

TEST_F(ConsumerTableTest, an_opening_that_is_told_late_does_not_count_as_the_last) {
  auto t = table();
  const ProcessId one{100, 1};
  const ConsumerTable::Use first{1, {TimePoint(1s), TimePoint(2s)}};
  const ConsumerTable::Use second{2, {TimePoint(3s), TimePoint(4s)}};
  t.note(app("app"), one, true, "orders", second, later());
  EXPECT_FALSE(t.note(app("app"), one, true, "orders", first, later()));
  EXPECT_EQ(t.last_version(app("app"), "orders"), 2u);
}

TEST_F(ConsumerTableTest, one_users_many_programs_displace_nobody_elses) {
  ConsumerLimits limits;
  limits.consumers = 40;
  limits.consumers_of_user = 16;
  auto t = table(limits);
  t.note(app("app", 1), std::nullopt, true, "orders", use(1), later());
  for (int i = 0; i < 1000; ++i) {
    t.note({"", "/", "/home/x/" + std::to_string(i), 2}, ProcessId{1000 + i, 1}, true, "orders",
           use(1), later());
  }
  EXPECT_TRUE(t.programs().contains(app("app", 1)));
  EXPECT_LE(t.programs().size(), 17u);
}

TEST_F(ConsumerTableTest, when_all_is_full_the_user_with_the_most_makes_room) {
  ConsumerLimits limits;
  limits.consumers = 20;
  limits.consumers_of_user = 18;
  auto t = table(limits);
  t.note(app("app", 1), std::nullopt, true, "orders", use(1), later());
  for (int i = 0; i < 18; ++i) {
    t.note(app("many" + std::to_string(i), 2), std::nullopt, true, "orders", use(1), later());
  }
  for (uid_t uid = 3; uid < 20; ++uid) {
    t.note(app("app", uid), std::nullopt, true, "orders", use(1), later());
  }
  EXPECT_LE(t.programs().size(), 20u);
  for (uid_t uid = 3; uid < 20; ++uid) EXPECT_TRUE(t.programs().contains(app("app", uid)));
  EXPECT_TRUE(t.programs().contains(app("app", 1)));
}

TEST_F(ConsumerTableTest, who_runs_or_is_told_stays_and_who_came_and_went_makes_room) {
  ConsumerLimits limits;
  limits.consumers_of_user = 8;
  auto t = table(limits);
  const ProcessId server{10, 1};
  // The first seen, long before the others: a server that opens its key once, and a nightly job.
  t.note({"", "/", "/usr/bin/server", 7}, server, true, "orders", use(1), later());
  t.note(app("app"), std::nullopt, true, "orders", use(1), later());
  for (int i = 0; i < 200; ++i) {
    const ProcessId brief{1000 + i, 1};
    t.note({"", "/session-" + std::to_string(i) + ".scope", "/bin/cat", 7}, brief, true, "orders",
           use(1), later());
    ended_.insert(brief);
  }
  EXPECT_TRUE(t.programs().contains({"", "/", "/usr/bin/server", 7}));
  EXPECT_TRUE(t.programs().contains(app("app")));
  EXPECT_LE(t.programs().size(), 8u);
}

TEST_F(ConsumerTableTest, keys_beyond_the_limit_mark_the_program_and_the_last_opened_is_known) {
  ConsumerLimits limits;
  limits.uses_of_user = 10;
  auto t = table(limits);
  for (int i = 0; i < 50; ++i) {
    const std::string key = "key-" + std::to_string(i);
    t.note(app("app"), ProcessId{10, 1}, true, key, use(1), later());
    EXPECT_EQ(t.last_version(app("app"), key), 1u) << key;
  }
  EXPECT_LE(t.uses(), 11u);
  EXPECT_GT(t.missed(), 0u);
  EXPECT_TRUE(t.of("app")[0]->incomplete);
  EXPECT_TRUE(t.of("app")[0]->unfollowed);
  // Another user has a share too.
  t.note(app("app", 8), ProcessId{11, 1}, true, "orders", use(1), later());
  EXPECT_EQ(t.last_version(app("app", 8), "orders"), 1u);
}

TEST_F(ConsumerTableTest, processes_beyond_the_limit_mark_the_program_unless_others_have_ended) {
  ConsumerLimits limits;
  limits.processes = 4;
  auto t = table(limits);
  for (int i = 0; i < 4; ++i) {
    t.note(app("app"), ProcessId{10 + i, 1}, true, "orders", use(1), later());
  }
  ended_ = {{10, 1}, {11, 1}};
  t.note(app("app"), ProcessId{20, 1}, true, "orders", use(1), later());
  EXPECT_FALSE(t.of("app")[0]->unfollowed);
  EXPECT_EQ(t.of("app")[0]->processes.size(), 3u);
  t.note(app("app"), ProcessId{21, 1}, true, "orders", use(1), later());
  t.note(app("app"), ProcessId{22, 1}, true, "orders", use(1), later());
  EXPECT_TRUE(t.of("app")[0]->unfollowed);
  EXPECT_EQ(t.of("app")[0]->processes.size(), 4u);
}

TEST_F(ConsumerTableTest, new_sections_are_applied_to_what_is_known) {
  auto t = table();
  t.note(app("app"), std::nullopt, true, "orders", use(1), later());
  const ConsumerRules others = rules_of("[consumer other]\nmatch = uid:7\nrefresh = watch\n");
  t.set_rules(others);
  EXPECT_TRUE(t.of("app").empty());
  ASSERT_EQ(t.of("other").size(), 1u);
  EXPECT_TRUE(t.forget_unseen_since(later()));
  EXPECT_TRUE(t.of("other").empty());
  EXPECT_EQ(t.uses(), 0u);
}

TEST_F(ConsumerTableTest, a_file_gives_back_what_was_written) {
  auto t = table();
  const Who odd{"a.service", "/system.slice/a.service", "/opt/\xff\xfe \"app", 7};
  t.note(odd, ProcessId{10, 5}, true, "orders", use(3), later());
  t.note(odd, ProcessId{11, 6}, false, "tls", use(1), later());
  const ConsumerText made =
      text_of(t.programs(), "boot pid:[1]", [](const ProcessId& id) { return id.pid == 10; });
  EXPECT_EQ(made.ended, std::vector<ProcessId>({{11, 6}}));
  const auto read = parse_consumers(made.text, "boot pid:[1]");
  ASSERT_TRUE(read) << read.error().message;
  ASSERT_EQ(read->size(), 1u);
  const ConsumerTable::Program& program = read->front();
  EXPECT_EQ(program.who, odd);
  EXPECT_EQ(program.keys.at("orders").version, 3u);
  EXPECT_EQ(program.keys.at("tls").version, 1u);
  EXPECT_TRUE(program.unfollowed);
  ASSERT_EQ(program.processes.size(), 1u);
  EXPECT_EQ(program.processes[0].id, (ProcessId{10, 5}));
  EXPECT_EQ(program.processes[0].keys.at("orders").version, 3u);
  EXPECT_EQ(program.processes[0].keys.at("orders").times.begun, TimePoint::min());
  EXPECT_TRUE(program.fitted.empty() && !program.fitted_others) << "no section fits it";
}

TEST_F(ConsumerTableTest, which_sections_a_program_has_fitted_outlives_them_and_the_daemon) {
  auto t = table();
  t.note(app("app"), std::nullopt, true, "orders", use(3), later());
  const ConsumerRules none;
  t.set_rules(none);
  const auto read = parse_consumers(text_of(t.programs(), "boot").text, "boot");
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_TRUE(read->at(0).may_have_fitted("app"));
  EXPECT_FALSE(read->at(0).may_have_fitted("other"));
  // A file that does not say so may leave out any.
  const auto older = parse_consumers(
      R"({"keyfs_consumers":1,"epoch":"","programs":[{"unit":"","cgroup":"","exe":"","uid":1,
          "seen":"2026-11-22T03:46:00Z","keys":{},"processes":[]}]})",
      "");
  ASSERT_TRUE(older) << older.error().message;
  EXPECT_TRUE(older->at(0).may_have_fitted("other"));
}

TEST_F(ConsumerTableTest, processes_of_another_boot_are_not_believed) {
  auto t = table();
  t.note(app("app"), ProcessId{10, 5}, false, "orders", use(3), later());
  const auto all = [](const ProcessId&) { return true; };
  const ConsumerText made = text_of(t.programs(), "boot pid:[1]", all);
  for (const char* epoch : {"boot pid:[2]", "other pid:[1]", ""}) {
    const auto read = parse_consumers(made.text, epoch);
    ASSERT_TRUE(read);
    EXPECT_TRUE(read->at(0).processes.empty());
    EXPECT_FALSE(read->at(0).unfollowed);
    EXPECT_EQ(read->at(0).keys.at("orders").version, 3u);
  }
  EXPECT_TRUE(parse_consumers(text_of(t.programs(), "", all).text, "")->at(0).processes.empty());
}

TEST_F(ConsumerTableTest, what_is_no_such_file_is_refused) {
  for (const char* text :
       {"", "{", "[]", "{}", R"({"keyfs_consumers":2,"epoch":"","programs":[]})",
        R"({"keyfs_consumers":1,"epoch":"","programs":{}})",
        R"({"keyfs_consumers":1,"epoch":"","programs":[1]})",
        R"({"keyfs_consumers":1,"epoch":"","programs":[{"unit":"","cgroup":"","exe":"","uid":-1,
            "seen":"2026-11-22T03:46:00Z","keys":{},"processes":[]}]})",
        R"({"keyfs_consumers":1,"epoch":"","programs":[{"unit":"","cgroup":"","exe":"","uid":1,
            "seen":"2026-11-22T03:46:00Z","keys":{"../x":1},"processes":[]}]})",
        R"({"keyfs_consumers":1,"epoch":"","programs":[{"unit":"","cgroup":"","exe":"","uid":1,
            "seen":"2026-11-22T03:46:00Z","keys":{},"processes":[[0,1,{}]]}]})",
        R"({"keyfs_consumers":1,"epoch":"","programs":[{"unit":"","cgroup":"","exe":"","uid":1,
            "seen":"2026-11-22T03:46:00Z","keys":{},"processes":[],"sections":[7]}]})"}) {
    const auto read = parse_consumers(text, "");
    ASSERT_FALSE(read) << text;
    EXPECT_EQ(read.error().code, Code::kCorrupt) << text;
  }
}

}  // namespace
}  // namespace keyfs
