#include "base/retry.h"

#include <array>
#include <cstdint>
#include <cstring>

namespace keyfs {

RandomFraction random_fraction(Random& random) {
  return [&random] {
    std::array<uint8_t, 4> bytes{};
    if (!random.fill(bytes)) return 0.5;
    uint32_t number = 0;
    std::memcpy(&number, bytes.data(), sizeof number);
    return number / 4294967296.0;
  };
}

Duration scaled(Duration duration, double factor) {
  return Duration(static_cast<Duration::rep>(static_cast<double>(duration.count()) * factor));
}

Duration Backoff::longest(unsigned retry) const {
  if (first <= Duration::zero()) return Duration::zero();
  Duration pause = first;
  for (unsigned i = 0; i < retry && pause < most; ++i) pause *= 2;
  return std::min(pause, most);
}

Duration Backoff::pause(unsigned retry, const RandomFraction& random) const {
  return scaled(longest(retry), 1 - spread + spread * random());
}

}  // namespace keyfs
