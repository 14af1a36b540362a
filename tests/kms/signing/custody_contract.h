// What every custody must guarantee. A custody's test consists of these lines:
//
//   class MyCustodyUnderTest final : public CustodyUnderTest { ... };
//   INSTANTIATE_TEST_SUITE_P(My, CustodyContract, ::testing::Values([] {
//     return std::make_unique<MyCustodyUnderTest>();
//   }));
//
// and custody_test_parts among the libraries of its program. Each test gets a new CustodyUnderTest,
// which must have no names.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/loop.h"
#include "kms/signing/custody.h"

namespace keyfs::testing {

class CustodyUnderTest {
 public:
  virtual ~CustodyUnderTest() = default;

  // Its clock is real if the custody takes real time.
  virtual Loop& loop() = 0;
  // Another client with the same names, like another host.
  virtual std::unique_ptr<Custody> connect() = 0;
  // Calls that left this process, so far. 0 for a custody that makes none.
  virtual size_t calls() { return 0; }
  // A limit that no call within the contract reaches.
  virtual Duration patience() const { return std::chrono::seconds(60); }
};

using MakeCustodyUnderTest = std::function<std::unique_ptr<CustodyUnderTest>()>;

class CustodyContract : public ::testing::TestWithParam<MakeCustodyUnderTest> {
 protected:
  void SetUp() override {
    under_test_ = GetParam()();
    custody_ = under_test_->connect();
  }
  void TearDown() override {
    under_test_->loop().shutdown();
    custody_.reset();
    under_test_.reset();
  }

  Loop& loop() { return under_test_->loop(); }
  TimePoint deadline() { return loop().now() + under_test_->patience(); }

  // Each runs the call to its end.
  std::string create(const std::string& name, SigningKeyType type = SigningKeyType::kEcP256);
  Result<PublicKeyPtr> public_key(const std::string& key);
  Result<Signature> sign(const std::string& key, PublicKeyPtr public_key,
                         SigningAlgorithm algorithm = SigningAlgorithm::kEcdsaSha256,
                         std::optional<std::string> digest = std::nullopt);
  Result<Pointed> point(const std::string& name, const std::string& key,
                        std::optional<std::string> from);
  // What the name refers to; empty: there is none.
  std::string find(const std::string& name);
  // A new key that the name refers to.
  std::string make(const std::string& name, std::optional<std::string> from = std::nullopt);
  // The key makes signatures that verify.
  bool signs(const std::string& key, PublicKeyPtr public_key);

  std::unique_ptr<CustodyUnderTest> under_test_;
  std::unique_ptr<Custody> custody_;
};

// A digest of that length.
std::string test_digest(size_t bytes, char fill = '\x42');

}  // namespace keyfs::testing
