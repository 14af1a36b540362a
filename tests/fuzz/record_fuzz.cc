// Any bytes are either the record of the id, which is then written and read back equal, or an error
// of one line.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "store/record.h"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto record = keyfs::parse_record(text, "orders");
  if (!record) {
    require(record.error().code == keyfs::Code::kCorrupt);
    require(record.error().message.starts_with("record of key orders is corrupt: "));
    require(record.error().message.find('\n') == std::string::npos);
    return 0;
  }
  require(record->id == "orders" && record->versions.contains(record->current));
  const auto written = keyfs::to_json(*record);
  // Escapes may take more room than what they stand for.
  if (!written) {
    require(written.error().message.find("bytes") != std::string::npos);
    return 0;
  }
  const auto again = keyfs::parse_record(*written, "orders");
  require(again && *again == *record);
  require(keyfs::to_json(*again) == *written);
  return 0;
}
