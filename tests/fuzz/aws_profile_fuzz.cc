// Any bytes are profiles or an error that names file and line and quotes nothing.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "base/aws/profile.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static keyfs::SecretArena arena;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  for (const bool is_config : {false, true}) {
    keyfs::AwsProfiles profiles;
    const auto ok = keyfs::parse_aws_profiles(arena, text, "file", is_config, profiles);
    if (ok) continue;
    if (!ok.error().message.starts_with("file:") || ok.error().message.size() > 100) std::abort();
  }
  return 0;
}
