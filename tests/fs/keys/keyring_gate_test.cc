// A key is created only if this host has certainly never seen the id, whichever way it is
// requested.
#include "fs/keys/creation_gate.h"

#include <filesystem>
#include <fstream>

#include "base/crypto.h"
#include "fs/keys/keyring_fixture.h"
#include "fs/keys/replica_mark.h"
#include "fs/keys/replica_reader.h"
#include "fs/keys/replica_writer.h"
#include "support/temporary_directory.h"

namespace keyfs {
namespace {

using testing::Daemon;
using testing::KeyringTest;
using testing::ScriptedMemory;
using namespace std::chrono_literals;

struct CreationGate : KeyringTest {
  ScriptedMemory memory{world.time.loop};
};

struct MemoryCase {
  const char* name;
  Recall::What what;
  Duration delay;
  bool hangs;
  const char* told;
};

TEST_F(CreationGate, only_a_memory_that_never_saw_the_id_lets_a_key_be_made) {
  using What = Recall::What;
  const MemoryCase cases[] = {
      {"never", What::kNever, 0s, false, "made"},
      {"never, told slowly", What::kNever, 3s, false, "made"},
      {"known", What::kKnown, 0s, false, "corrupt"},
      {"known, told slowly", What::kKnown, 700ms, false, "corrupt"},
      {"known, told very slowly", What::kKnown, 9s, false, "corrupt"},
      {"unknown", What::kUnknown, 0s, false, "unavailable"},
      {"known, too late", What::kKnown, 11s, false, "unavailable"},
      {"no answer", What::kKnown, 0s, true, "unavailable"},
  };
  for (const MemoryCase& one : cases) {
    const std::string id = "id" + std::to_string(&one - cases);
    memory.says(one.what);
    memory.delay = one.delay;
    memory.hangs = one.hangs;
    Daemon daemon(world, &memory);
    const TimePoint begin = now();
    const auto opened = daemon.open(id, true);
    if (std::string(one.told) == "made") {
      ASSERT_TRUE(opened && *opened) << one.name;
      EXPECT_TRUE((*opened)->created) << one.name;
      continue;
    }
    EXPECT_EQ(Daemon::told(opened), one.told) << one.name;
    EXPECT_LE(now() - begin, 10s) << one.name;
    EXPECT_EQ(daemon.store.calls.put, 0) << one.name;
    EXPECT_EQ(daemon.region_calls(), 0) << one.name;
    EXPECT_FALSE(world.records->find(id)) << one.name;
    EXPECT_TRUE(world.log.has("key " + id + " cannot be served, and no new key is created"))
        << one.name;
  }
}

// The store loses a record that this host has served, while the disk is slow.
TEST_F(CreationGate, no_second_key_is_made_for_a_known_id_however_slow_disk_and_store_are) {
  const std::string key = Daemon(world).read("orders");
  memory.knows(stored("orders"));
  world.records->erase("orders");
  for (const Duration disk : {0ms, 10ms, 400ms, 501ms, 2000ms, 9500ms, 20000ms}) {
    for (const Duration store : {0ms, 100ms, 600ms, 1500ms, 5000ms}) {
      memory.delay = disk;
      Daemon daemon(world, &memory);
      daemon.store.fault.delay = store;
      const auto opened = daemon.open("orders", true);
      if (opened) {
        ASSERT_EQ((*opened)->source, KeySource::kReplica);
        ASSERT_EQ(Daemon::told(opened), key);
      }
      ASSERT_FALSE(world.records->find("orders")) << to_text(disk) << ", " << to_text(store);
      ASSERT_EQ(daemon.store.calls.put, 0) << to_text(disk) << ", " << to_text(store);
    }
  }
}

TEST_F(CreationGate, the_memory_is_asked_while_the_store_is_and_costs_no_time_of_its_own) {
  memory.says(Recall::What::kNever);
  memory.delay = 100ms;
  Daemon daemon(world, &memory);
  daemon.store.fault.delay = 100ms;
  const TimePoint begin = now();
  ASSERT_TRUE(daemon.open("orders", true));
  EXPECT_LE(now() - begin, 200ms) << "one get and one put";
}

TEST_F(CreationGate, who_may_not_create_does_not_wait_for_a_memory_that_hangs) {
  memory.hangs = true;
  Daemon daemon(world, &memory);
  const TimePoint begin = now();
  EXPECT_EQ(daemon.read("orders", false), "absent");
  EXPECT_LE(now() - begin, 1s);
}

TEST_F(CreationGate, reads_go_on_without_a_memory_and_one_in_a_while_waits_for_it) {
  Daemon(world).read("orders");
  const std::string key = Daemon(world).read("orders");
  memory.hangs = true;
  Daemon daemon(world, &memory);
  TimePoint begin = now();
  EXPECT_EQ(daemon.read("orders"), key);
  EXPECT_LE(now() - begin, 600ms);
  daemon.cache.drop(*daemon.cache.acquire("orders"));
  begin = now();
  EXPECT_EQ(daemon.read("orders"), key);
  EXPECT_LE(now() - begin, 10ms);
}

TEST_F(CreationGate, a_host_without_a_usable_memory_reads_and_makes_nothing) {
  const std::string key = Daemon(world).read("orders");
  BrokenMemory broken(Error(Code::kUnavailable, "/var/lib/keyfs: Read-only file system"), "");
  Daemon daemon(world, &broken);
  EXPECT_EQ(daemon.read("orders"), key);
  const auto opened = daemon.open("new", true);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, Code::kUnavailable);
  EXPECT_NE(opened.error().message.find("Read-only file system"), std::string::npos)
      << opened.error().message;
}

// The command line's requests, with or without a daemon.
struct ReplicaReaderTest : KeyringTest {
  ~ReplicaReaderTest() override { world.time.poller.busy = nullptr; }
  Recall recall(const std::string& path, const std::string& id) {
    // On a loop of its own, as a command's.
    testing::FakeTimeLoop time;
    time.poller.busy = [] { return true; };
    ReplicaReader reader(time.loop, path);
    auto told = time.loop.run_task(reader.recall(id));
    time.loop.shutdown();
    return told;
  }
  const testing::TemporaryDirectory dir;
  const std::string path = dir.file("replica.db");
};

TEST_F(ReplicaReaderTest, a_host_on_which_keyfs_never_ran_has_seen_nothing) {
  EXPECT_EQ(recall(path, "orders").what, Recall::What::kNever);
  EXPECT_EQ(recall(dir.file("no/such/place"), "orders").what, Recall::What::kNever);
  EXPECT_FALSE(std::filesystem::exists(path)) << "it only reads";
}

TEST_F(ReplicaReaderTest, what_a_running_daemon_has_seen_is_known) {
  auto replica = std::move(*Replica::open(world.time.loop, world.log.log(), path));
  world.time.poller.busy = [&] { return replica->under_way() > 0; };
  {
    Daemon daemon(world, replica.get());
    daemon.read("orders");
  }
  const auto flushed = [&]() -> Task<bool> {
    co_await replica->flush();
    co_return true;
  };
  world.time.loop.run_task(flushed());
  EXPECT_EQ(recall(path, "orders").what, Recall::What::kKnown);
  EXPECT_EQ(recall(path, "bills").what, Recall::What::kNever);
  world.time.poller.busy = nullptr;
  world.time.loop.shutdown();
}

TEST_F(ReplicaReaderTest, what_cannot_be_read_is_unknown_and_says_what_to_do) {
  std::ofstream(dir.file("file")) << "x";
  const Recall below_a_file = recall(dir.file("file/replica.db"), "orders");
  EXPECT_EQ(below_a_file.what, Recall::What::kUnknown);
  EXPECT_NE(below_a_file.why->message.find("run this as the user"), std::string::npos);
  std::ofstream(path) << "this is no database at all, and never was one";
  EXPECT_EQ(recall(path, "orders").what, Recall::What::kUnknown);
  std::filesystem::remove(path);
  std::ofstream(path + ".damaged") << "x";
  const Recall set_aside = recall(path, "orders");
  EXPECT_EQ(set_aside.what, Recall::What::kUnknown);
  EXPECT_NE(set_aside.why->message.find(path + ".damaged"), std::string::npos);
}

TEST_F(CreationGate, a_key_that_this_host_could_forget_is_not_handed_out) {
  memory.says(Recall::What::kNever);
  memory.keeps = false;
  std::string made;
  {
    Daemon one(world, &memory);
    const auto opened = one.open("orders", true);
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().code, Code::kUnavailable);
    ASSERT_TRUE(world.records->find("orders")) << "it is an ordinary key of the store by now";
    made = world.records->find("orders")->json;
  }
  memory.keeps = true;
  memory.knows(stored("orders"));
  Daemon two(world, &memory);
  ASSERT_TRUE(two.open("orders", true));
  EXPECT_EQ(world.records->find("orders")->json, made);
}

