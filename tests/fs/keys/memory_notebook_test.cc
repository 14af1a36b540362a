#include "fs/keys/memory_notebook.h"

#include "fs/keys/keyring_fixture.h"

namespace keyfs {
namespace {

using testing::ScriptedMemory;
using namespace std::chrono_literals;

struct MemoryNotebookTest : testing::KeyringTest {
  Result<void> done(Task<Result<void>> task) { return world.time.loop.run_task(std::move(task)); }
  static Stored record(const std::string& id) {
    Stored stored;
    stored.record.id = id;
    return stored;
  }
  ScriptedMemory memory{world.time.loop};
  MemoryNotebook notebook{memory};
};

TEST_F(MemoryNotebookTest, what_is_written_down_is_noted_and_on_the_disk) {
  memory.keeping = 1s;
  const TimePoint begin = now();
  EXPECT_TRUE(done(notebook.write_down(record("orders"), true)));
  ASSERT_EQ(memory.noted.size(), 1u);
  EXPECT_EQ(memory.noted[0].first.record.id, "orders");
  EXPECT_TRUE(memory.noted[0].second);
  EXPECT_GE(now() - begin, 1s);
  EXPECT_TRUE(done(notebook.write_seen({{"bills", Sighting::kRkms}})));
  EXPECT_EQ(memory.seen, std::vector<std::string>{"bills"});
}

TEST_F(MemoryNotebookTest, a_disk_that_does_not_keep_it_is_an_error) {
  memory.keeps = false;
  EXPECT_FALSE(done(notebook.write_down(record("orders"), true)));
  EXPECT_FALSE(done(notebook.write_seen({{"bills", Sighting::kUnproven}})));
}

TEST_F(MemoryNotebookTest, a_memory_that_is_broken_proves_nothing) {
  EXPECT_TRUE(done(notebook.prove()));
  BrokenMemory broken(Error(Code::kUnavailable, "the disk is full"), "remove it");
  MemoryNotebook none(broken);
  const auto proven = done(none.prove());
  ASSERT_FALSE(proven);
  EXPECT_EQ(proven.error().message, "the disk is full");
}

}  // namespace
}  // namespace keyfs
