// For the tests of consumers and their refresh: real processes, a loop, and openings as the mount
// tells of them.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "base/config.h"
#include "base/http.h"
#include "base/loop.h"
#include "fs/keys/key_cache.h"
#include "fs/rotation/consumer_rules.h"
#include "fs/rotation/consumers.h"
#include "fs/rotation/process_id.h"
#include "support/log_capture.h"
#include "support/temporary_directory.h"

namespace keyfs::testing {

using namespace std::chrono_literals;

// True once it is; false after ten seconds.
template <class Done>
bool comes_true(Done done) {
  const auto give_up = std::chrono::steady_clock::now() + 10s;
  while (!done()) {
    if (std::chrono::steady_clock::now() > give_up) return false;
    std::this_thread::sleep_for(2ms);
  }
  return true;
}

inline std::string contents(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

inline void write_text(const std::string& path, std::string_view text, mode_t mode = 0600) {
  std::ofstream(path) << text;
  ::chmod(path.c_str(), mode);
}

// A program that is killed at the end of the test.
class Child {
 public:
  explicit Child(std::vector<std::string> words) {
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    // With signals as a service has them, however the tests were started (nohup ignores one).
    posix_spawnattr_t attributes;
    sigset_t hangup;
    ::sigemptyset(&hangup);
    ::sigaddset(&hangup, SIGHUP);
    ::posix_spawnattr_init(&attributes);
    ::posix_spawnattr_setsigdefault(&attributes, &hangup);
    ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
    if (::posix_spawnp(&pid_, argv[0], nullptr, &attributes, argv.data(), environ) != 0) pid_ = -1;
    ::posix_spawnattr_destroy(&attributes);
    EXPECT_GT(pid_, 0);
  }
  ~Child() { end(); }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  // Also reaps it, so that its number may be used again.
  void end() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }
  // Waits for its end; the status of waitpid().
  int wait() {
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = -1;
    return status;
  }
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = -1;
};

// Sleeps.
inline std::vector<std::string> sleeper() { return {"/bin/sleep", "1000"}; }

// A shell that writes a line to `file` for each HUP, and "ready" when it can take them.
inline std::vector<std::string> listener(const std::string& file) {
  return {"/bin/sh", "-c",
          "trap 'echo hup >> \"$0\"' HUP; echo ready >> \"$0\"; "
          "while :; do sleep 0.02; done",
          file};
}

inline ConsumerRules rules_of(std::string_view text) {
  SystemNames names;
  const auto file = ConfigFile::parse(text, "keyfs.ini");
  EXPECT_TRUE(file) << (file ? "" : file.error().message);
  auto rules = ConsumerRules::load(*file, names);
  EXPECT_TRUE(rules) << (rules ? "" : rules.error().message);
  return rules ? std::move(*rules) : ConsumerRules();
}

class ConsumersTest : public ::testing::Test {
 protected:
  ConsumersTest() : cache_(CacheOptions()) {}
  ~ConsumersTest() override {
    loop_.shutdown();
    consumers_.reset();
  }

  std::string file() const { return folder_.file("consumers.json"); }

  // Reads the file, as a daemon that is started.
  void start(std::string_view rules, ConsumerLimits limits = {},
             Consumers::Current current = nullptr) {
    consumers_.reset();
    rules_ = rules_of(rules);
    consumers_ = Consumers::open(loop_, log_.log(), rules_, file(), std::move(current), limits);
  }

  static std::shared_ptr<const ProcessInfo> info_of(pid_t pid, std::string cgroup = "/",
                                                    std::string executable = "") {
    static std::atomic<uint64_t> serial{0};
    auto info = std::make_shared<ProcessInfo>();
    info->pid = pid;
    info->executable = executable.empty() && pid > 0 ? program_of(pid) : std::move(executable);
    info->cgroup = std::move(cgroup);
    info->serial = ++serial;
    return info;
  }
  // From any thread.
  void open(const std::shared_ptr<const ProcessInfo>& process, std::string_view id,
            uint32_t version, uint32_t asked = 0, uid_t uid = 0) {
    const KeyRef key = cache_.acquire(id);
    const TimePoint now = clock_.now();
    consumers_->opened(key, version, asked, uid, process, {now, now});
  }

  static std::vector<KeyVersion> key(std::string id, uint32_t version) {
    return {KeyVersion{std::move(id), version}};
  }
  std::vector<std::string> told(const std::vector<KeyVersion>& keys) {
    std::vector<std::string> names;
    for (const ConsumerToTell& one : consumers_->to_tell(keys)) names.push_back(one.name);
    return names;
  }
  bool save() { return loop_.run_task(consumers_->save()); }

  TemporaryDirectory folder_;
  CurlGlobal curl_;
  SecretArena arena_;
  SystemClock clock_;
  CurlPoller poller_{curl_};
  Loop loop_{clock_, poller_};
  LogCapture log_;
  KeyCache cache_;
  ConsumerRules rules_;
  std::unique_ptr<Consumers> consumers_;
};

}  // namespace keyfs::testing
