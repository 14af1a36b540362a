// One line of the report of `keyfs check` about a store or a region. A plain value.
#pragma once

#include <string>

namespace keyfs {

struct CheckItem {
  std::string what;  // "reachable", "may generate", "table exists"
  bool ok = false;
  std::string detail;     // how fast, or why it failed
  std::string remedy;     // how to fix it; empty when ok
  bool essential = true;  // false: recommended, but keyfs works without it
};

}  // namespace keyfs
