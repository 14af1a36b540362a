// The age that the replica reports for a record: with a feed of changes, through its gaps, and
// after a restart.
#include "fs/keys/replica.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "fs/keys/keyring_fixture.h"
#include "fs/keys/pending_notes.h"
#include "support/temporary_directory.h"

namespace keyfs {
namespace {

using testing::Daemon;
using testing::FakeTimeLoop;
using testing::KeyringTest;
using namespace std::chrono_literals;

struct ReplicaTest : KeyringTest {
  ReplicaTest() {
    Daemon(world).read("orders");
    open();
  }
  ~ReplicaTest() override { close(); }
  // On a loop of its own, which ends with it.
  void open() {
    time = std::make_unique<FakeTimeLoop>();
    time->clock.advance(world.time.clock.now() - time->clock.now());
    auto opened = Replica::open(time->loop, world.log.log(), dir.file("replica.db"));
    ASSERT_TRUE(opened) << opened.error().message;
    replica = std::move(*opened);
    time->poller.busy = [this] { return replica->under_way() > 0; };
  }
  void close() {
    time->poller.busy = nullptr;
    time->loop.shutdown();
    replica.reset();
    world.time.clock.advance(time->clock.now() - world.time.clock.now());
    time.reset();
  }
  void wait(Duration duration) {
    const auto sleep = [&]() -> Task<bool> {
      co_await time->loop.sleep_for(duration);
      co_return true;
    };
    time->loop.run_task(sleep());
  }
  void note(const std::string& revision = "1") {
    replica->note(Stored{stored("orders"), revision});
    flush();
  }
  void flush() {
    const auto flushed = [&]() -> Task<bool> {
      co_await replica->flush();
      co_return true;
    };
    time->loop.run_task(flushed());
  }
  std::optional<Duration> age() {
    const auto found = time->loop.run_task(replica->get("orders"));
    if (!found || !*found) return std::nullopt;
    return (*found)->age;
  }
  // Ages are in milliseconds, and the start of the feed is rounded up by one.
  static void expect_near(std::optional<Duration> told, Duration wanted) {
    ASSERT_TRUE(told);
    EXPECT_GE(*told, wanted - 5ms);
    EXPECT_LE(*told, wanted + 5ms);
  }

