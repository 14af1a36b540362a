// The records behind the keys of a simulated fleet: the store that its hosts share.
//
// Thread-safety: none. Ownership: the hosts' stores share the records. Blocking: never.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "fs/rotation/fleet.h"
#include "store/record.h"
#include "support/memory_store.h"

namespace keyfs::testing {

inline const char* const kSimRegions[] = {"a", "b", "c"};

class FleetRecords {
 public:
  // Brings them up to date: which have another current version now. To be called after each turn
  // (Fleet::each_turn), so it is quick where nothing was changed.
  std::vector<std::string> follow(const Shared& shared) {
    std::vector<std::string> changed;
    if (at_.size() != shared.keys.size()) {
      at_.clear();
      for (const auto& [id, key] : shared.keys) at_.push_back(find(id) ? get(id).current : 0);
    }
    size_t place = 0;
    for (const auto& [id, key] : shared.keys) {
      uint32_t& known = at_[place++];
      if (known == key.current) continue;
      known = key.current;
      changed.push_back(id);
      Record next = find(id) ? get(id) : Record();
      next.id = id;
      next.origin = records->id();
      next.current = key.current;
      ++next.serial;
      const std::string now = to_rfc3339(shared.clock.wall());
      const uint32_t first =
          keep_versions == 0 || key.current < keep_versions ? 1 : key.current - keep_versions + 1;
      next.versions.erase(next.versions.begin(), next.versions.lower_bound(first));
      for (uint32_t number = first; number <= key.current; ++number) {
        Version& version = next.versions[number];
        if (!version.created.empty()) continue;
        version.created = now;
        version.creator = "web";
        version.bytes = 32;
        version.check.emplace();
        for (const char* region : kSimRegions)
          version.wrapped[region] = {"master", "blob", now, ""};
        for (const std::string& region : key.missing) version.wrapped.erase(region);
      }
      next.versions[key.current].promoted = now;
      put(next);
    }
    return changed;
  }
  bool find(const std::string& id) const { return records->find(id).has_value(); }
  Record get(const std::string& id) const {
    const auto row = records->find(id);
    if (!row) return Record();
    const auto record = parse_record(row->json, id);
    EXPECT_TRUE(record) << record.error().message;
    return record ? *record : Record();
  }
  void put(const Record& record) {
    const auto text = to_json(record);
    ASSERT_TRUE(text) << text.error().message;
    records->write_raw(record.id, *text);
  }

  const std::shared_ptr<MemoryRecords> records = std::make_shared<MemoryRecords>();
  // The newest of each key; 0: all. For keys that are rotated so often that their records would be
  // most of what a test reads.
  uint32_t keep_versions = 0;

 private:
  std::vector<uint32_t> at_;  // the current versions, in the order of the ids
};

}  // namespace keyfs::testing
