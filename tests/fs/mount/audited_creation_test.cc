// The line that says that a key is about to be saved.
#include "fs/mount/audited_creation.h"

#include <nlohmann/json.hpp>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>

#include "fs/mount/fixture.h"

namespace keyfs::testing {
namespace {

using namespace std::chrono_literals;

// Can be made to fail, or to hang until it is told otherwise.
struct Disk {
  std::mutex mutex;
  std::condition_variable changed;
  std::string text;
  bool broken = false, hangs = false;

  void hang(bool now) {
    {
      std::lock_guard lock(mutex);
      hangs = now;
    }
    changed.notify_all();
  }
};

class DiskSink final : public AuditSink {
 public:
  explicit DiskSink(Disk& disk) : disk_(disk) {}
  LineFile::Written write(std::string_view lines) override {
    std::unique_lock lock(disk_.mutex);
    disk_.changed.wait(lock, [this] { return !disk_.hangs; });
    if (disk_.broken) return {0, Error(Code::kUnavailable, "no space left on device"), false};
    disk_.text += lines;
    return {static_cast<size_t>(std::count(lines.begin(), lines.end(), '\n')), std::nullopt, false};
  }
  Result<void> reopen() override { return {}; }

 private:
  Disk& disk_;
};

struct AuditedCreationTest : ::testing::Test {
  ~AuditedCreationTest() override {
    disk.hang(false);
    audit.reset();
    loop.shutdown();
  }
  // What begins() says, and in `took` how long that was.
  Result<void> begin(bool required, Duration patience = 10s) {
    Audit::Options options;
    options.required = required;
    options.linger = 1s;  // for which nobody who waits for a line has to wait
    audit = std::make_unique<Audit>(std::make_unique<DiskSink>(disk), log.log(), clock, options);
    AuditEvent opener;
    opener.key = cache.acquire("orders");
    opener.uid = 1001;
    AuditedCreation creation(*audit, loop, std::move(opener), loop.now());
    const TimePoint begun = loop.now();
    auto result = loop.run_task(creation.begins(begun + patience));
    took = loop.now() - begun;
    return result;
  }
  std::string text() {
    std::lock_guard lock(disk.mutex);
    return disk.text;
  }

  SystemClock clock;
  IdlePoller poller;
  Loop loop{clock, poller};
  LogCapture log{clock};
  KeyCache cache{CacheOptions{}};
  Disk disk;
  std::unique_ptr<Audit> audit;
  Duration took{};
};

TEST_F(AuditedCreationTest, its_line_is_written_before_the_record_is_saved) {
  for (const bool required : {false, true}) {
    disk.text.clear();
    ASSERT_TRUE(begin(required)) << required;
    const auto line = nlohmann::json::parse(text());
    EXPECT_EQ(line["event"], "creating");
    EXPECT_EQ(line["id"], "orders");
    EXPECT_EQ(line["uid"], 1001);
    EXPECT_EQ(line["created"], false);
  }
}

TEST_F(AuditedCreationTest, a_line_that_cannot_be_written_ends_a_creation_only_if_it_is_required) {
  disk.broken = true;
  EXPECT_TRUE(begin(false));
  EXPECT_LT(took, AuditedCreation::kPatience) << "it is known at once";
  EXPECT_EQ(audit->status().lost, 1u);
  const auto refused = begin(true);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kUnavailable);
  EXPECT_EQ(audit->status().lost, 0u) << "nothing happened that the line would tell of";
}

TEST_F(AuditedCreationTest,
       a_disk_that_hangs_holds_up_a_creation_for_a_moment_unless_it_is_required) {
  disk.hang(true);
  EXPECT_TRUE(begin(false));
  EXPECT_GE(took, AuditedCreation::kPatience);
  EXPECT_LT(took, 5s);
  disk.hang(false);
  audit.reset();
  EXPECT_NE(text().find("creating"), std::string::npos) << "it is written in the end";

  disk.hang(true);
  const auto refused = begin(true, 300ms);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kTimeout);
}

}  // namespace
}  // namespace keyfs::testing
