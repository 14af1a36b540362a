// A healer with the memory and the notebook of its host.
#include "fs/upkeep/healer_fixture.h"

namespace keyfs {
namespace {

using testing::Daemon;
using testing::HealerTest;

struct WritingNotebook final : Notebook {
  Task<Result<void>> prove() override { co_return Result<void>(); }
  Task<Result<void>> write_down(Stored stored, bool) override {
    if (fails) co_return fail(Code::kUnavailable, "the disk is full");
    noted.push_back(std::move(stored.record));
    co_return Result<void>();
  }
  Task<Result<void>> write_seen(std::vector<SeenKey> keys) override {
    if (fails) co_return fail(Code::kUnavailable, "the disk is full");
    ++writes_of_seen;
    for (SeenKey& key : keys) seen.push_back(std::move(key.id));
    co_return Result<void>();
  }
  bool fails = false;
  std::vector<Record> noted;
  std::vector<std::string> seen;
  int writes_of_seen = 0;
};

struct HealerMemory : HealerTest {
  HealReport heal(std::vector<std::string> ids = {}) {
    Healer healer(world.time.loop, daemon.store, *daemon.regions, world.log.log(), HealOptions{},
                  &memory, &notebook);
    return world.time.loop.run_task(healer.run_once(std::move(ids), TimePoint::max())).value();
  }
  Daemon daemon{world};
  testing::ScriptedMemory memory{world.time.loop};
  WritingNotebook notebook;
};

TEST_F(HealerMemory, a_record_that_went_back_is_not_filled_in) {
  make_degraded("orders");
  const Record before = stored("orders");
  Record deleted = before;
  deleted.state = KeyState::kDeleted;
  ++deleted.serial;
  memory.knows(deleted);
  const HealReport report = heal();
  ASSERT_EQ(report.failures.size(), 1u);
  EXPECT_EQ(report.failures[0].error.code, Code::kCorrupt);
  EXPECT_EQ(stored("orders"), before);
  EXPECT_EQ(daemon.region_calls(), 0);
}

TEST_F(HealerMemory, what_was_filled_in_is_noted_on_this_host) {
  make_degraded("orders");
  memory.knows(stored("orders"));
  const HealReport report = heal();
  EXPECT_EQ(report.healed, 1u);
  EXPECT_TRUE(report.unnoted.empty());
  ASSERT_EQ(notebook.noted.size(), 1u);
  EXPECT_EQ(notebook.noted[0], stored("orders"));
}

TEST_F(HealerMemory, a_record_that_was_looked_at_was_seen_whole_or_damaged) {
  Daemon(world).read("whole");
  world.records->write_raw("damaged", "{");
  heal({"whole", "damaged", "absent"});
  EXPECT_TRUE(notebook.noted.empty()) << "nothing was changed";
  EXPECT_EQ(notebook.seen, (std::vector<std::string>{"whole", "damaged"}));
  EXPECT_EQ(notebook.writes_of_seen, 1) << "each is synced";
  EXPECT_EQ(memory.seen, notebook.seen) << "a daemon has only this one";
}

TEST_F(HealerMemory, a_memory_that_is_out_stops_no_healing_and_that_is_told) {
  make_degraded("orders");
  memory.hangs = true;
  notebook.fails = true;
  const HealReport report = heal();
  EXPECT_EQ(report.healed, 1u);
  EXPECT_EQ(wraps("orders"), 3u);
  ASSERT_EQ(report.unnoted.size(), 1u);
  EXPECT_EQ(report.unnoted[0].id, "orders");
  EXPECT_TRUE(report.unseen);
}
}  // namespace
}  // namespace keyfs
