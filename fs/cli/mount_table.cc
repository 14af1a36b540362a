#include "fs/cli/mount_table.h"

#include <fstream>
#include <iterator>
#include <sstream>

namespace keyfs {
namespace {

// Blanks, tabs, line ends and backslashes stand as \ooo, in octal.
std::string unescape(std::string_view text) {
  std::string out;
  const auto octal = [](char c) { return c >= '0' && c <= '7'; };
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size() && octal(text[i + 1]) && octal(text[i + 2]) && octal(text[i + 3])) {
      out += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

// 36 35 98:0 /root /mount/point rw,noatime master:1 - fstype source rw,errors=continue
std::optional<MountEntry> parse_line(const std::string& line) {
  std::istringstream in(line);
  std::vector<std::string> fields{std::istream_iterator<std::string>(in), {}};
  size_t dash = 6;
  while (dash < fields.size() && fields[dash] != "-") ++dash;
  if (dash + 3 >= fields.size()) return std::nullopt;
  return MountEntry{unescape(fields[4]), unescape(fields[dash + 1]), unescape(fields[dash + 2]),
                    fields[5] + "," + fields[dash + 3]};
}

}  // namespace

std::vector<MountEntry> parse_mountinfo(std::string_view text) {
  std::vector<MountEntry> mounts;
  std::istringstream in{std::string(text)};
  for (std::string line; std::getline(in, line);) {
    if (auto entry = parse_line(line)) mounts.push_back(std::move(*entry));
  }
  return mounts;
}

Result<std::vector<MountEntry>> read_mounts() {
  std::ifstream in("/proc/self/mountinfo");
  std::ostringstream text;
  text << in.rdbuf();
  if (!in) return fail(Code::kUnavailable, "could not read /proc/self/mountinfo");
  return parse_mountinfo(text.str());
}

std::optional<MountEntry> mount_on(const std::vector<MountEntry>& mounts, std::string_view path) {
  for (auto entry = mounts.rbegin(); entry != mounts.rend(); ++entry) {
    if (entry->mount_point == path) return *entry;
  }
  return std::nullopt;
}

}  // namespace keyfs
