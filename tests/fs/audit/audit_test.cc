#include "fs/audit/audit.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <functional>
#include <mutex>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>
#include <vector>

#include "fs/audit/audit_line.h"
#include "support/fake_clock.h"
#include "support/log_capture.h"

namespace keyfs {
namespace {

using nlohmann::json;

// Keeps its lines; can be made to fail or hang.
struct Kept {
  std::mutex mutex;
  std::condition_variable changed;
  std::string text;
  int reopened = 0;
  bool broken = false;
  bool hang = false;

  void set(bool& flag, bool value) {
    {
      std::lock_guard lock(mutex);
      flag = value;
    }
    changed.notify_all();
  }
  std::vector<json> lines() {
    std::lock_guard lock(mutex);
    std::vector<json> all;
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);) all.push_back(json::parse(line));
    return all;
  }
};

class KeptSink final : public AuditSink {
 public:
  explicit KeptSink(std::shared_ptr<Kept> kept) : kept_(std::move(kept)) {}
  LineFile::Written write(std::string_view lines) override {
    std::unique_lock lock(kept_->mutex);
    kept_->changed.wait(lock, [this] { return !kept_->hang; });
    if (kept_->broken) return {0, Error(Code::kUnavailable, "no space left on device"), false};
    kept_->text += lines;
    return {static_cast<size_t>(std::count(lines.begin(), lines.end(), '\n')), std::nullopt, false};
  }
  Result<void> reopen() override {
    std::lock_guard lock(kept_->mutex);
    ++kept_->reopened;
    return {};
  }

 private:
  std::shared_ptr<Kept> kept_;
};

struct AuditTest : ::testing::Test {
  AuditEvent event(const std::string& id = "orders") {
    AuditEvent made;
    made.time = clock.wall();
    made.took = std::chrono::microseconds(1234);
    made.key = cache.acquire(id);
    made.process = process;
    made.uid = 1000;
    made.gid = 100;
    made.version = 1;
    made.verdict = AuditVerdict::kAllowed;
    made.source = KeySource::kRegion;
    made.region = &region;
    return made;
  }
  AuditEvent refusal(const std::string& id = "orders", uid_t uid = 4002) {
    AuditEvent made = event(id);
    made.uid = uid;
    made.verdict = AuditVerdict::kDenied;
    made.error = EACCES;
    return made;
  }
  std::unique_ptr<Audit> audit(size_t ring = 64, bool required = false) {
    Audit::Options options;
    options.ring = ring;
    options.required = required;
    return std::make_unique<Audit>(std::make_unique<KeptSink>(kept), log.log(), clock, options);
  }

  FakeClock clock;
  LogCapture log;
  KeyCache cache{CacheOptions{}};
  const std::string region = "us-east-1";
  std::shared_ptr<const ProcessInfo> process =
      std::make_shared<ProcessInfo>(ProcessInfo{4711, "/usr/bin/ca\"t\n", "/user.slice"});
  std::shared_ptr<Kept> kept = std::make_shared<Kept>();
};

TEST_F(AuditTest, an_open_is_one_line_of_json_with_all_that_is_known) {
  auto one = audit();
  one->write(event());
  one->flush();
  const auto lines = kept->lines();
  ASSERT_EQ(lines.size(), 1u);
  const json& line = lines[0];
  EXPECT_EQ(line["event"], "open");
  EXPECT_EQ(line["id"], "orders");
  EXPECT_EQ(line["version"], 1);
  EXPECT_EQ(line["uid"], 1000);
  EXPECT_EQ(line["gid"], 100);
  EXPECT_EQ(line["pid"], 4711);
  EXPECT_EQ(line["exe"], "/usr/bin/ca\"t\n");
  EXPECT_EQ(line["cgroup"], "/user.slice");
  EXPECT_EQ(line["verdict"], "allowed");
  EXPECT_EQ(line["source"], "region");
  EXPECT_EQ(line["region"], "us-east-1");
  EXPECT_EQ(line["us"], 1234);
  EXPECT_EQ(line["created"], false);
  EXPECT_TRUE(line["errno"].is_null());
  EXPECT_TRUE(line["section"].is_null());
  EXPECT_EQ(line["count"], 1);
}

