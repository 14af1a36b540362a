// DynamoDB stores on the real parts that with_aws.py starts: moto behind a fault proxy per region.
#pragma once

#include <chrono>
#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/aws/credentials.h"
#include "base/http.h"
#include "base/worker.h"
#include "store/dynamodb/store.h"

namespace keyfs::testing {

// Built once in the program, before anything else uses curl.
CurlGlobal& curl_global();

class DynamoDbBed {
 public:
  DynamoDbBed();

  Loop& loop() { return loop_; }
  TimePoint in(Duration time) { return loop_.now() + time; }

  static std::string env(const std::string& name) {
    const char* value = std::getenv(name.c_str());
    return value == nullptr ? "" : value;
  }
  static std::string region(size_t number) {
    return env("KEYFS_TEST_REGION_" + std::to_string(number));
  }

  // `state_dir`: of a host that remembers its store; empty: of one that does not.
  std::unique_ptr<DynamoDbStore> connect(size_t regions, bool accept_rkms = false,
                                         const std::string& state_dir = {},
                                         Duration attempt = DynamoDbStore::kAttempt);
  // The store has its id, and this client knows it: no call comes beside those of the test.
  std::unique_ptr<DynamoDbStore> settled(size_t regions, bool accept_rkms = false);
  std::unique_ptr<DynamoDbReplica> replica(size_t number, bool accept_rkms = false);
  // A client that reaches home by another region's proxy, past the faults of the first.
  std::unique_ptr<DynamoDbStore> connect_past_faults();

  // Bypasses keyfs and the proxies' faults.
  nlohmann::json call(const std::string& operation, nlohmann::json request) {
    return call(operation, std::move(request), table_);
  }
  nlohmann::json call(const std::string& operation, nlohmann::json request,
                      const std::string& table);
  // A proxy's control interface: POST if there is a body, otherwise GET.
  nlohmann::json control(size_t number, const std::string& path, const nlohmann::json& body = {});
  void fault(size_t number, const nlohmann::json& fault) { control(number, "/faults", fault); }
  void link(size_t number, const std::string& state) {
    control(number, "/link", {{"state", state}});
  }
  void heal_all();
  // Since the last reset_counts().
  int calls(size_t number, const std::string& operation);
  void reset_counts();

  const std::string& table() const { return table_; }
  std::string board_table() const { return table_ + "-board"; }
  DynamoDbParts parts();

 private:
  SystemClock clock_;
  SecretArena arena_;
  OsRandom random_;
  CurlPoller poller_;
  Loop loop_;
  std::unique_ptr<HttpClient> http_;
  std::unique_ptr<AwsCredentialProvider> credentials_;
  std::string table_;
};

}  // namespace keyfs::testing
