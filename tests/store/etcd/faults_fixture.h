// A store over a real cluster whose members can be made to fail; everything is repaired afterwards.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "store/etcd/fixture.h"
#include "store/etcd/store.h"
#include "store/store_contract.h"

namespace keyfs::testing {

class EtcdFaults : public ::testing::Test {
 protected:
  void SetUp() override { store_ = world_.open(); }
  void TearDown() override {
    world_.act("/heal");
    for (int member = 1; member <= 3; ++member) world_.proxy(member, "DELETE", "/faults");
    world_.loop().shutdown();
    store_.reset();
  }

  Result<Got> get(const std::string& id, Duration within = std::chrono::seconds(20),
                  Read read = Read::kAny) {
    return world_.loop().run_task(store_->get(id, read, world_.within(within)));
  }
  Result<PutResult> put(const Record& record, Duration within = std::chrono::seconds(20)) {
    return world_.loop().run_task(store_->put_if_absent(record, world_.within(within)));
  }
  Result<std::optional<Stored>> replace(const Record& record, const std::string& revision) {
    return world_.loop().run_task(
        store_->replace(record, revision, world_.within(std::chrono::seconds(20))));
  }
  // A call by way of this member and no other: it gives the store its token. Without its peers it
  // could give none, and a store that has none is not shown the member's own copy.
  void log_in(int member) {
    link_others(member, "cut");
    const auto found = get("nobody");
    link_others(member, "pass");
    ASSERT_TRUE(found) << found.error().message;
  }
  // Our way to all members but this one.
  void link_others(int member, const std::string& state) {
    for (int other = 1; other <= 3; ++other) {
      if (other == member) continue;
      world_.proxy(other, "POST", "/link", R"({"state":")" + state + R"("})", "_CONTROL");
    }
  }
  void reset_counts() {
    for (int member = 1; member <= 3; ++member) world_.proxy(member, "POST", "/stats/reset");
  }
  int calls(const std::string& path) {
    return world_.calls(1, path) + world_.calls(2, path) + world_.calls(3, path);
  }
  // The leader (members count from 1) comes first.
  EtcdOptions leader_first() {
    EtcdOptions options = world_.options();
    const std::string answer = world_.act("/leader");
    leader_ = answer.at(answer.find(": ") + 2) - '0';
    std::swap(options.endpoints.at(0), options.endpoints.at(static_cast<size_t>(leader_ - 1)));
    return options;
  }
  std::string path(int member, const char* verb) { return "/" + std::to_string(member) + verb; }

  EtcdWorld world_;
  std::unique_ptr<EtcdStore> store_;
  int leader_ = 0;
};

}  // namespace keyfs::testing
