// A notebook that keeps in memory what it is told, or fails as the test wants.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "fs/keys/notebook.h"

namespace keyfs::testing {

struct ScriptedNotebook final : Notebook {
  Task<Result<void>> prove() override {
    ++proven;
    co_return told(cannot_prove);
  }
  Task<Result<void>> write_down(Stored stored, bool) override {
    if (!cannot_write) noted[stored.record.id] = std::move(stored.record);
    co_return told(cannot_write);
  }
  Task<Result<void>> write_seen(std::vector<SeenKey> keys) override {
    for (SeenKey& key : keys) {
      if (!cannot_write) seen.insert(std::move(key.id));
    }
    co_return told(cannot_write);
  }
  static Result<void> told(const std::optional<Error>& error) {
    if (error) return fail(*error);
    return {};
  }
  std::optional<Error> cannot_prove, cannot_write;
  std::map<std::string, Record> noted;
  std::set<std::string> seen;
  int proven = 0;
};

}  // namespace keyfs::testing
