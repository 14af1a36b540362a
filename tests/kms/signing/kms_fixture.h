// Custody kms over the double of KMS in two regions, as started by tests/support/with_signing_kms.py.
#pragma once

#include <cstdlib>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/aws/client.h"
#include "base/aws/credentials.h"
#include "base/http.h"
#include "kms/aws_region.h"
#include "kms/signing/custody_contract.h"
#include "kms/signing/kms_custody.h"
#include "support/fake_random.h"

namespace keyfs::testing {

inline std::string signing_part(const std::string& name) {
  const char* value = std::getenv(("KEYFS_TEST_SIGNING_" + name).c_str());
  return value == nullptr ? "" : value;
}

inline KmsCustodyOptions spire_options() {
  KmsCustodyOptions options;
  options.alias_prefix = "alias/SPIRE_SERVER/example_org/srv1/";
  options.siblings_prefix = "alias/SPIRE_SERVER/example_org/";
  options.description_prefix = "SPIRE_SERVER_KEY/example.org/";
  options.policy =
      R"({"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"kms:*","Resource":"*"}]})";
  options.tags = {{"team", "pki"}};
  return options;
}

class KmsUnderTest final : public CustodyUnderTest {
 public:
  // In the first so many regions.
  explicit KmsUnderTest(size_t regions = 1) : regions_(regions) {
    auto client = HttpClient::create(loop_, poller_, arena_, {});
    if (!client) std::abort();
    http_ = std::move(*client);
    credentials_ = std::make_unique<AwsCredentialProvider>(
        *http_, *http_,
        [](const std::string& name) -> std::optional<std::string> {
          if (name == "AWS_ACCESS_KEY_ID" || name == "AWS_SECRET_ACCESS_KEY") return "test";
          if (name == "HOME") return "/nonexistent";
          return std::nullopt;
        },
        AwsCredentialOptions());
    post("reset");
  }
  ~KmsUnderTest() override { post("heal"); }

  Loop& loop() override { return loop_; }
  std::unique_ptr<Custody> connect() override { return connect(spire_options()); }
  std::unique_ptr<Custody> connect(KmsCustodyOptions options) {
    std::vector<KmsSigningRegion> regions;
    for (size_t n = 1; n <= regions_; ++n) {
      AwsServiceOptions service;
      service.service = AwsRegion::kService;
      service.region = region(n);
      service.endpoint = signing_part(std::to_string(n)) + "/";
      service.target_prefix = AwsRegion::kTargetPrefix;
      service.json_version = AwsRegion::kJsonVersion;
      KmsSigningRegion one;
      one.name = region(n);
      one.client = std::make_unique<AwsClient>(*http_, *credentials_, std::move(service));
      regions.push_back(std::move(one));
    }
    auto made =
        make_kms_custody(loop_, random_fraction(random_), std::move(regions), std::move(options));
    if (!made) std::abort();
    return std::move(*made);
  }
  size_t calls() override {
    size_t all = 0;
    const nlohmann::json counts = get("counts");
    for (const auto& [operation, count] : counts.items()) all += count.get<size_t>();
    return all;
  }
  size_t calls(const std::string& operation) { return get("counts").value(operation, size_t{0}); }

  static std::string region(size_t n) { return signing_part("REGION_" + std::to_string(n)); }

  // The double's control (tests/support/kms_double/server.py).
  nlohmann::json get(const std::string& path) {
    HttpRequest request("GET", signing_part("CONTROL") + "/" + path, soon());
    return control(std::move(request));
  }
  nlohmann::json post(const std::string& path,
                      const nlohmann::json& body = nlohmann::json::object()) {
    HttpRequest request("POST", signing_part("CONTROL") + "/" + path, soon());
    request.body = body.dump();
    return control(std::move(request));
  }
  // As anybody else in the account.
  nlohmann::json call(size_t n, const std::string& operation, const nlohmann::json& fields) {
    return post("call", {{"region", region(n)}, {"operation", operation}, {"fields", fields}});
  }
  // A key in the first region that somebody made; its id.
  std::string foreign_key(const std::string& description, const std::string& alias) {
    const auto made = call(
        1, "CreateKey",
        {{"KeySpec", "ECC_NIST_P256"}, {"KeyUsage", "SIGN_VERIFY"}, {"Description", description}});
    const std::string id = made["KeyMetadata"]["KeyId"];
    if (!alias.empty()) call(1, "CreateAlias", {{"AliasName", alias}, {"TargetKeyId", id}});
    return id;
  }
  // What the double says of a key in a region: "Enabled"...; empty: there is none.
  std::string state(const std::string& reference, size_t n = 1) {
    const std::string id = reference.substr(reference.rfind('/') + 1);
    for (const auto& key : get("keys?" + region(n))) {
      if (key["id"] == id) return key["state"];
    }
    return "";
  }
  // Neither deleted nor disposed of, whoever asks for it by that name.
  void expect_left_alone(Custody& custody, const std::string& name, const std::string& key) {
    const auto done = loop_.run_task(custody.schedule_deletion(name, key, soon()));
    ASSERT_TRUE(done) << done.error().message;
    EXPECT_EQ(*done, Deletion::kLeftAlone);
    StrayKey stray;
    stray.key = key;
    const auto disposed = loop_.run_task(custody.dispose(stray, soon()));
    ASSERT_TRUE(disposed) << disposed.error().message;
    EXPECT_EQ(*disposed, Deletion::kLeftAlone);
  }
  TimePoint soon() { return loop_.now() + std::chrono::seconds(30); }

 private:
  nlohmann::json control(HttpRequest request) {
    const std::string url = request.url;
    auto response = loop_.run_task(http_->send(std::move(request)));
    if (!response || response->status != 200) {
      std::fprintf(stderr, "%s: %s\n", url.c_str(),
                   response ? response->body.c_str() : response.error().message.c_str());
      std::abort();
    }
    return nlohmann::json::parse(response->body, nullptr, false);
  }

  const size_t regions_;
  CurlGlobal curl_;
  SecretArena arena_;
  SystemClock clock_;
  CurlPoller poller_{curl_};
  Loop loop_{clock_, poller_};
  FakeRandom random_;
  std::unique_ptr<HttpClient> http_;
  std::unique_ptr<AwsCredentialProvider> credentials_;
};

}  // namespace keyfs::testing
