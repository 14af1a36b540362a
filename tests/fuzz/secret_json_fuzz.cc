// What SecretJson accepts nlohmann-json accepts too, with the same strings; what it refuses is not
// an object, is nested too deep, or has a duplicate member.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "base/secret_json.h"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

bool plain(std::string_view text) {
  for (const char c : text) {
    if (static_cast<unsigned char>(c) >= 0x80) return false;
  }
  return true;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static keyfs::SecretArena arena;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto ours = keyfs::SecretJson::parse(text);
  if (!plain(text)) return 0;  // bytes that are no UTF-8 are for the caller to refuse
  const auto theirs = nlohmann::json::parse(text, nullptr, false);
  if (!ours) return 0;
  if (theirs.is_discarded()) {
    // A lone surrogate is refused when the string is asked for, a number out of range never is.
    require(text.find("\\u") != std::string_view::npos ||
            text.find_first_of("eE0123456789") != std::string_view::npos);
    return 0;
  }
  require(theirs.is_object());
  for (const auto& [name, value] : theirs.items()) {
    const auto secret = ours->secret(arena, name);
    if (value.is_string() && secret && *secret) {
      require((*secret)->reveal_text() == value.get_ref<const std::string&>());
      require(**ours->string(name) == value.get_ref<const std::string&>());
    } else if (!value.is_string() && secret) {
      require(!*secret);
    }
  }
  return 0;
}
