// The numbers by which programs distinguish files (st_ino).
//
// A key's number is a hash of its name, the same on every host, and fits in 32 bits, for programs
// with a 32-bit ino_t. Among 100,000 names about one pair has the same hash, and programs treat two
// files with the same number as one: cmp and diff then find no difference without reading. So no
// two files that the kernel knows at the same time have the same number: the second one gets its
// node id, which needs 64 bits and is unique. readdir(3) always shows the hash.
//
// Thread-safety: all from any thread. Blocking: one short lock of 1,024. Errors: none.
// Cost: 4 to 8 bytes per number in use.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string_view>
#include <vector>

namespace keyfs {

// Never one of the root, .keyfs and its files, and never 0.
uint32_t file_number(std::string_view name);

class FileNumbers {
 public:
  FileNumbers() : shards_(kShards) {}
  FileNumbers(const FileNumbers&) = delete;
  FileNumbers& operator=(const FileNumbers&) = delete;

  // Takes a number from file_number(). False: another file has it.
  bool take(uint32_t number) {
    Shard& shard = shard_of(number);
    std::lock_guard lock(shard.mutex);
    const auto place = std::lower_bound(shard.taken.begin(), shard.taken.end(), number);
    if (place != shard.taken.end() && *place == number) return false;
    shard.taken.insert(place, number);
    return true;
  }

  // Only what take() gave; others are ignored.
  void give_back(uint32_t number) {
    Shard& shard = shard_of(number);
    std::lock_guard lock(shard.mutex);
    const auto place = std::lower_bound(shard.taken.begin(), shard.taken.end(), number);
    if (place == shard.taken.end() || *place != number) return;
    shard.taken.erase(place);
    if (shard.taken.capacity() > 4 * shard.taken.size() + 16) shard.taken.shrink_to_fit();
  }

 private:
  static constexpr size_t kShards = 1024;
  struct Shard {
    std::mutex mutex;
    std::vector<uint32_t> taken;  // in order
  };
  Shard& shard_of(uint32_t number) { return shards_[number % kShards]; }

  std::vector<Shard> shards_;
};

}  // namespace keyfs
