// For the tests of whole runs: a fleet with consumers spread over its hosts.
#pragma once

#include <string>
#include <vector>

#include "fs/rotation/fleet.h"

namespace keyfs::testing {

// `many` consumers c0, c1..., spread over the hosts, each of all these keys.
inline void spread(const std::vector<SimHost*>& hosts, size_t many,
                   const std::vector<std::string>& keys) {
  for (size_t i = 0; i < many; ++i) {
    SimConsumer consumer;
    consumer.name = "c" + std::to_string(i);
    consumer.keys = keys;
    hosts[i % hosts.size()]->consumers.push_back(consumer);
  }
}

inline std::vector<SimHost*> start_hosts(Fleet& fleet, int many) {
  std::vector<SimHost*> hosts;
  for (int i = 0; i < many; ++i) hosts.push_back(&fleet.add("web-" + std::to_string(i)));
  return hosts;
}

inline void start_all(const std::vector<SimHost*>& hosts) {
  for (SimHost* host : hosts) host->start();
}

}  // namespace keyfs::testing
