// Hosts of a fleet, by their names and the instances that their state_dir holds.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "fs/rotation/fleet.h"

namespace keyfs::testing {

inline SimConsumer user_of(const std::string& name, const std::string& key) {
  SimConsumer consumer;
  consumer.name = name;
  consumer.keys = {key};
  return consumer;
}

class FleetOfHosts : public ::testing::Test {
 protected:
  explicit FleetOfHosts(FleetOptions options = {}) : fleet(std::move(options)) {}

  SimHost& start(const std::string& name, const std::string& instance,
                 std::vector<SimConsumer> consumers, bool may_run = true) {
    SimHost& host = fleet.add(name);
    host.identity.instance = instance;
    host.consumers = std::move(consumers);
    host.start(may_run);
    return host;
  }
  void run(const std::string& name) {
    fleet.rotate("a", "t-" + name);
    ASSERT_TRUE(fleet.until([&] { return fleet.ended(name); })) << name;
  }
  std::string why_unknown(const std::string& name) {
    const auto view = fleet.run(name);
    for (const auto& [sheet_of, seen] : view->sheets) {
      const Row* row = seen.sheet.find(kUnknownPrograms);
      if (row != nullptr && row->state == RowState::kFailed) return row->why;
    }
    return "";
  }

  Fleet fleet;
};

}  // namespace keyfs::testing