TEST_F(AuditTest, a_signature_is_a_line_of_its_own_kind_and_displaced_by_nothing) {
  const auto signature = [this](AuditVerdict verdict) {
    AuditEvent made = event();
    made.kind = AuditEvent::Kind::kSign;
    made.key.reset();
    SigningFacts facts;
    facts.id = "ca";
    facts.fingerprint = "f1";
    facts.algorithm = "ECDSA_SHA_256";
    facts.digest = "d1";
    facts.region = "eu-west-1";
    facts.request_id = "r-1";
    made.signing = std::make_shared<const SigningFacts>(facts);
    made.verdict = verdict;
    return made;
  };
  EXPECT_TRUE(signature(AuditVerdict::kAllowed).of_a_key());
  EXPECT_FALSE(signature(AuditVerdict::kDenied).of_a_key());
  auto one = audit(64, true);
  EXPECT_TRUE(one->write(signature(AuditVerdict::kAllowed)));
  one->flush();
  const json line = kept->lines().at(0);
  EXPECT_EQ(line["event"], "sign");
  EXPECT_EQ(line["id"], "ca");
  EXPECT_EQ(line["fingerprint"], "f1");
  EXPECT_TRUE(line["pinned"].is_null());
  EXPECT_EQ(line["algorithm"], "ECDSA_SHA_256");
  EXPECT_EQ(line["digest"], "d1");
  EXPECT_EQ(line["region"], "eu-west-1");
  EXPECT_EQ(line["request"], "r-1");
  EXPECT_EQ(line["verdict"], "allowed");
  EXPECT_EQ(line["pid"], 4711);
  EXPECT_FALSE(line.contains("version"));
}

TEST_F(AuditTest, a_denied_open_names_its_errno) {
  auto one = audit();
  AuditEvent denied = event();
  denied.verdict = AuditVerdict::kDenied;
  denied.error = EACCES;
  one->write(std::move(denied));
  one->flush();
  EXPECT_EQ(kept->lines()[0]["verdict"], "denied");
  EXPECT_EQ(kept->lines()[0]["errno"], "EACCES");
}

TEST_F(AuditTest, a_failed_open_names_its_reason) {
  auto one = audit();
  AuditEvent failed = event();
  failed.verdict = AuditVerdict::kFailed;
  failed.error = EIO;
  failed.reason = std::make_shared<const std::string>("no region could unwrap it");
  one->write(std::move(failed));
  one->write(event());
  one->flush();
  EXPECT_EQ(kept->lines()[0]["reason"], "no region could unwrap it");
  EXPECT_TRUE(kept->lines()[1]["reason"].is_null());
}

TEST_F(AuditTest, many_threads_lose_nothing_while_there_is_room) {
  auto one = audit(1 << 15);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 2000; ++i) one->write(event("id" + std::to_string(t)));
    });
  }
  for (std::thread& thread : threads) thread.join();
  one->flush();
  EXPECT_EQ(one->status().lines, 8000u);
  EXPECT_EQ(one->status().lost, 0u);
  EXPECT_EQ(kept->lines().size(), 8000u);
}

TEST_F(AuditTest, a_disk_that_hangs_holds_nobody_up_and_what_is_lost_is_told) {
  auto one = audit(64);
  kept->set(kept->hang, true);
  for (int i = 0; i < 1000; ++i) one->write(event());
  EXPECT_GE(one->status().lost, 1000u - 64u - 256u);
  const uint64_t lost = one->status().lost;
  kept->set(kept->hang, false);
  one->flush();
  one->write(event());
  one->flush();
  uint64_t told = 0;
  size_t opens = 0;
  for (const json& line : kept->lines()) {
    line["event"] == "lost" ? told += line["lines"].get<uint64_t>() : ++opens;
  }
  EXPECT_EQ(told, lost);
  EXPECT_EQ(opens + told, 1001u);
  EXPECT_TRUE(log.has("audit lines were lost"));
}

