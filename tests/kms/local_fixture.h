// A local region on a real file, with a real loop.
#pragma once

#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "base/crypto.h"
#include "kms/factory.h"
#include "kms/master_key.h"
#include "kms/region_fixture.h"

namespace keyfs::testing {

class LocalFixture final : public RegionFixture {
 public:
  LocalFixture() {
    const auto made = create_master_file(file, arena_, random).value();
    if (!made) std::abort();
    build();
  }
  ~LocalFixture() override { std::filesystem::remove_all(folder); }
  Loop& loop() override { return loop_; }
  SecretArena& arena() override { return arena_; }
  Region& region() override { return *region_; }

  // A new region, which has read nothing yet.
  void build() {
    RegionParts parts{loop_, arena_, random, {}};
    region_ = make_local_region(parts, "local-a", file);
  }
  void write_file(const std::string& bytes, mode_t mode = 0600) {
    std::filesystem::remove(file);
    std::ofstream(file, std::ios::binary) << bytes;
    ::chmod(file.c_str(), mode);
  }
  std::string read_file() const {
    std::ifstream in(file, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(in), {});
  }

  const std::string folder = make_folder();
  const std::string file = folder + "/a.key";
  OsRandom random;

 private:
  static std::string make_folder() {
    std::string name = std::filesystem::temp_directory_path() / "keyfs-master-XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    return name;
  }

  SystemClock clock;
  IdlePoller poller;
  SecretArena arena_;
  Loop loop_{clock, poller};
  std::unique_ptr<Region> region_;
};

}  // namespace keyfs::testing
