// Hosts with signing keys in one custody in memory, on a clock that leaps. A host may be killed: its
// tasks end where they are, and the next one finds what is on disk.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/crypto.h"
#include "base/race.h"
#include "fs/sign/behind.h"
#include "fs/sign/signing_keys.h"
#include "support/fake_time.h"
#include "support/log_capture.h"
#include "support/memory_custody.h"
#include "support/temporary_directory.h"

namespace keyfs::testing {

using namespace std::chrono_literals;

class SigningTest : public ::testing::Test {
 public:
  // A process.
  struct Host {
    Host(SigningTest& t, SigningOptions options, std::vector<Custody*> custodies) : test(t) {
      SigningKeys::Parts parts{t.loop, t.log.log(), [] { return 0.5; }, std::move(custodies)};
      auto opened = SigningKeys::open(std::move(parts), std::move(options));
      EXPECT_TRUE(opened.has_value()) << (opened ? "" : opened.error().message);
      signing = std::move(*opened);
      t.hosts.push_back(signing.get());
    }
    ~Host() {
      tasks.reset();
      std::erase(test.hosts, signing.get());
    }
    SigningKeys* operator->() { return signing.get(); }
    void start(Task<void> task) { tasks->start(std::move(task)); }
    void run_behind() { start(signing->run()); }

    SigningTest& test;
    std::unique_ptr<SigningKeys> signing;
    std::unique_ptr<Behind> tasks = std::make_unique<Behind>(test.loop);  // ends first
  };

  SigningTest() {
    options.directory = directory.file("signing");
    options.keys_per_hour = 1000;
    time.poller.busy = [this] {
      for (const SigningKeys* host : hosts) {
        if (host->at_the_disk() > 0) return true;
      }
      return false;
    };
  }

  std::unique_ptr<Host> host() {
    return std::make_unique<Host>(*this, options, std::vector<Custody*>{&custody});
  }
  std::unique_ptr<Host> loaded_host() {
    auto one = host();
    EXPECT_TRUE(run(one->signing->load(soon())).has_value());
    return one;
  }

  template <class T>
  T run(Task<T> task) {
    return loop.run_task(std::move(task));
  }
  void wait(Duration duration) { run(sleep(duration)); }
  TimePoint soon() const { return loop.now() + 10s; }

  static std::string digest() { return std::string(32, 'd'); }
  DigestRequest request(std::string id, std::string pinned = "") const {
    return {std::move(id), std::move(pinned), SigningAlgorithm::kEcdsaSha256, digest(), soon()};
  }
  GenerateRequest wanted(std::string id, GenerateRequest::Mode mode = GenerateRequest::Mode::kPut) {
    return {std::move(id), SigningKeyType::kEcP256, "", mode, soon()};
  }
  Result<SigningKeyPtr> generate(Host& one, std::string id,
                                 GenerateRequest::Mode mode = GenerateRequest::Mode::kPut) {
    return run(one->generate(wanted(std::move(id), mode)));
  }
  Result<SigningKeys::SignOutcome> sign(Host& one, std::string id, std::string pinned = "") {
    return run(one->sign(request(std::move(id), std::move(pinned))));
  }
  // It signs, and with the key that the name refers to.
  void expect_right_key(Host& one, const std::string& id) {
    const auto outcome = sign(one, id);
    ASSERT_TRUE(outcome.has_value()) << outcome.error().message;
    ASSERT_TRUE(outcome->done.has_value());
    const std::string key = custody.key_of(id);
    ASSERT_TRUE(keys->keys.contains(key));
    EXPECT_EQ(outcome->done->by->public_key->fingerprint(),
              keys->keys.at(key).public_key->fingerprint());
    expect_verifies(*outcome->done);
  }
  static void expect_verifies(const SignedDigest& done) {
    EXPECT_TRUE(done.by->public_key
                    ->verify(SigningAlgorithm::kEcdsaSha256, bytes_of(digest()),
                             bytes_of(done.signature.bytes))
                    .has_value());
  }
  // A key with a name, as if somebody else had made it.
  std::string make_named(const std::string& id) {
    const std::string key =
        keys->add(SigningKeyType::kEcP256, "KEY/example.org/" + id, time.clock.wall());
    keys->names["example_org/srv1/" + id] = MemoryKeys::Name{key, time.clock.wall()};
    return key;
  }
  size_t files(const std::string& part) const {
    const std::string path = options.directory + "/" + part;
    if (!std::filesystem::exists(path)) return 0;
    return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(path),
                                             std::filesystem::directory_iterator()));
  }
  // Calls of that name wait until open() or their task ends.
  void block(std::string call) {
    blocked = std::move(call);
    custody.hook = [this](std::string name) -> Task<void> {
      while (name == blocked) {
        ++waiting;
        co_await loop.sleep_for(look_every);
        --waiting;
      }
    };
  }
  void open() { blocked.clear(); }
  // Until a call of that name is under way.
  void until_running(const std::string& call) {
    for (int turns = 0; custody.running(call) == 0 && turns < 1000; ++turns) wait(1ms);
    ASSERT_GT(custody.running(call), 0u) << call;
  }

  FakeTimeLoop time;
  Loop& loop = time.loop;
  LogCapture log{time.clock};
  TemporaryDirectory directory;
  std::shared_ptr<MemoryKeys> keys = std::make_shared<MemoryKeys>();
  MemoryCustody custody{loop, keys};
  SigningOptions options;
  std::vector<const SigningKeys*> hosts;
  std::string blocked;
  Duration look_every = 10ms;  // of blocked calls
  int waiting = 0;

 private:
  Task<void> sleep(Duration duration) { co_await loop.sleep_for(duration); }
};

using SigningHost = SigningTest::Host;

}  // namespace keyfs::testing