TEST_F(AuditTest, a_disk_that_fails_loses_lines_and_says_so_until_it_is_mended) {
  auto one = audit();
  kept->set(kept->broken, true);
  one->write(event());
  one->flush();
  EXPECT_EQ(one->status().lost, 1u);
  EXPECT_EQ(one->status().last_error, "no space left on device");
  kept->set(kept->broken, false);
  one->write(event());
  one->flush();
  EXPECT_EQ(one->status().last_error, "");
  const auto lines = kept->lines();
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0]["event"], "lost");
  EXPECT_EQ(lines[0]["lines"], 1);
  EXPECT_EQ(lines[1]["event"], "open");
}

TEST_F(AuditTest, the_end_writes_what_is_left) {
  auto one = audit();
  for (int i = 0; i < 10; ++i) one->write(event());
  one.reset();
  EXPECT_EQ(kept->lines().size(), 10u);
}

TEST_F(AuditTest, a_writer_that_sleeps_is_woken) {
  // The writer sleeps whenever there is nothing to write: a lost wake-up would hang this.
  Audit::Options options;
  options.idle_after = Duration::zero();
  Audit one(std::make_unique<KeptSink>(kept), log.log(), clock, options);
  for (int i = 0; i < 2000; ++i) {
    one.write(event());
    one.flush();
  }
  EXPECT_EQ(kept->lines().size(), 2000u);
}

TEST_F(AuditTest, without_a_sink_nothing_is_kept_and_nothing_lost) {
  Audit off(nullptr, log.log(), clock);
  EXPECT_FALSE(off.enabled());
  off.write(event());
  off.flush();
  EXPECT_EQ(off.status().lost, 0u);
}

