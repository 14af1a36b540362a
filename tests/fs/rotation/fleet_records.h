// The records behind the keys of a simulated fleet: the store that its hosts share.
//
// Thread-safety: none. Ownership: the hosts' stores share the records. Blocking: never.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>

#include "fs/rotation/fleet.h"
#include "store/record.h"
#include "support/memory_store.h"

namespace keyfs::testing {

inline const char* const kSimRegions[] = {"a", "b", "c"};

class FleetRecords {
 public:
  // Brings them up to date; to be called after each turn (Fleet::each_turn).
  void follow(const Shared& shared) {
    for (const auto& [id, key] : shared.keys) {
      uint32_t& known = known_[id];
      if (known == key.current) continue;
      known = key.current;
      Record next = find(id) ? get(id) : Record();
      next.id = id;
      next.origin = records->id();
      next.current = key.current;
      ++next.serial;
      const std::string now = to_rfc3339(shared.clock.wall());
      for (uint32_t number = 1; number <= key.current; ++number) {
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

 private:
  std::map<std::string, uint32_t> known_;  // the current version by id
};

}  // namespace keyfs::testing
