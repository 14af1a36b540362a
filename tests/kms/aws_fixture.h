// A KMS region (moto) behind its fault proxy, as started by tests/support/with_aws.py.
#pragma once

#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "base/aws/client.h"
#include "base/aws/credentials.h"
#include "base/http.h"
#include "base/worker.h"
#include "kms/aws_region.h"
#include "kms/aws_region_factory.h"
#include "kms/region_fixture.h"

namespace keyfs::testing {

inline std::string part(const std::string& name) {
  const char* value = std::getenv(("KEYFS_TEST_" + name).c_str());
  return value == nullptr ? "" : value;
}
inline bool have_aws() { return !part("REGION_1").empty(); }

// The machine's clock, off by `off`.
class WrongClock final : public Clock {
 public:
  TimePoint now() const override { return real_.now(); }
  WallTime wall() const override { return real_.wall() + off; }
  std::chrono::milliseconds off{0};

 private:
  SystemClock real_;
};

class AwsFixture final : public RegionFixture {
 public:
  AwsFixture() {
    auto client = HttpClient::create(loop_, poller_, arena_, {});
    if (!client) std::abort();
    http_ = std::move(*client);
    factory_ = std::make_unique<AwsRegionFactory>(
        *http_, *http_, [this](const std::string& name) -> std::optional<std::string> {
          const auto it = environment.find(name);
          if (it == environment.end()) return std::nullopt;
          return it->second();
        });
    set("AWS_ACCESS_KEY_ID", "AKIATEST");
    set("AWS_SECRET_ACCESS_KEY", "test");
    set("AWS_EC2_METADATA_DISABLED", "true");
    set("HOME", "/nonexistent");
    for (int n = 1; n <= 3; ++n) calm(n);
    region_ = make(1, "alias/keyfs");
  }
  ~AwsFixture() override {
    for (int n = 1; n <= 3; ++n) calm(n);
  }

  Loop& loop() override { return loop_; }
  SecretArena& arena() override { return arena_; }
  Region& region() override { return *region_; }

  void set(const std::string& name, const std::string& value) {
    environment[name] = [value] { return value; };
  }
  // The n-th region, with that key.
  std::unique_ptr<Region> make(int n, const std::string& key) {
    const std::string name = part("REGION_" + std::to_string(n));
    auto file = ConfigFile::parse("[region " + name + "]\ntype = aws\nkey = " + key +
                                      "\nendpoint = " + part("KMS_" + std::to_string(n)) + "\n",
                                  "keyfs.ini");
    auto made = factory_->make(file->sections().front());
    if (!made) std::abort();
    return std::move(*made);
  }

  // The proxy's control of the n-th region's KMS.
  nlohmann::json control(int n, const std::string& method, const std::string& path,
                         const nlohmann::json& body = {}) {
    HttpRequest request(method, part("KMS_" + std::to_string(n) + "_CONTROL") + path,
                        loop_.now() + std::chrono::seconds(20));
    if (method == "POST") request.body = body.dump();
    auto response = loop_.run_task(http_->send(std::move(request)));
    if (!response || response->status != 200) {
      std::fprintf(stderr, "control %s: %s\n", path.c_str(),
                   response ? response->body.c_str() : response.error().message.c_str());
      std::abort();
    }
    return nlohmann::json::parse(response->body, nullptr, false);
  }
  void fault(int n, const nlohmann::json& what) { control(n, "POST", "/faults", what); }
  void calm(int n) {
    control(n, "DELETE", "/faults");
    control(n, "POST", "/link", {{"state", "pass"}});
    control(n, "POST", "/verify", {{"keys", nullptr}});
    control(n, "POST", "/stats/reset");
  }
  int calls(int n, const std::string& operation) {
    const auto stats = control(n, "GET", "/stats");
    const auto& all = stats["calls"];
    return all.contains(operation) ? all[operation]["since_reset"].get<int>() : 0;
  }

  std::map<std::string, std::function<std::string()>> environment;
  WrongClock clock;

 private:
  CurlGlobal curl_;
  SecretArena arena_;
  CurlPoller poller_{curl_};
  Loop loop_{clock, poller_};
  std::unique_ptr<HttpClient> http_;
  std::unique_ptr<AwsRegionFactory> factory_;
  std::unique_ptr<Region> region_;
};

}  // namespace keyfs::testing
