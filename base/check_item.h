// One line of what `keyfs check` tells about a store or a region. A plain value.
#pragma once

#include <string>

namespace keyfs {

struct CheckItem {
  std::string what;  // "reachable", "may generate", "table exists"
  bool ok = false;
  std::string detail;     // how fast, or why not
  std::string remedy;     // what to do about it; empty when ok
  bool essential = true;  // false: all works without it, though less can go wrong then
};

}  // namespace keyfs
