// A [consumer] section that tells others by the time that its turn comes than when it was enrolled.
#include "fs/rotation/fleet.h"

namespace keyfs::testing {
namespace {

constexpr const char* kFirst = "run-00000001";

class ChangedSection : public ::testing::Test {
 protected:
  ChangedSection() {
    SimConsumer first;
    first.name = "first";
    first.keys = {"a"};
    first.takes = 10s;  // so that the other has to wait
    SimConsumer app;
    app.name = "app";
    app.keys = {"a"};
    app.section = "wide";
    web->consumers = {first, app};
    web->start();
    fleet.pass(30s);
    fleet.rotate("a", "ta");
  }
  std::optional<Row> row() {
    const auto there = fleet.shared.documents->find(sheet_name(kFirst, "web", 0));
    if (!there) return std::nullopt;
    const Sheet sheet = *parse_sheet(there->text);
    const Row* found = sheet.find("app");
    return found == nullptr ? std::nullopt : std::optional<Row>(*found);
  }
  bool until_hook(const std::string& consumer) {
    return fleet.until([&] { return hooks(consumer) == 1; }, 5min);
  }
  int hooks(const std::string& consumer) { return fleet.hooks_by_consumer()["web/" + consumer]; }
  void end() {
    ASSERT_TRUE(fleet.until([&] { return fleet.ended(kFirst); }));
  }
  void retry(const std::string& token, uint32_t attempt) {
    fleet.ask_for(Ticket::Kind::kRetry, kFirst, token);
    ASSERT_TRUE(
        fleet.until([&] { return fleet.peek(kFirst)->attempt == attempt && fleet.ended(kFirst); }));
  }
  void expect_told_of() {
    EXPECT_EQ(row()->state, RowState::kFailed);
    EXPECT_NE(row()->why.find("section in keyfs.ini"), std::string::npos) << row()->why;
    EXPECT_NE(row()->why.find("retry"), std::string::npos) << row()->why;  // all of it has room
    EXPECT_NE(fleet.peek(kFirst)->end, RunDocument::End::kComplete);
  }

  Fleet fleet;
  SimHost* web = &fleet.add("web");
};

TEST_F(ChangedSection, that_was_changed_by_a_restart_fails_untold) {
  ASSERT_TRUE(until_hook("first"));
  ASSERT_EQ(row()->section, "wide");
  web->find("app")->section = "narrow";
  web = &fleet.restart(*web);
  end();
  expect_told_of();
  EXPECT_EQ(hooks("app"), 0);
}

TEST_F(ChangedSection, that_was_changed_by_a_reload_fails_untold) {
  ASSERT_TRUE(until_hook("first"));
  web->find("app")->section = "narrow";
  end();
  expect_told_of();
  EXPECT_EQ(hooks("app"), 0);
}

TEST_F(ChangedSection, that_changes_while_its_hook_runs_is_not_ok) {
  web->find("app")->takes = 10s;
  ASSERT_TRUE(until_hook("app"));
  web->find("app")->section = "narrow";
  end();
  expect_told_of();
}

TEST_F(ChangedSection, is_told_as_it_is_by_the_retry) {
  ASSERT_TRUE(until_hook("first"));
  web->find("app")->section = "narrow";
  end();
  expect_told_of();
  web = &fleet.restart(*web);
  retry("again", 2);
  EXPECT_EQ(row()->state, RowState::kOk) << row()->why;
  EXPECT_EQ(hooks("app"), 1);
}

TEST_F(ChangedSection, fails_once_more_if_it_was_changed_once_more) {
  ASSERT_TRUE(until_hook("first"));
  web->find("app")->section = "narrow";
  end();
  web->find("app")->section = "narrower";
  retry("again", 2);
  expect_told_of();
  web->find("app")->section = "wide";  // as it was
  retry("once-more", 3);
  EXPECT_EQ(row()->state, RowState::kOk) << row()->why;
}

TEST_F(ChangedSection, that_is_put_back_before_its_turn_is_well) {
  ASSERT_TRUE(until_hook("first"));
  web->find("app")->section = "narrow";
  web = &fleet.restart(*web);
  web->find("app")->section = "wide";
  end();
  EXPECT_EQ(row()->state, RowState::kOk) << row()->why;
}

}  // namespace
}  // namespace keyfs::testing
