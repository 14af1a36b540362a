// What the tests of the DynamoDB store ask of a table of their own.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "base/encoding.h"
#include "store/dynamodb/fixture.h"
#include "store/store_contract.h"

namespace keyfs::testing {

class DynamoDbStoreTest : public ::testing::Test {
 protected:
  void TearDown() override { bed_.heal_all(); }

  template <class T>
  T run(Task<T> task) {
    return bed_.loop().run_task(std::move(task));
  }
  Result<PutResult> put(Store& store, const std::string& id, const std::string& mark = "a",
                        Duration within = std::chrono::seconds(20)) {
    return run(store.put_if_absent(example_record(id, mark), bed_.in(within)));
  }
  Result<Got> get(Store& store, const std::string& id, Duration within = std::chrono::seconds(20),
                  Read read = Read::kAny) {
    return run(store.get(id, read, bed_.in(within)));
  }
  // A Global Table in the eventual mode, from now on.
  void eventual() {
    for (size_t number = 1; number <= 3; ++number) {
      bed_.fault(number, {{"do", "corrupt"},
                          {"op", "DescribeTable"},
                          {"field", "Table.MultiRegionConsistency"},
                          {"value", "EVENTUAL"}});
    }
  }
  // Puts an item as RKMS writes it.
  void put_rkms(const std::string& id) {
    bed_.call("PutItem", {{"Item",
                           {{"id", {{"S", id}}},
                            {"keys",
                             {{"M",
                               {{"us-east-1", {{"S", base64_encode("east")}}},
                                {"us-west-2", {{"S", base64_encode("west")}}}}}}}}}});
  }

  // Of each GetItem at home meanwhile, whether it was a strongly consistent one.
  std::vector<bool> reads_of(const std::function<void()>& work) {
    bed_.control(1, "/record", {{"on", true}});
    const size_t before = recorded_reads().size();
    work();
    auto reads = recorded_reads();
    bed_.control(1, "/record", {{"on", false}});
    reads.erase(reads.begin(), reads.begin() + static_cast<std::ptrdiff_t>(before));
    return reads;
  }
  std::vector<bool> recorded_reads() {
    const nlohmann::json requests = bed_.control(1, "/requests");
    std::vector<bool> consistent;
    for (const auto& request : requests.is_array() ? requests : requests["requests"]) {
      if (request["op"] == "GetItem") consistent.push_back(request["values"]["ConsistentRead"]);
    }
    return consistent;
  }

  DynamoDbBed bed_;
};

}  // namespace keyfs::testing
