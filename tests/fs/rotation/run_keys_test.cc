// What hooks, sheets, reports and messages are told of a run.
#include "fs/rotation/fleet.h"
#include "fs/rotation/run_report.h"

namespace keyfs::testing {
namespace {

TEST(RunKeys, ten_rotations_of_a_key_are_told_once_with_the_newest_version) {
  Fleet fleet;
  SimHost& web = fleet.add("web");
  for (const char* name : {"nginx", "app"}) {
    SimConsumer consumer;
    consumer.name = name;
    consumer.keys = {"a", "b"};
    web.consumers.push_back(consumer);
  }
  web.start();
  fleet.pass(30s);
  for (int i = 0; i < 10; ++i) fleet.rotate("a", "t" + std::to_string(i));
  fleet.rotate("b", "other");
  ASSERT_TRUE(fleet.until([&] { return fleet.ended(kFirst); }));
  fleet.pass(3min);
  const auto runs = fleet.runs();
  ASSERT_EQ(runs.size(), 1u);
  EXPECT_EQ(fleet.shared.keys["a"].rotations, 10);
  const KeyVersion newest{"a", fleet.shared.keys["a"].current};
  ASSERT_EQ(fleet.shared.hooks.size(), 2u);
  for (const Hook& hook : fleet.shared.hooks) {
    EXPECT_EQ(hook.keys.size(), 2u);
    EXPECT_EQ(std::count(hook.keys.begin(), hook.keys.end(), newest), 1);
  }
  const auto seen = fleet.run(kFirst);
  for (const auto& [name, one] : seen->sheets) {
    for (const Row& row : one.sheet.rows) EXPECT_EQ(row.keys.size(), 2u);
  }
  const RunReport report = report_of(seen->run, seen->sheets);
  ASSERT_EQ(report.keys.size(), 2u);
  for (const RotatedKey& key : report.keys) {
    EXPECT_EQ(key.version, fleet.shared.keys[key.id].current);
  }
  for (const ConsumerReport& consumer : report.consumers) EXPECT_EQ(consumer.keys.size(), 2u);
  // Each token was taken, and its ticket is done with.
  for (int i = 0; i < 10; ++i) {
    EXPECT_TRUE(seen->run.has_token("t" + std::to_string(i)));
    EXPECT_FALSE(fleet.shared.documents->find(ticket_name("t" + std::to_string(i))));
  }
}

TEST(RunNotice, why_the_message_was_not_sent_is_in_the_report) {
  Fleet fleet;
  fleet.shared.message_fails = Error(Code::kUnavailable, "https://a.example/secret answered 503");
  fleet.add("web").start();
  fleet.pass(30s);
  fleet.rotate("a", "t1");
  ASSERT_TRUE(fleet.until([&] {
    const auto run = fleet.peek(kFirst);
    return run && run->notice == RunDocument::Notice::kFailed;
  }));
  const auto seen = fleet.run(kFirst);
  const RunReport report = report_of(seen->run, seen->sheets);
  EXPECT_EQ(report.notify_reason, "(URL) answered 503");
  EXPECT_NE(to_text(report).find("notify: failed ((URL) answered 503)"), std::string::npos);
}

}  // namespace
}  // namespace keyfs::testing