TEST_F(AuditTest, refusals_without_end_take_no_room_from_a_key_that_is_handed_out) {
  auto one = audit(64);
  kept->set(kept->hang, true);
  for (int i = 0; i < 100'000; ++i) one->write(refusal("app-" + std::to_string(i % 1000)));
  for (int i = 0; i < 60; ++i) one->write(event());
  kept->set(kept->hang, false);
  one.reset();
  uint64_t allowed = 0;
  uint64_t denied = 0;
  for (const json& line : kept->lines()) {
    ASSERT_EQ(line["event"], "open");  // nothing was lost
    (line["verdict"] == "allowed" ? allowed : denied) += line["count"].get<uint64_t>();
  }
  EXPECT_EQ(allowed, 60u);
  EXPECT_EQ(denied, 100'000u);
  EXPECT_LT(kept->lines().size(), 60u + 140u);
}

TEST_F(AuditTest, refusals_of_one_user_and_id_are_summed_up_after_the_first_few_in_a_second) {
  auto one = audit();
  for (int i = 0; i < 1000; ++i) one->write(refusal());
  one->flush();
  EXPECT_EQ(kept->lines().size(), 5u);
  clock.advance(std::chrono::seconds(1));
  while (kept->lines().size() < 6) one->flush();
  const json sum = kept->lines()[5];
  EXPECT_EQ(sum["count"], 995);
  EXPECT_EQ(sum["id"], "orders");
  EXPECT_EQ(sum["uid"], 4002);
  EXPECT_EQ(sum["errno"], "EACCES");
  EXPECT_EQ(sum["exe"], "/usr/bin/ca\"t\n");
  one.reset();
  EXPECT_EQ(kept->lines().size(), 6u);
}

TEST_F(AuditTest, a_creation_that_was_refused_in_the_end_is_a_line_of_its_own) {
  auto one = audit();
  for (int i = 0; i < 40; ++i) {
    AuditEvent failed = refusal();
    failed.verdict = AuditVerdict::kFailed;
    failed.created = true;
    one->write(std::move(failed));
  }
  one->flush();
  EXPECT_EQ(kept->lines().size(), 40u);
}

TEST_F(AuditTest, a_creation_that_its_opener_did_not_tell_of_has_an_event_of_its_own) {
  auto one = audit(256);
  for (const auto kind : {AuditEvent::Kind::kCreating, AuditEvent::Kind::kCreated,
                          AuditEvent::Kind::kPerhapsCreated}) {
    for (int i = 0; i < 40; ++i) {
      AuditEvent made = refusal();
      made.verdict = AuditVerdict::kFailed;
      made.error = 0;
      made.kind = kind;
      made.created = kind == AuditEvent::Kind::kCreated;
      one->write(std::move(made));
    }
  }
  one->flush();
  const auto lines = kept->lines();
  ASSERT_EQ(lines.size(), 120u);  // none is summed up
  for (const json& line : lines) {
    EXPECT_EQ(line["id"], "orders");
    EXPECT_EQ(line["uid"], 4002);
    EXPECT_TRUE(line["verdict"].is_null());
    EXPECT_TRUE(line["errno"].is_null());
  }
  EXPECT_EQ(lines[0]["event"], "creating");
  EXPECT_EQ(lines[0]["created"], false);
  EXPECT_EQ(lines[40]["event"], "created");
  EXPECT_EQ(lines[40]["created"], true);
  EXPECT_EQ(lines[80]["event"], "created");
  EXPECT_TRUE(lines[80]["created"].is_null());
}

TEST_F(AuditTest, required_lets_no_creation_begin_while_lines_cannot_be_written) {
  auto one = audit(64, true);
  kept->set(kept->broken, true);
  EXPECT_TRUE(one->write(event()));  // nobody can know yet
  one->flush();
  AuditEvent creating = event();
  creating.verdict = AuditVerdict::kFailed;
  creating.kind = AuditEvent::Kind::kCreating;
  EXPECT_FALSE(one->write(std::move(creating)));
}

TEST_F(AuditTest, refusals_wait_while_the_disk_fails_and_none_is_lost) {
  auto one = audit();
  kept->set(kept->broken, true);
  one->write(event());
  one->flush();
  for (int i = 0; i < 1000; ++i) one->write(refusal());
  one->flush();
  EXPECT_EQ(one->status().lost, 1u);
  kept->set(kept->broken, false);
  clock.advance(std::chrono::seconds(1));  // it is tried again
  const auto told = [&] {
    uint64_t denied = 0;
    for (const json& line : kept->lines()) {
      if (line["event"] == "open") denied += line["count"].get<uint64_t>();
    }
    return denied;
  };
  while (told() < 1000) one->flush();
  EXPECT_EQ(told(), 1000u);
  EXPECT_EQ(kept->lines()[0]["event"], "lost");
  EXPECT_EQ(one->status().last_error, "");
}

TEST_F(AuditTest, required_gives_no_key_out_while_lines_cannot_be_written) {
  auto one = audit(64, true);
  EXPECT_TRUE(one->write(event()));
  one->flush();
  kept->set(kept->broken, true);
  EXPECT_TRUE(one->write(event()));  // nobody can know yet
  one->flush();
  for (int i = 0; i < 3; ++i) {
    AuditEvent wish = event();
    EXPECT_FALSE(one->write(std::move(wish)));
    EXPECT_TRUE(wish.key);  // untouched: it is reported as a refusal
    wish.verdict = AuditVerdict::kFailed;
    EXPECT_TRUE(one->write(std::move(wish)));
  }
  EXPECT_TRUE(log.has("keys are not handed out (audit_required)"));
  kept->set(kept->broken, false);
  clock.advance(std::chrono::seconds(1));
  while (!one->status().last_error.empty()) one->flush();
  EXPECT_TRUE(one->write(event()));
  one->flush();
  EXPECT_TRUE(one->status().required);
  EXPECT_TRUE(log.has("keys are handed out again"));
}

TEST_F(AuditTest, that_lines_can_be_written_again_is_told_once_and_only_after_one_was) {
  auto one = audit(64, true);
  kept->set(kept->broken, true);
  EXPECT_TRUE(one->write(event()));
  one->flush();
  EXPECT_FALSE(log.has("written again"));
  kept->set(kept->broken, false);
  clock.advance(std::chrono::seconds(1));
  while (!one->status().last_error.empty()) one->flush();
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(one->write(event()));
    one->flush();
  }
  EXPECT_EQ(log.count("written again"), 1u);
}

TEST_F(AuditTest, whoever_waits_for_a_receipt_learns_whether_the_line_was_written) {
  auto one = audit(64, true);
  std::mutex mutex;
  std::vector<bool> told;
  const auto write = [&] {
    AuditEvent wish = event();
    wish.receipt = std::make_shared<const std::function<void(bool)>>([&](bool was_kept) {
      // Its line is there before this is told.
      EXPECT_EQ(kept->lines().size(), was_kept ? told.size() + 1 : told.size());
      std::lock_guard lock(mutex);
      told.push_back(was_kept);
    });
    return one->write(std::move(wish));
  };
  EXPECT_TRUE(write());
  one->flush();
  kept->set(kept->broken, true);
  EXPECT_TRUE(write());  // nobody can know yet
  one->flush();
  {
    std::lock_guard lock(mutex);
    EXPECT_EQ(told, (std::vector<bool>{true, false}));
  }
  // The key was not handed out, so no line is missing.
  EXPECT_EQ(one->status().lost, 0u);
  EXPECT_FALSE(write());
}

TEST_F(AuditTest, required_gives_no_key_out_when_the_ring_is_full) {
  auto one = audit(64, true);
  kept->set(kept->hang, true);
  int given = 0;
  for (int i = 0; i < 1000; ++i) given += one->write(event());
  EXPECT_LE(given, 64 + 256);
  kept->set(kept->hang, false);
  one.reset();
  EXPECT_EQ(kept->lines().size(), static_cast<size_t>(given));
}

struct AuditFile : AuditTest {
  AuditFile() {
    char name[] = "/tmp/keyfs-audit-XXXXXX";
    dir = ::mkdtemp(name);
    path = dir + "/audit.jsonl";
  }
  ~AuditFile() override { std::filesystem::remove_all(dir); }
  std::string dir, path;
};

TEST_F(AuditFile, is_private_to_the_daemon) {
  auto sink = open_audit_file(path, false);
  ASSERT_TRUE(sink) << sink.error().message;
  struct stat status {};
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
  ASSERT_TRUE(open_audit_file(path, true));
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0640u);
}

