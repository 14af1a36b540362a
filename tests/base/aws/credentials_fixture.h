// A provider of credentials against real endpoints of IMDS, ECS, EKS Pod Identity and STS
// (tests/support/credentials.py).
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "base/aws/credentials.h"

namespace keyfs::testing {

using namespace std::chrono_literals;

// A fixed clock apart from now(), so that credentials can be made to age.
class ShiftedClock final : public Clock {
 public:
  TimePoint now() const override { return real_.now() + since; }
  WallTime wall() const override {
    return real_.wall() + std::chrono::duration_cast<std::chrono::milliseconds>(shift);
  }
  Duration shift{};
  Duration since{};

 private:
  SystemClock real_;
};

inline std::string part(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

class Credentials : public ::testing::Test {
 protected:
  void SetUp() override {
    if (part("KEYFS_TEST_CREDENTIALS").empty()) GTEST_SKIP() << "run me by with_credentials.py";
    char pattern[] = "/tmp/keyfs-credentials-XXXXXX";
    home_ = mkdtemp(pattern);
    std::filesystem::create_directory(home_ + "/.aws");
    http_ = *HttpClient::create(loop_, poller_, arena_, {});
    control("reset", "{}");
    environment_ = {{"HOME", home_},
                    {"AWS_ENDPOINT_URL_STS", part("KEYFS_TEST_CREDENTIALS")},
                    {"AWS_EC2_METADATA_SERVICE_ENDPOINT", part("KEYFS_TEST_CREDENTIALS")}};
  }
  void TearDown() override {
    if (!home_.empty()) std::filesystem::remove_all(home_);
  }

  nlohmann::json control(const std::string& verb, const std::string& body) {
    HttpRequest request("POST", part("KEYFS_TEST_CREDENTIALS_CONTROL") + "/" + verb,
                        loop_.now() + 10s);
    request.body = body;
    auto response = loop_.run_task(http_->send(std::move(request)));
    EXPECT_TRUE(response && response->status == 200);
    return nlohmann::json::parse(response->body, nullptr, false);
  }
  int count(const std::string& endpoint) {
    const auto counts = control("counts", "{}");
    return counts.contains(endpoint) ? counts[endpoint].get<int>() : 0;
  }
  bool issued(const AwsCredentialsPtr& credentials) {
    const auto all = control("issued", "{}");
    return all.contains(credentials->access_key_id) &&
           all[credentials->access_key_id]["secret"] ==
               std::string(credentials->secret_access_key.reveal_text()) &&
           all[credentials->access_key_id]["token"] ==
               std::string(credentials->session_token.reveal_text());
  }

  void write(const std::string& name, const std::string& text) {
    std::ofstream(home_ + "/" + name) << text;
  }
  std::unique_ptr<AwsCredentialProvider> provider(AwsCredentialOptions options = {}) {
    return std::make_unique<AwsCredentialProvider>(
        *http_, *http_,
        [this](const std::string& name) -> std::optional<std::string> {
          const auto it = environment_.find(name);
          if (it == environment_.end()) return std::nullopt;
          return it->second;
        },
        std::move(options));
  }
  Result<AwsCredentialsPtr> get(AwsCredentialProvider& from, Duration within = 10s) {
    return loop_.run_task(from.get(loop_.now() + within));
  }
  Result<AwsCredentialsPtr> get(AwsCredentialOptions options = {}) {
    const auto fresh = provider(std::move(options));
    return get(*fresh);
  }
  static std::string keys(const std::string& id) {
    return "aws_access_key_id = " + id + "\naws_secret_access_key = secret/of+" + id + "\n";
  }

  std::string home_;
  std::map<std::string, std::string> environment_;
  CurlGlobal curl_;
  SecretArena arena_;
  ShiftedClock clock_;
  CurlPoller poller_{curl_};
  Loop loop_{clock_, poller_};
  std::unique_ptr<HttpClient> http_;
};

}  // namespace keyfs::testing
