// Custody `wrapped` keeps what every custody promises.
#include "kms/signing/custody_contract.h"
#include "kms/signing/wrapped_fixture.h"

namespace keyfs::testing {
namespace {

class WrappedCustodyUnderTest final : public CustodyUnderTest {
 public:
  // Time stands still while other threads make RSA keys.
  WrappedCustodyUnderTest() {
    world_.time.poller.busy = [] { return true; };
  }
  ~WrappedCustodyUnderTest() override { world_.time.poller.busy = nullptr; }

  Loop& loop() override { return world_.time.loop; }
  std::unique_ptr<Custody> connect() override {
    hosts_.push_back(std::make_unique<WrappedHost>(world_));
    return std::move(hosts_.back()->custody);
  }
  size_t calls() override {
    int sum = 0;
    for (const auto& host : hosts_) {
      sum += host->daemon.store.calls.all() + host->daemon.region_calls();
    }
    return static_cast<size_t>(sum);
  }

 private:
  World world_;
  std::vector<std::unique_ptr<WrappedHost>> hosts_;
};

INSTANTIATE_TEST_SUITE_P(Wrapped, CustodyContract, ::testing::Values([] {
                           return std::make_unique<WrappedCustodyUnderTest>();
                         }));

}  // namespace
}  // namespace keyfs::testing
