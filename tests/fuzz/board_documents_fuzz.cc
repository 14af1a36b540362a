// Any bytes are either a document of rotation, which is then written and read back the same, or an
// error of one line. The first byte says which kind of document it is read as.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "fs/rotation/documents.h"
#include "fs/rotation/retire_notes.h"
#include "fs/rotation/sheet.h"
#include "store/pulse.h"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

template <class Parse>
void check(std::string_view text, Parse parse) {
  const auto document = parse(text);
  if (!document) {
    require(document.error().code == keyfs::Code::kCorrupt);
    require(document.error().message.find('\n') == std::string::npos);
    return;
  }
  const std::string written = to_text(*document);
  const auto again = parse(written);
  require(again ? true : false);
  require(to_text(*again) == written);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 8) {
    case 0:
      check(text, keyfs::parse_head);
      break;
    case 1:
      check(text, keyfs::parse_run_now);
      break;
    case 2:
      check(text, keyfs::parse_ticket);
      break;
    case 3:
      check(text, keyfs::parse_run);
      break;
    case 4:
      check(text, keyfs::parse_host);
      break;
    case 5:
      check(text, keyfs::parse_sheet);
      break;
    case 6:
      check(text, keyfs::parse_retire_note);
      break;
    default:
      check(text, keyfs::parse_pulse);
      break;
  }
  return 0;
}
