#include "fs/cli/rewrap_cursor.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <utility>

#include "base/encoding.h"
#include "base/file.h"
#include "base/private_file.h"
#include "fs/cli/command_context.h"

namespace keyfs {
namespace {

using Json = nlohmann::ordered_json;

// A store's places are short, and so are the names of regions and masters.
constexpr size_t kMost = size_t{64} << 10;

std::string hex_of(const std::string& text) {
  return hex_encode(std::span(reinterpret_cast<const uint8_t*>(text.data()), text.size()));
}

}  // namespace

RewrapCursor::RewrapCursor(std::string state_dir, std::string what)
    : state_dir_(std::move(state_dir)), path_(state_dir_ + "/rewrap"), what_(std::move(what)) {}

Result<std::string> RewrapCursor::read() const {
  auto file = open_private_file(path_, O_RDONLY, Guard::kOurs);
  if (!file) {
    if (::access(path_.c_str(), F_OK) != 0 && errno == ENOENT) return std::string();
    return fail(std::move(file.error()));
  }
  std::string text(kMost, '\0');
  const ssize_t got = ::pread(file->get(), text.data(), text.size(), 0);
  if (got < 0) return fail(os_error(path_, "could not be read"));
  text.resize(static_cast<size_t>(got));
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object() || !json.contains("what") || !json.contains("after")) return std::string();
  if (json["what"] != what_ || !json["after"].is_string()) return std::string();
  const auto after = hex_decode(json["after"].get<std::string>());
  if (!after) return std::string();
  return std::string(after->begin(), after->end());
}

Result<void> RewrapCursor::move_to(const std::string& next) {
  if (auto ok = make_state_dir(state_dir_); !ok) return ok;
  const Json json = {{"what", what_}, {"after", hex_of(next)}};
  return write_whole_file(path_, json.dump() + "\n", true);
}

void RewrapCursor::remove() { ::unlink(path_.c_str()); }

}  // namespace keyfs
