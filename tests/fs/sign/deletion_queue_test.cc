// Keys that are to be deleted: when, how often it is tried, and that it is not forgotten.
#include "fs/sign/deletion_queue.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "support/fake_time.h"
#include "support/log_capture.h"
#include "support/temporary_directory.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;

class DeletionQueueTest : public ::testing::Test {
 protected:
  DeletionQueueTest() {
    time.poller.busy = [this] { return worker.under_way() > 0; };
    one = [this](Doomed doomed) { return delete_one(std::move(doomed)); };
    restart();
  }
  void restart() {
    queue = std::make_unique<DeletionQueue>(
        time.loop, log.log(), [] { return 1.0; }, worker, directory.file("doomed"), 1h);
    ASSERT_TRUE(time.loop.run_task(queue->look()).has_value());
  }
  Task<Result<bool>> delete_one(Doomed doomed) {
    tried.push_back(doomed.key);
    co_await time.loop.yield();
    if (broken.contains(doomed.key)) co_return fail(Code::kUnavailable, "out");
    co_return true;
  }
  void add(const std::string& key, Duration wait) {
    Doomed doomed("kms", key, "ca", "", in(wait));
    ASSERT_TRUE(time.loop.run_task(queue->add(doomed)).has_value());
  }
  WallTime in(Duration wait) const {
    return time.clock.wall() + std::chrono::duration_cast<std::chrono::milliseconds>(wait);
  }
  bool work() { return time.loop.run_task(queue->work(one, TimePoint::max())); }
  using Keys = std::vector<std::string>;

  testing::FakeTimeLoop time;
  LogCapture log{time.clock};
  testing::TemporaryDirectory directory;
  LazyWorker worker{time.loop, "test"};
  std::unique_ptr<DeletionQueue> queue;
  DeletionQueue::Delete one;
  std::set<std::string> broken;
  Keys tried;
};

TEST_F(DeletionQueueTest, a_key_is_deleted_when_it_is_due_and_not_before_whoever_starts_anew) {
  add("old", 1h);
  time.clock.advance(59min);
  restart();
  EXPECT_TRUE(work());
  EXPECT_EQ(tried, Keys());
  time.clock.advance(1min);
  EXPECT_TRUE(work());
  EXPECT_EQ(tried, Keys{"old"});
  restart();
  EXPECT_EQ(queue->summary().waiting, 0u);
}

TEST_F(DeletionQueueTest, one_that_fails_is_tried_ever_less_and_holds_up_no_other) {
  broken = {"a"};
  for (const char* key : {"a", "b", "c"}) add(key, 0s);
  EXPECT_FALSE(work());
  EXPECT_EQ(queue->summary().waiting, 1u);
  EXPECT_NE(queue->summary().trouble.find("out"), std::string::npos);
  tried.clear();
  for (int i = 0; i < 24 * 60; ++i) {
    time.clock.advance(1min);
    if (i % 100 == 0) restart();  // the pause survives that
    (void)work();
  }
  EXPECT_GE(tried.size(), 24u);
  EXPECT_LE(tried.size(), 35u);
  EXPECT_EQ(log.count("could not be deleted"), 1u);
  broken.clear();
  time.clock.advance(1h);
  EXPECT_TRUE(work());
  EXPECT_EQ(queue->summary().waiting, 0u);
}

TEST_F(DeletionQueueTest, what_is_queued_twice_keeps_the_earlier_time) {
  add("old", 0s);
  add("old", 1h);
  EXPECT_TRUE(work());
  EXPECT_EQ(tried, Keys{"old"});
}

TEST_F(DeletionQueueTest, a_clock_that_was_set_back_does_not_keep_a_key_for_ever) {
  add("old", 24h * 365);
  restart();
  time.clock.advance(1h);
  EXPECT_TRUE(work());
  EXPECT_EQ(tried, Keys{"old"});
}

TEST_F(DeletionQueueTest, what_another_process_did_is_forgotten_and_what_it_left_is_done) {
  add("old", 1h);
  DeletionQueue other(
      time.loop, log.log(), [] { return 0.0; }, worker, directory.file("doomed"), 1h);
  Doomed theirs("kms", "theirs", "jwt", "", in(0s));
  ASSERT_TRUE(time.loop.run_task(other.add(theirs)).has_value());
  ASSERT_TRUE(time.loop.run_task(queue->look()).has_value());
  EXPECT_EQ(queue->summary().waiting, 2u);
  EXPECT_TRUE(work());
  EXPECT_EQ(tried, Keys{"theirs"});
  ASSERT_TRUE(time.loop.run_task(other.look()).has_value());
  EXPECT_EQ(other.keys(), Keys{"old"});
}

TEST_F(DeletionQueueTest, a_damaged_entry_is_told_and_holds_up_no_other) {
  add("old", 0s);
  const std::string damaged = directory.file("doomed/x.json");
  std::ofstream(damaged) << "{";
  std::filesystem::create_symlink("/nowhere", directory.file("doomed/y.json"));
  std::filesystem::create_directory(directory.file("doomed/z.json"));
  restart();
  EXPECT_TRUE(work());
  EXPECT_EQ(tried, Keys{"old"});
  EXPECT_EQ(queue->summary().trouble, damaged + " is damaged: an old key may not be deleted");
  ASSERT_TRUE(time.loop.run_task(queue->look()).has_value());
  EXPECT_EQ(log.count("an old signing key may stay"), 3u) << "each once";
  for (const char* file : {"x", "y", "z"}) {
    std::filesystem::remove(directory.file("doomed/" + std::string(file) + ".json"));
  }
  ASSERT_TRUE(time.loop.run_task(queue->look()).has_value());
  EXPECT_EQ(queue->summary().trouble, "");
}

}  // namespace
}  // namespace keyfs