TEST_F(ReplicaReaderTest, a_damaged_file_is_not_told_as_an_id_that_was_seen) {
  {
    auto replica = std::move(*Replica::open(world.time.loop, world.log.log(), path));
    world.time.loop.shutdown();
  }
  {
    // All but the first page, by which it is known.
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    const auto size = static_cast<long>(std::filesystem::file_size(path));
    file.seekp(4096);
    for (long i = 4096; i < size; ++i) file.put('x');
  }
  const Recall told = recall(path, "never-seen");
  EXPECT_EQ(told.what, Recall::What::kUnknown);
  ASSERT_TRUE(told.why);
  EXPECT_NE(told.why->message.find("remove " + path + ".damaged"), std::string::npos)
      << told.why->message;
}

struct ReplicaWriterTest : ReplicaReaderTest {
  // On a loop of its own, as a command's.
  Result<void> write(const std::string& to, const Record& record) {
    testing::FakeTimeLoop time;
    time.poller.busy = [] { return true; };
    ReplicaWriter writer(time.loop, to, [&] {
      ++prepared;
      return cannot_prepare ? Result<void>(fail(*cannot_prepare)) : Result<void>();
    });
    auto told = time.loop.run_task(writer.prove());
    if (told) told = time.loop.run_task(writer.write_down({record, "7"}, true));
    time.loop.shutdown();
    return told;
  }
  Record a_record() {
    Daemon daemon(world);
    daemon.read("orders");
    return stored("orders");
  }
  int prepared = 0;
  std::optional<Error> cannot_prepare;
};

