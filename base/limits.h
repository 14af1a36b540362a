// Bounds that several rooms agree on.
#pragma once

#include <cstdint>

namespace keyfs {

// The longest data key: the most that KMS encrypts in one call, and what one read(2) of the mount
// asks for.
inline constexpr uint32_t kMaxKeyBytes = 4096;

}  // namespace keyfs
