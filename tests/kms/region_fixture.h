// A working region with what it needs round it, for tests that any kind of region passes.
#pragma once

#include <memory>

#include "base/loop.h"
#include "base/secret.h"
#include "kms/region.h"

namespace keyfs::testing {

class RegionFixture {
 public:
  virtual ~RegionFixture() = default;
  virtual Loop& loop() = 0;
  virtual SecretArena& arena() = 0;
  virtual Region& region() = 0;
};
using MakeRegionFixture = std::unique_ptr<RegionFixture> (*)();

}  // namespace keyfs::testing