TEST_F(ReplicaWriterTest, makes_the_memory_that_a_daemon_and_the_next_command_find) {
  const Record record = a_record();
  ASSERT_TRUE(write(path, record));
  EXPECT_EQ(prepared, 1);
  const Recall told = recall(path, "orders");
  EXPECT_EQ(told.what, Recall::What::kKnown);
  ASSERT_TRUE(told.stored);
  EXPECT_EQ(told.stored->record, record);
  EXPECT_EQ(recall(path, "").what, Recall::What::kNever) << "proving leaves nothing";
  EXPECT_EQ(std::filesystem::status(path).permissions(),
            std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  auto replica = Replica::open(world.time.loop, world.log.log(), path);
  ASSERT_TRUE(replica) << replica.error().message;
  ASSERT_TRUE(write(path, record)) << "beside a daemon";
  EXPECT_EQ(prepared, 1);
  world.time.loop.shutdown();
}

TEST_F(ReplicaWriterTest, what_is_noted_in_another_file_than_a_running_daemon_has_proves_nothing) {
  const Record record = a_record();
  ASSERT_TRUE(write(path, record));
  auto daemons = Replica::open(world.time.loop, world.log.log(), path);
  ASSERT_TRUE(daemons) << daemons.error().message;
  OsRandom random;
  const auto mark = ReplicaMark::make(path, random);
  ASSERT_TRUE(mark) << mark.error().message;
  for (const char* file : {"", "-wal", "-shm"}) std::filesystem::remove(path + file);
  EXPECT_EQ(recall(path, "orders").what, Recall::What::kUnknown);
  ASSERT_TRUE(write(path, record)) << "a command makes one anew";
  const Recall told = recall(path, "orders");
  EXPECT_EQ(told.what, Recall::What::kUnknown);
  EXPECT_TRUE(told.stored) << "it may still contradict";
  EXPECT_EQ(recall(path, "bills").what, Recall::What::kUnknown);
  world.time.loop.shutdown();
}

TEST_F(ReplicaWriterTest, takes_nothing_back) {
  Record record = a_record();
  record.state = KeyState::kDeleted;
  ASSERT_TRUE(write(path, record));
  Record before = record;
  before.state = KeyState::kEnabled;
  ASSERT_TRUE(write(path, before));
  EXPECT_EQ(recall(path, "orders").stored->record.state, KeyState::kDeleted);
}

TEST_F(ReplicaWriterTest, a_memory_that_cannot_be_written_is_told) {
  const Record record = a_record();
  cannot_prepare.emplace(Code::kDenied, "not yours");
  EXPECT_EQ(write(path, record).error().code, Code::kDenied);
  EXPECT_FALSE(std::filesystem::exists(path));
  cannot_prepare.reset();
  EXPECT_FALSE(write(dir.file("no/such/place"), record));
  std::ofstream(path) << "this is no database at all, and never was one";
  EXPECT_FALSE(write(path, record));
}

TEST_F(ReplicaWriterTest, an_empty_file_is_a_memory_that_lost_what_it_held) {
  const Record record = a_record();
  ASSERT_TRUE(write(path, record));
  std::vector<std::string> names;
  for (const auto& file : std::filesystem::directory_iterator(dir.path())) {
    names.push_back(file.path().filename());
  }
  EXPECT_EQ(names, std::vector<std::string>{"replica.db"}) << "made whole, and nothing beside it";
  std::filesystem::resize_file(path, 0);
  EXPECT_EQ(write(path, record).error().code, Code::kCorrupt);
  EXPECT_EQ(recall(path, "orders").what, Recall::What::kUnknown);
  EXPECT_EQ(std::filesystem::file_size(path), 0u) << "left for the daemon, which sets it aside";
}

}  // namespace
}  // namespace keyfs
