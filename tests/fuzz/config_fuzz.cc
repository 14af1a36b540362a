// Any bytes are either a configuration or an error of one line; a reader of its sections always
// terminates.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "base/config.h"
#include "base/config_reader.h"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto file = keyfs::ConfigFile::parse(text, "fuzz.ini");
  if (!file) {
    require(file.error().code == keyfs::Code::kInvalid);
    require(file.error().message.starts_with("fuzz.ini:"));
    require(file.error().message.find('\n') == std::string::npos);
    return 0;
  }
  int last_line = 0;
  for (const auto& section : file->sections()) {
    require(section.line() > last_line);
    last_line = section.line();
    keyfs::ConfigReader in(section);
    for (const auto& entry : section.entries()) {
      require(entry.line > last_line && !entry.key.empty() && !entry.value.empty());
      last_line = entry.line;
      in.string(entry.key);
      in.list(entry.key);
      in.boolean(entry.key, false);
      in.size(entry.key, 0);
      in.integer(entry.key, -10, 10);
      in.duration(entry.key, std::chrono::milliseconds(0), std::chrono::hours(24));
      in.choice(entry.key, {"sqlite", "etcd"}, "etcd");
    }
    (void)in.finish();
    keyfs::ConfigReader unread(section);
    unread.string("type");
    require(section.entries().empty() || !unread.finish() || section.entries().size() == 1);
  }
  (void)file->check_kinds({{"store", false}, {"region", true}});
  return 0;
}
