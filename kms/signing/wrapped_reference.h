// The reference of a wrapped signing key: ID/VERSION/FINGERPRINT. Two keys that were made for the
// same version of an id differ in it, so that the loser of a race never stands for the winner.
//
// Thread-safety: plain values. Blocking: never. Errors: none.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace keyfs {

struct WrappedReference {
  std::string name;
  uint32_t version = 0;
  std::string fingerprint;  // of the public half, hex; another text for a key that has none

  std::string text() const { return name + "/" + std::to_string(version) + "/" + fingerprint; }

  static std::optional<WrappedReference> parse(std::string_view text) {
    const size_t last = text.rfind('/');
    if (last == std::string_view::npos || last == 0) return std::nullopt;
    const size_t first = text.rfind('/', last - 1);
    if (first == std::string_view::npos || first == 0) return std::nullopt;
    WrappedReference reference;
    reference.name = text.substr(0, first);
    reference.fingerprint = text.substr(last + 1);
    const std::string_view digits = text.substr(first + 1, last - first - 1);
    if (digits.empty() || digits.size() > 10 || reference.fingerprint.empty()) return std::nullopt;
    uint64_t number = 0;
    for (const char c : digits) {
      if (c < '0' || c > '9') return std::nullopt;
      number = 10 * number + static_cast<uint64_t>(c - '0');
    }
    if (number > UINT32_MAX || std::to_string(number) != digits) return std::nullopt;
    reference.version = static_cast<uint32_t>(number);
    return reference;
  }
};

}  // namespace keyfs
