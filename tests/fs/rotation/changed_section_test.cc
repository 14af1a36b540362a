// A [consumer] section that tells others by the time that its turn comes than when it was enrolled.
#include "fs/rotation/fleet.h"

namespace keyfs::testing {
namespace {

class ChangedSection : public ::testing::Test {
 protected:
  ChangedSection() {
    for (const char* name : {"one", "two"}) {
      SimConsumer consumer;
      consumer.name = name;
      consumer.keys = {"a"};
      consumer.takes = 10s;  // the other has to wait
      consumer.section = "wide";
      web->consumers.push_back(consumer);
    }
    web->start();
  }
  // The hook of the first runs, the other waits.
  void SetUp() override {
    fleet.pass(30s);
    fleet.rotate("a", "ta");
    ASSERT_TRUE(fleet.until([&] { return fleet.shared.hooks.size() == 1; }, 5min));
    first = fleet.shared.hooks[0].consumer;
    waits = first == "one" ? "two" : "one";
    ASSERT_EQ(row(waits).section, "wide");
  }
  Row row(const std::string& consumer) {
    const auto there = fleet.shared.documents->find(sheet_name(kFirst, "web", 0));
    if (!there) return Row();
    const Sheet sheet = *parse_sheet(there->text);
    const Row* found = sheet.find(consumer);
    return found == nullptr ? Row() : *found;
  }
  void set(const std::string& consumer, const std::string& section) {
    web->find(consumer)->section = section;
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
  void expect_told_of(const std::string& consumer) {
    const Row there = row(consumer);
    EXPECT_EQ(there.state, RowState::kFailed);
    EXPECT_NE(there.why.find("section in keyfs.ini"), std::string::npos) << there.why;
    EXPECT_NE(there.why.find("and retry"), std::string::npos) << there.why;  // it has room
    EXPECT_NE(fleet.peek(kFirst)->end, RunDocument::End::kComplete);
  }

  Fleet fleet;
  SimHost* web = &fleet.add("web");
  std::string first;
  std::string waits;
};

TEST_F(ChangedSection, that_was_changed_by_a_restart_fails_untold) {
  set(waits, "narrow");
  web = &fleet.restart(*web);
  end();
  expect_told_of(waits);
  EXPECT_EQ(hooks(waits), 0);
}

TEST_F(ChangedSection, that_was_changed_by_a_reload_fails_untold) {
  set(waits, "narrow");
  end();
  expect_told_of(waits);
  EXPECT_EQ(hooks(waits), 0);
  EXPECT_EQ(row(first).state, RowState::kOk);
}

TEST_F(ChangedSection, that_changes_while_its_hook_runs_is_not_ok) {
  set(first, "narrow");
  end();
  expect_told_of(first);
  EXPECT_EQ(row(waits).state, RowState::kOk);
}

TEST_F(ChangedSection, is_told_as_it_is_by_the_retry) {
  set(waits, "narrow");
  end();
  expect_told_of(waits);
  web = &fleet.restart(*web);
  retry("again", 2);
  EXPECT_EQ(row(waits).state, RowState::kOk) << row(waits).why;
  EXPECT_EQ(hooks(waits), 1);
  EXPECT_EQ(fleet.peek(kFirst)->end, RunDocument::End::kComplete);
}

TEST_F(ChangedSection, fails_once_more_if_it_was_changed_once_more) {
  set(waits, "narrow");
  end();
  set(waits, "narrower");
  retry("again", 2);
  expect_told_of(waits);
  set(waits, "wide");  // as it was
  retry("once-more", 3);
  EXPECT_EQ(row(waits).state, RowState::kOk) << row(waits).why;
}

TEST_F(ChangedSection, that_is_put_back_before_its_turn_is_well) {
  set(waits, "narrow");
  web = &fleet.restart(*web);
  set(waits, "wide");
  end();
  EXPECT_EQ(row(waits).state, RowState::kOk) << row(waits).why;
}

TEST_F(ChangedSection, that_was_removed_is_judged_by_whether_its_programs_run) {
  set(waits, "");
  end();
  EXPECT_EQ(hooks(waits), 1);  // the refresher does
}

}  // namespace
}  // namespace keyfs::testing
