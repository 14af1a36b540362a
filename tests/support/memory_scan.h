// Looks for bytes in this process's own writable memory: what a core dump or a debugger would show.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace keyfs::testing {

// A text that is nowhere in memory in the clear: kept masked, and compared without being unmasked.
class Needle {
 public:
  // Each `name` gives another needle of 40 letters; the same one in a forked child.
  explicit Needle(std::string_view name);

  // The text itself, for planting it.
  std::string reveal() const;
  // How many copies are in writable memory now. Prints where to stderr.
  size_t copies() const;
  // The same for its base64, if it starts at its first byte.
  size_t base64_copies() const;

 private:
  static size_t count(const std::vector<uint8_t>& masked);
  std::vector<uint8_t> masked_;
};

}  // namespace keyfs::testing
