// The texts of virtual files, and signatures, that are open, each as one open(2) has seen it. At a session's end the
// kernel sends no RELEASE for what is open, so that somebody must know of them.
//
// Thread-safety: any thread. Ownership: owns the texts' handles; a text lives on with who shares it.
// Blocking: never. Errors: none.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>

namespace keyfs {

class OpenTexts {
 public:
  using Text = std::shared_ptr<const std::string>;

  // The handle that OPEN returns.
  uint64_t add(Text text) {
    std::lock_guard lock(mutex_);
    const uint64_t handle = ++last_;
    texts_.emplace(handle, std::move(text));
    return handle;
  }
  // Null: no such handle.
  Text find(uint64_t handle) const {
    std::lock_guard lock(mutex_);
    const auto found = texts_.find(handle);
    return found != texts_.end() ? found->second : nullptr;
  }
  // False: no such handle.
  bool remove(uint64_t handle) {
    std::lock_guard lock(mutex_);
    return texts_.erase(handle) != 0;
  }

 private:
  mutable std::mutex mutex_;
  uint64_t last_ = 0;
  std::unordered_map<uint64_t, Text> texts_;
};

}  // namespace keyfs
