// The numbers by which programs tell files apart (st_ino).
//
// A key's number is a hash of its name, the same on every host, and fits 32 bits, for programs whose
// ino_t has no more. Of 100,000 names about one pair has the same hash, and programs take two files
// with one number for one: cmp and diff then find no difference without reading. So no two files
// that the kernel knows at the same time have the same one: who comes second has its node id, which
// needs 64 bits and is nobody else's. readdir(3) shows the hash in any case.
//
// Thread-safety: all from any thread. Blocking: a short lock of 1,024. Errors: none.
// Cost: 4 to 8 bytes for each number that is taken.
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

  // False: somebody has it.
  bool take(uint32_t number) {
    Shard& shard = shard_of(number);
    std::lock_guard lock(shard.mutex);
    const auto place = std::lower_bound(shard.taken.begin(), shard.taken.end(), number);
    if (place != shard.taken.end() && *place == number) return false;
    shard.taken.insert(place, number);
    return true;
  }

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
