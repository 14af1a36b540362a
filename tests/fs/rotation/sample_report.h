// A run for tests of its reports: so many consumers of one key, of which some failed.
#pragma once

#include <set>
#include <string>

#include "fs/rotation/report.h"

namespace keyfs::testing {

inline WallTime at_second(int second) {
  return WallTime(std::chrono::seconds(1'800'000'000 + second));
}

// Consumers app-1, app-2, ... on host-1, all ok but those numbered in `failed`.
inline RunReport sample_report(int consumers, const std::set<int>& failed = {}) {
  RunReport report;
  report.run = "r7";
  report.epoch = 12;
  report.holder = "host-1";
  report.state = RunState::kEnded;
  report.begun = at_second(0);
  report.ended = at_second(130);
  RotatedKey key;
  key.id = "orders";
  key.state = RotatedKey::State::kCurrent;
  key.version = 3;
  key.before = 2;
  report.keys.push_back(key);
  for (int i = 1; i <= consumers; ++i) {
    ConsumerReport consumer;
    consumer.consumer = "app-" + std::to_string(i);
    consumer.host = "host-1";
    consumer.state = failed.count(i) != 0 ? ConsumerState::kFailed : ConsumerState::kOk;
    if (failed.count(i) != 0) consumer.reason = "exit status 1";
    consumer.keys = {"orders/3"};
    consumer.begun = at_second(i);
    consumer.ended = at_second(i + 1);
    report.consumers.push_back(consumer);
  }
  report.notify = NotifyState::kSent;
  return report;
}

}  // namespace keyfs::testing
