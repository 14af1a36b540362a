#include "support/memory_store.h"

#include "store/store_contract.h"
#include "support/fake_time.h"

namespace keyfs::testing {
namespace {

class MemoryUnderTest final : public StoreUnderTest {
 public:
  Loop& loop() override { return time_.loop; }
  std::unique_ptr<Store> connect() override {
    return std::make_unique<MemoryStore>(time_.loop, records_);
  }
  std::string read_raw(const std::string& id) override { return records_->find(id)->json; }
  void write_raw(const std::string& id, const std::string& bytes) override {
    records_->write_raw(id, bytes);
  }

 private:
  FakeTimeLoop time_;
  std::shared_ptr<MemoryRecords> records_ = std::make_shared<MemoryRecords>();
};

INSTANTIATE_TEST_SUITE_P(Memory, StoreContract,
                         ::testing::Values([] { return std::make_unique<MemoryUnderTest>(); }));

}  // namespace
}  // namespace keyfs::testing
