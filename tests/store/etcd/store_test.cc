// The store over a working cluster. For failures see faults_test.cc.
#include "store/etcd/store.h"

#include "store/etcd/fixture.h"
#include "store/store_contract.h"

namespace keyfs::testing {
namespace {

class EtcdUnderTest final : public StoreUnderTest {
 public:
  Loop& loop() override { return world_.loop(); }
  std::unique_ptr<Store> connect() override { return world_.open(); }
  std::unique_ptr<Store> connect_stranger() override {
    EtcdOptions options = world_.options();
    options.state_dir.clear();
    return world_.open(options);
  }
  std::string read_raw(const std::string& id) override { return world_.read_raw(id); }
  void write_raw(const std::string& id, const std::string& bytes) override {
    world_.write_raw(id, bytes);
  }

 private:
  EtcdWorld world_;
};

INSTANTIATE_TEST_SUITE_P(Etcd, StoreContract,
                         ::testing::Values([] { return std::make_unique<EtcdUnderTest>(); }));

}  // namespace
}  // namespace keyfs::testing
