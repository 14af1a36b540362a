// What every store must guarantee. A backend's test consists of these lines:
//
//   class MyStoreUnderTest final : public StoreUnderTest { ... };
//   INSTANTIATE_TEST_SUITE_P(My, StoreContract, ::testing::Values([] {
//     return std::make_unique<MyStoreUnderTest>();
//   }));
//
// and store_test_parts among the libraries of its program. Each test gets a new StoreUnderTest,
// whose store must be empty. store_contract.cc: what its calls do; store_contract_records.cc: what
// becomes of a record in it.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>

#include "base/loop.h"
#include "store/store.h"

namespace keyfs::testing {

class StoreUnderTest {
 public:
  virtual ~StoreUnderTest() = default;

  // The loop that all clients of this test run on. Its clock is real if the store takes real time.
  virtual Loop& loop() = 0;
  // Another client of the same store, like another daemon.
  virtual std::unique_ptr<Store> connect() = 0;

  // The same store, used by a host that remembers nothing of it.
  virtual std::unique_ptr<Store> connect_stranger() { return connect(); }

  // Without keyfs's knowledge: reads what is stored for an id, or replaces it with any bytes.
  virtual std::string read_raw(const std::string& id) = 0;
  virtual void write_raw(const std::string& id, const std::string& bytes) = 0;

  // False for a store with its own order (DynamoDB: by the hash of the id).
  virtual bool lists_by_id() const { return true; }
  // A limit that no call within the contract reaches.
  virtual Duration patience() const { return std::chrono::seconds(60); }
};

using MakeStoreUnderTest = std::function<std::unique_ptr<StoreUnderTest>()>;

class StoreContract : public ::testing::TestWithParam<MakeStoreUnderTest> {
 protected:
  void SetUp() override {
    under_test_ = GetParam()();
    store_ = under_test_->connect();
  }
  void TearDown() override {
    under_test_->loop().shutdown();
    store_.reset();
    under_test_.reset();
  }

  Loop& loop() { return under_test_->loop(); }
  TimePoint deadline() { return loop().now() + under_test_->patience(); }

  Result<Got> get(const std::string& id, Read read = Read::kAny) {
    return loop().run_task(store_->get(id, read, deadline()));
  }
  Result<PutResult> put(const Record& record) {
    return loop().run_task(store_->put_if_absent(record, deadline()));
  }
  Result<std::optional<Stored>> replace(const Record& record, const std::string& revision) {
    return loop().run_task(store_->replace(record, revision, deadline()));
  }
  // All pages, each of at most `limit` entries; a failure is a failed expectation.
  std::vector<ListPage::Entry> list_all(size_t limit);

  std::unique_ptr<StoreUnderTest> under_test_;
  std::unique_ptr<Store> store_;
};

// A record as keyfs writes it; `mark` distinguishes records with the same id.
Record example_record(const std::string& id, const std::string& mark = "a");

// A record with every optional field except the origin, which the store sets.
Record full_record(const std::string& id);

}  // namespace keyfs::testing
