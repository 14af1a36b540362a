#include "fs/upkeep/pass.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "fs/keys/keyring_fixture.h"
#include "fs/upkeep/scripted_notebook.h"

namespace keyfs {
namespace {

using testing::Daemon;
using testing::KeyringTest;
using testing::ScriptedNotebook;

// Puts a mark into each record, and notes what it was asked.
struct Marking final : RecordOperation {
  bool wants(const ListPage::Entry& entry) override { return entry.id != unwanted; }
  void begin() override { ++begun; }
  bool takes(const Record& record) override { return record.id != untaken; }
  Task<void> apply(Record& record, TimePoint) override {
    ++applied;
    if (meanwhile) meanwhile();
    record.unknown = R"({"mark":true})";
    co_return;
  }
  void finished(const std::string& id, const PassEnd& end) override {
    ids.push_back(id);
    ends.push_back(end.what);
  }

  std::string unwanted, untaken;
  std::function<void()> meanwhile;
  int begun = 0;
  int applied = 0;
  std::vector<std::string> ids;
  std::vector<PassEnd::What> ends;
};

struct PassTest : KeyringTest {
  using What = PassEnd::What;
  PassTest() {
    for (const char* id : {"a", "b", "c"}) daemon.read(id);
    daemon.forget();
  }
  Result<void> all(PassOptions options = {}) {
    Pass pass(world.time.loop, daemon.store, world.log.log(), options, &daemon.no_memory,
              &notebook);
    auto gone = world.time.loop.run_task(pass.all("", operation, TimePoint::max()));
    EXPECT_FALSE(world.time.loop.run_task(pass.end(TimePoint::max())));
    return gone;
  }
  bool marked(const std::string& id) { return !stored(id).unknown.empty(); }

  Daemon daemon{world};
  ScriptedNotebook notebook;
  Marking operation;
};

TEST_F(PassTest, reads_only_what_is_wanted_and_writes_only_what_is_taken) {
  operation.unwanted = "a";
  operation.untaken = "b";
  set_state("c", KeyState::kDisabled);
  ASSERT_TRUE(all());
  EXPECT_EQ(operation.ids, (std::vector<std::string>{"b", "c"}));
  EXPECT_EQ(operation.ends, (std::vector<What>{What::kNotTaken, What::kWritten}));
  EXPECT_EQ(daemon.store.calls.get, 3) << "and once whether it is the store";
  EXPECT_TRUE(!marked("a") && !marked("b") && marked("c"));
  EXPECT_TRUE(notebook.noted.contains("c"));
  EXPECT_TRUE(notebook.seen.contains("b")) << "it was read";
}

TEST_F(PassTest, a_record_that_changed_meanwhile_is_looked_at_again) {
  operation.unwanted = "b";
  operation.untaken = "c";
  operation.meanwhile = [&] {
    if (operation.applied == 1) set_state("a", KeyState::kDisabled);
  };
  ASSERT_TRUE(all());
  EXPECT_EQ(operation.applied, 2);
  EXPECT_EQ(operation.begun, 3);
  EXPECT_EQ(operation.ends[0], What::kWritten);
  EXPECT_EQ(stored("a").state, KeyState::kDisabled) << "the other change stays";
  EXPECT_TRUE(marked("a"));
}

TEST_F(PassTest, a_record_that_others_keep_changing_fails_after_some_tries) {
  operation.unwanted = "b";
  operation.untaken = "c";
  operation.meanwhile = [&] { set_state("a", KeyState::kDisabled); };
  ASSERT_TRUE(all());
  EXPECT_EQ(operation.applied, 3);
  EXPECT_EQ(operation.ends[0], What::kFailed);
  EXPECT_FALSE(marked("a"));
}

TEST_F(PassTest, deleted_keys_are_passed_over) {
  set_state("a", KeyState::kDeleted);
  ASSERT_TRUE(all());
  EXPECT_EQ(operation.ids, (std::vector<std::string>{"b", "c"}));
}

TEST_F(PassTest, one_that_must_not_write_changes_neither_store_nor_memory) {
  PassOptions options;
  options.writes = false;
  ASSERT_TRUE(all(options));
  EXPECT_EQ(operation.applied, 3);
  EXPECT_EQ(daemon.store.calls.replace, 0);
  EXPECT_TRUE(notebook.noted.empty() && notebook.seen.empty());
  EXPECT_EQ(operation.ends, (std::vector<What>(3, What::kUnchanged)));
}

}  // namespace
}  // namespace keyfs
