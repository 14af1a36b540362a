#include "support/memory_board.h"

#include "store/board_contract.h"
#include "support/fake_time.h"
#include "support/memory_store.h"

namespace keyfs::testing {
namespace {

class MemoryBoardUnderTest final : public BoardUnderTest {
 public:
  Loop& loop() override { return time_.loop; }
  std::unique_ptr<Store> connect() override {
    return std::make_unique<MemoryStore>(time_.loop, records_);
  }
  void damage(const std::string& name) override { records_->documents()->damage(name); }

 private:
  FakeTimeLoop time_;
  std::shared_ptr<MemoryRecords> records_ = std::make_shared<MemoryRecords>();
};

INSTANTIATE_TEST_SUITE_P(Memory, BoardContract, ::testing::Values([] {
                           return std::make_unique<MemoryBoardUnderTest>();
                         }));

}  // namespace
}  // namespace keyfs::testing