TEST_F(AuditFile, goes_on_in_a_new_file_after_logrotate) {
  Audit one(std::move(*open_audit_file(path, false)), log.log(), clock);
  one.write(event("before"));
  one.flush();
  std::filesystem::rename(path, path + ".1");
  one.reopen();
  one.flush();
  one.write(event("after"));
  one.flush();
  std::string line;
  std::ifstream(path) >> line;
  EXPECT_EQ(json::parse(line)["id"], "after");
}

TEST_F(AuditFile, a_symbolic_link_is_not_followed) {
  ASSERT_EQ(::symlink("/tmp/elsewhere", path.c_str()), 0);
  const auto sink = open_audit_file(path, false);
  ASSERT_FALSE(sink);
  EXPECT_NE(sink.error().message.find("symbolic link"), std::string::npos);
}

TEST_F(AuditFile, a_full_disk_is_an_error_and_not_a_crash) {
  if (!std::filesystem::exists("/dev/full")) GTEST_SKIP() << "no /dev/full";
  EXPECT_FALSE(open_audit_file("/dev/full", false));  // no regular file
  EXPECT_FALSE(open_audit_file(dir + "/no/such/dir", false));
}

TEST(ProcessCache, tells_who_we_are_and_asks_again_after_a_second) {
  ProcessCache cache(audit_fields);
  FakeClock clock;
  const auto info = cache.get(::getpid(), clock.now());
  EXPECT_EQ(info->pid, ::getpid());
  EXPECT_EQ(info->executable, std::filesystem::read_symlink("/proc/self/exe").string());
  EXPECT_EQ(cache.get(::getpid(), clock.now()), info);
  clock.advance(ProcessCache::kReuse);
  EXPECT_NE(cache.get(::getpid(), clock.now()), info);
}

TEST(ProcessCache, a_process_that_cannot_be_looked_at_is_empty) {
  ProcessCache cache(audit_fields, "/nonexistent");
  const auto info = cache.get(7, FakeClock().now());
  EXPECT_EQ(info->pid, 7);
  EXPECT_EQ(info->executable, "");
  EXPECT_EQ(info->cgroup, "");
}

}  // namespace
}  // namespace keyfs