  std::unique_ptr<FakeTimeLoop> time;
  std::unique_ptr<Replica> replica;
  const testing::TemporaryDirectory dir;
};

TEST_F(ReplicaTest, without_a_feed_a_record_ages_from_its_confirmation) {
  EXPECT_EQ(age(), std::nullopt);
  note();
  expect_near(age(), 0s);
  wait(1h);
  expect_near(age(), 1h);
  note();
  expect_near(age(), 0s);
}

TEST_F(ReplicaTest, a_confirmation_that_says_nothing_new_is_written_once_a_minute) {
  note();
  wait(30s);
  note();
  expect_near(age(), 30s);
  wait(31s);
  note();
  expect_near(age(), 0s);
}

TEST_F(ReplicaTest, while_the_feed_is_live_what_was_noted_since_is_current) {
  replica->on_live(true);
  wait(10ms);
  note();
  wait(1h);
  expect_near(age(), 0s);
  replica->on_live(false);
  wait(2h);
  expect_near(age(), 2h);
}

TEST_F(ReplicaTest, what_was_noted_before_the_feed_began_ages) {
  note();
  wait(1h);
  replica->on_live(true);
  wait(1h);
  expect_near(age(), 2h);
}

TEST_F(ReplicaTest, a_feed_that_resumes_without_a_gap_has_told_of_everything) {
  replica->on_live(true);
  wait(10ms);
  note();
  wait(1h);
  replica->on_live(false);
  wait(1h);
  replica->on_live(true);
  wait(1s);
  expect_near(age(), 0s);
}

TEST_F(ReplicaTest, after_a_gap_a_record_is_as_old_as_when_the_feed_was_last_whole) {
  replica->on_live(true);
  wait(10ms);
  note();
  wait(1h);
  replica->on_live(false);
  wait(10min);
  replica->on_gap();
  replica->on_live(true);
  flush();
  wait(20min);
  expect_near(age(), 30min);
}

TEST_F(ReplicaTest, a_gap_in_a_live_feed_makes_nothing_current) {
  replica->on_live(true);
  wait(10ms);
  note();
  wait(1h);
  replica->on_gap();
  flush();
  wait(20min);
  const auto told = age();
  ASSERT_TRUE(told);
  EXPECT_GE(*told, 20min);
  EXPECT_LE(*told, 21min);  // the feed's last beat
  note();                   // confirmed after the gap: the feed tells of its changes from here on
  wait(1h);
  expect_near(age(), 0s);
}

TEST_F(ReplicaTest, a_record_whose_change_was_announced_without_it_ages) {
  replica->on_live(true);
  wait(10ms);
  note();
  wait(1h);
  replica->doubt("orders");
  flush();
  wait(1h);
  expect_near(age(), 1h);
  note("2");
  wait(1h);
  expect_near(age(), 0s);
}

TEST_F(ReplicaTest, after_a_restart_the_feed_is_believed_up_to_its_last_beat) {
  replica->on_live(true);
  wait(10ms);
  note();
  wait(1h);
  close();
  world.time.clock.advance(3h);
  open();
  const auto told = age();
  ASSERT_TRUE(told);
  EXPECT_GE(*told, 3h);
  EXPECT_LE(*told, 3h + 1min);
}

TEST_F(ReplicaTest, an_answer_that_may_be_old_moves_no_confirmation_but_the_first) {
  replica->note(Stored{stored("orders"), "1"}, false);
  flush();
  wait(1h);
  replica->note(Stored{stored("orders"), "1"}, false);
  flush();
  expect_near(age(), 1h);
  note();
  expect_near(age(), 0s);
  wait(2min);
  replica->note(Stored{stored("orders"), "1"}, false);
  expect_near(age(), 2min);
  flush();
  expect_near(age(), 2min);
}

TEST_F(ReplicaTest, what_takes_back_what_is_remembered_is_not_taken) {
  Record record = stored("orders");
  record.serial = 7;
  replica->note(Stored{record, "7"});
  Record older = record;
  older.serial = 6;
  replica->note(Stored{older, "6"});  // while the first is on its way to the disk
  const auto serial = [&] {
    const auto found = time->loop.run_task(replica->get("orders"));
    return found && *found ? (*found)->stored.record.serial : 0;
  };
  EXPECT_EQ(serial(), 7u);
  flush();
  EXPECT_EQ(serial(), 7u);
  wait(1h);
  replica->note(Stored{older, "6"});
  EXPECT_EQ(serial(), 7u);
  flush();
  EXPECT_EQ(serial(), 7u);
  expect_near(age(), 1h);
}

TEST_F(ReplicaTest, a_key_that_rkms_wrote_was_seen_and_never_takes_the_place_of_a_record) {
  const auto recall = [&] { return time->loop.run_task(replica->recall("orders")); };
  EXPECT_EQ(recall().what, Recall::What::kNever);
  Record rkms = stored("orders");
  rkms.from_rkms = true;
  rkms.versions.at(1).check.reset();
  replica->note(Stored{rkms, "rkms"});
  EXPECT_EQ(recall().what, Recall::What::kKnown);
  flush();
  EXPECT_EQ(recall().what, Recall::What::kKnown);
  EXPECT_FALSE(recall().stored) << "there is nothing to serve from";
  EXPECT_EQ(replica->status().errors, 0u);
  note("2");  // adopted
  EXPECT_TRUE(recall().stored);
  wait(1h);
  replica->note(Stored{rkms, "rkms"});
  flush();
  EXPECT_TRUE(recall().stored);
}

TEST_F(ReplicaTest, a_doubt_does_not_push_out_a_record_that_is_not_on_disk_yet) {
  replica->note(Stored{stored("orders"), "1"});
  replica->doubt("orders");
  flush();
  close();
  open();
  EXPECT_TRUE(age()) << "it is remembered";
}

TEST_F(ReplicaTest, that_a_record_was_seen_takes_no_other_ones_place) {
  const auto recall = [&] { return time->loop.run_task(replica->recall("orders")); };
  note();
  replica->note_seen("orders", Sighting::kUnproven);
  EXPECT_TRUE(recall().stored);
  flush();
  EXPECT_TRUE(recall().stored);
  replica->note_seen("damaged", Sighting::kUnproven);
  flush();
  close();
  open();
  EXPECT_TRUE(recall().stored);
  const Recall damaged = time->loop.run_task(replica->recall("damaged"));
  EXPECT_EQ(damaged.what, Recall::What::kKnown);
  EXPECT_FALSE(damaged.stored);
}

// Else a record that was announced as changed would count as current while the feed is live.
TEST_F(ReplicaTest, that_a_record_was_seen_takes_away_no_doubt_that_is_not_on_disk_yet) {
  PendingNotes notes;
  ReplicaDb::Write doubt{"orders", "", "", 0};
  doubt.doubted = true;
  ASSERT_TRUE(notes.add(doubt));
  ASSERT_TRUE(notes.add({"orders", kSeenUnproven, "", 5, false}));
  ASSERT_NE(notes.find("orders"), nullptr);
  EXPECT_EQ(notes.find("orders")->json, kSeenUnproven);
  EXPECT_TRUE(notes.find("orders")->doubted);
  EXPECT_EQ(notes.find("orders")->confirmed, 0);
}

// Adopting needs to tell them apart, whichever was seen first, and in each stage of its way.
TEST_F(ReplicaTest, what_may_have_been_keyfss_is_told_from_what_rkms_wrote) {
  const auto maybe_ours = [&](const char* id) {
    const Recall told = time->loop.run_task(replica->recall(id));
    EXPECT_EQ(told.what, Recall::What::kKnown) << id;
    EXPECT_FALSE(told.stored) << id;
    return told.why.has_value();
  };
  const auto look = [&] {
    EXPECT_FALSE(maybe_ours("rkms"));
    EXPECT_TRUE(maybe_ours("damaged"));
    EXPECT_TRUE(maybe_ours("damaged, then rkms"));
    EXPECT_TRUE(maybe_ours("rkms, then damaged"));
  };
  replica->note_seen("rkms", Sighting::kRkms);
  replica->note_seen("damaged", Sighting::kUnproven);
  for (const bool written : {false, true}) {
    replica->note_seen("damaged, then rkms", written ? Sighting::kRkms : Sighting::kUnproven);
    replica->note_seen("rkms, then damaged", written ? Sighting::kUnproven : Sighting::kRkms);
    if (!written) flush();
  }
  look();
  flush();
  look();
  close();
  open();
  look();
}

TEST_F(ReplicaTest, an_answer_that_may_be_old_takes_away_no_doubt_that_is_not_on_disk_yet) {
  PendingNotes notes;
  ReplicaDb::Write doubt{"orders", "", "", 3};
  doubt.doubted = true;
  ASSERT_TRUE(notes.add(doubt));
  const ReplicaDb::Write answer{"orders", to_json(stored("orders")).value(), "1", 5, false};
  ASSERT_TRUE(notes.add(answer));
  ASSERT_NE(notes.find("orders"), nullptr);
  EXPECT_EQ(notes.find("orders")->json, answer.json);
  EXPECT_FALSE(notes.find("orders")->strong);
  EXPECT_TRUE(notes.find("orders")->doubted);
  EXPECT_EQ(notes.find("orders")->confirmed, 3);
  ReplicaDb::Write sure = answer;
  sure.strong = true;
  ASSERT_TRUE(notes.add(sure));
  EXPECT_FALSE(notes.find("orders")->doubted);
  EXPECT_EQ(notes.find("orders")->confirmed, 5);
}

TEST_F(ReplicaTest, a_record_announced_as_changed_ages_though_an_old_answer_came_before_the_disk) {
  replica->on_live(true);
  wait(10ms);
  note();
  wait(1h);
  replica->note_seen("other", Sighting::kUnproven);  // keeps the disk busy
  replica->doubt("orders");
  replica->note(Stored{stored("orders"), "1"}, false);
  flush();
  wait(1h);
  expect_near(age(), 1h);
}

TEST_F(ReplicaTest, a_file_that_lost_its_tables_is_damaged_and_no_host_that_has_seen_nothing) {
  note();
  close();
  for (const char* end : {"-wal", "-shm"}) std::filesystem::remove(dir.file("replica.db") + end);
  std::filesystem::resize_file(dir.file("replica.db"), 0);
  open();
  EXPECT_TRUE(std::filesystem::exists(dir.file("replica.db.damaged")));
  const Recall recall = time->loop.run_task(replica->recall("orders"));
  EXPECT_EQ(recall.what, Recall::What::kUnknown);
  EXPECT_NE(replica->trouble(), "");
}

TEST_F(ReplicaTest, what_is_kept_is_found_by_the_next_process) {
  replica->note(Stored{stored("orders"), "1"});
  const auto kept = time->loop.run_task(replica->kept("orders"));
  EXPECT_TRUE(kept) << kept.error().message;
  close();
  open();
  EXPECT_TRUE(age());
}

TEST_F(ReplicaTest, what_is_kept_is_in_the_main_file_alone) {
  const testing::TemporaryDirectory saved;
  const std::string copy = saved.file("replica.db");
  for (const char* revision : {"1", "2", "3"}) {
    replica->note(Stored{stored("orders"), revision});
    const auto kept = time->loop.run_task(replica->kept("orders"));
    ASSERT_TRUE(kept) << kept.error().message;
    EXPECT_EQ(std::filesystem::file_size(dir.file("replica.db-wal")), 0u);
    // The file is not opened here, which would drop SQLite's locks on it.
    ASSERT_EQ(std::system(("cp '" + dir.file("replica.db") + "' '" + copy + "'").c_str()), 0);
    const auto alone = ReplicaDb::open(time->clock, copy);
    ASSERT_TRUE(alone) << alone.error().message;
    const auto row = (*alone)->get("orders");
    ASSERT_TRUE(row && *row);
    EXPECT_EQ((*row)->stored.revision, revision);
  }
}

TEST_F(ReplicaTest,
       what_a_killed_keyfs_left_in_the_log_is_in_the_main_file_from_the_next_start_on) {
  note();
  close();
  const std::string path = dir.file("replica.db");
  const SystemClock clock;
  const auto soon = clock.now() + 10s;
  // Stands for the one that was killed: its log stays as it is.
  const auto killed =
      SqliteDb::open(clock, path, {0x6b667272, 1, ""}, soon, SqliteDb::Empty::kMissing);
  ASSERT_TRUE(killed) << killed.error().message;
  auto put = (*killed)->prepare("INSERT INTO records SELECT 'left', 'seen', '', 0, 0");
  ASSERT_TRUE(put);
  ASSERT_TRUE((*killed)->write<bool>(soon, [&] {
    const SqliteReset reset(*put);
    return put->step();
  }));
  ASSERT_GT(std::filesystem::file_size(path + "-wal"), 0u);
  open();
  EXPECT_EQ(std::filesystem::file_size(path + "-wal"), 0u);
  EXPECT_EQ(time->loop.run_task(replica->recall("left")).what, Recall::What::kKnown);
}

TEST_F(ReplicaTest, a_note_that_cannot_be_merged_while_others_read_is_not_written_yet) {
  note();
  const SystemClock clock;
  const std::string path = dir.file("replica.db");
  const auto db = ReplicaDb::open(clock, path);
  ASSERT_TRUE(db) << db.error().message;
  const auto other = SqliteDb::open(clock, path, {0x6b667272, 1, ""}, clock.now() + 10s,
                                    SqliteDb::Empty::kMissing);
  ASSERT_TRUE(other) << other.error().message;
  auto read = (*other)->prepare("SELECT id FROM records");
  ASSERT_TRUE(read);
  const std::vector<ReplicaDb::Write> writes = {{"new", kSeenUnproven, "", 1}};
  {
    const SqliteReset reset(*read);
    const auto row = read->step();
    ASSERT_TRUE(row && *row);
    const auto written = (*db)->write(writes);
    ASSERT_FALSE(written);
    EXPECT_EQ(written.error().code, Code::kTimeout) << written.error().message;
  }
  EXPECT_TRUE((*db)->write(writes));
  EXPECT_EQ(std::filesystem::file_size(path + "-wal"), 0u);
}

TEST_F(ReplicaTest, a_file_that_lost_its_name_keeps_nothing_and_knows_no_id_for_certain) {
  note();
  for (const char* end : {"", "-wal", "-shm"}) {
    std::filesystem::remove(dir.file("replica.db") + end);
  }
  EXPECT_EQ(time->loop.run_task(replica->recall("orders")).what, Recall::What::kKnown);
  const Recall told = time->loop.run_task(replica->recall("never-seen"));
  EXPECT_EQ(told.what, Recall::What::kUnknown) << "another process may have noted it";
  replica->note(Stored{stored("orders"), "2"}, true);
  EXPECT_FALSE(time->loop.run_task(replica->kept("orders")));
  EXPECT_TRUE(world.log.has("was removed or replaced while keyfs had it open"));
}

TEST_F(ReplicaTest, an_id_that_changed_on_disk_is_a_damaged_row_and_not_one_that_was_never_seen) {
  note();
  close();
  const std::string path = dir.file("replica.db");
  std::string bytes;
  {
    std::ifstream file(path, std::ios::binary);
    bytes.assign(std::istreambuf_iterator<char>(file), {});
  }
  const size_t at = bytes.find("orders{");
  ASSERT_NE(at, std::string::npos);
  std::fstream(path, std::ios::in | std::ios::out | std::ios::binary)
      .seekp(static_cast<long>(at))
      .put('n');
  open();
  const Recall recall = time->loop.run_task(replica->recall("orders"));
  EXPECT_EQ(recall.what, Recall::What::kKnown);
  EXPECT_FALSE(recall.stored);
  ASSERT_TRUE(recall.why);
  EXPECT_EQ(recall.why->code, Code::kCorrupt);
  EXPECT_EQ(time->loop.run_task(replica->recall("never-seen")).what, Recall::What::kNever);
  // What the store has is noted anew.
  note("2");
  EXPECT_TRUE(age());
}

// By another program: it stays the file that is open, and what was in it is gone.
TEST_F(ReplicaTest, a_file_that_is_damaged_while_it_is_in_use_tells_of_no_id_and_says_what_to_do) {
  note();
  close();
  open();
  const std::string path = dir.file("replica.db");
  {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    const auto size = static_cast<long>(std::filesystem::file_size(path));
    file.seekp(4096);
    for (long i = 4096; i < size; ++i) file.put('x');
  }
  for (const char* id : {"orders", "never-seen"}) {
    const Recall told = time->loop.run_task(replica->recall(id));
    EXPECT_EQ(told.what, Recall::What::kUnknown) << "that the id was seen would be a guess";
    ASSERT_TRUE(told.why);
    for (const std::string& part : {path + ", which is damaged", std::string("restart keyfs"),
                                    "remove " + path + ".damaged"}) {
      EXPECT_NE(told.why->message.find(part), std::string::npos) << told.why->message;
    }
    EXPECT_EQ(told.why->message.find("restore it from a backup"), std::string::npos)
        << "which would take back what was seen: " << told.why->message;
  }
  EXPECT_NE(replica->trouble().find("restart keyfs"), std::string::npos) << replica->trouble();
}

}  // namespace
}  // namespace keyfs
