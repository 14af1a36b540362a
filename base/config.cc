#include "base/config.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <numeric>
#include <utility>

#include "base/file.h"
#include "base/private_file.h"

namespace keyfs {
namespace {

std::string where(const std::string& file, int line) {
  return file + ":" + std::to_string(line) + ": ";
}

}  // namespace

std::string ConfigSection::title() const {
  return argument_.empty() ? "[" + kind_ + "]" : "[" + kind_ + " " + argument_ + "]";
}

const ConfigSection::Entry* ConfigSection::find(std::string_view key) const {
  for (const Entry& entry : entries_) {
    if (entry.key == key) return &entry;
  }
  return nullptr;
}

Error ConfigSection::mistake(std::string_view message) const {
  return Error(Code::kInvalid, where(file_, line_) + title() + " " + std::string(message));
}

Error ConfigSection::mistake(std::string_view key, std::string_view message) const {
  const Entry* entry = find(key);
  return Error(Code::kInvalid, where(file_, entry != nullptr ? entry->line : line_) + title() +
                                   " " + std::string(key) + ": " + std::string(message));
}

Result<ConfigFile> ConfigFile::read(const std::string& path) {
  const auto failed = [&] {
    return fail(Code::kInvalid,
                "could not read the configuration " + path + ": " + std::strerror(errno));
  };
  // O_NONBLOCK: a FIFO at this path must not block the start, or block every reload forever.
  const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!file.is_open()) return failed();
  struct stat about {};
  if (fstat(file.get(), &about) != 0) return failed();
  if (S_ISDIR(about.st_mode)) {
    errno = EISDIR;
    return failed();
  }
  if (auto regular = check_regular(path, file); !regular) {
    return fail(Code::kInvalid, "could not read the configuration " + regular.error().message);
  }
  // Anybody who can write it decides who may read which key.
  if (auto trusted = check_guard(path, about, Guard::kTrusted); !trusted) {
    return fail(Code::kInvalid, "the configuration cannot be trusted: " + trusted.error().message);
  }
  std::string text;
  std::array<char, 16384> buffer{};
  ssize_t got = 0;
  while (text.size() <= kMaxBytes) {
    got = ::read(file.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    text.append(buffer.data(), static_cast<size_t>(got));
  }
  if (got < 0) return failed();
  return parse(text, path);
}

const ConfigSection* ConfigFile::find(std::string_view kind) const {
  for (const ConfigSection& section : sections_) {
    if (section.kind() == kind) return &section;
  }
  return nullptr;
}

std::vector<const ConfigSection*> ConfigFile::all(std::string_view kind) const {
  std::vector<const ConfigSection*> found;
  for (const ConfigSection& section : sections_) {
    if (section.kind() == kind) found.push_back(&section);
  }
  return found;
}

Result<void> ConfigFile::check_kinds(const std::vector<Kind>& kinds) const {
  for (const ConfigSection& section : sections_) {
    const auto kind = std::find_if(kinds.begin(), kinds.end(),
                                   [&](const Kind& k) { return k.name == section.kind(); });
    if (kind == kinds.end()) {
      std::vector<std::string_view> names;
      names.reserve(kinds.size());
      for (const Kind& k : kinds) names.push_back(k.name);
      std::string message = "unknown section";
      if (const auto near = nearest_name(section.kind(), names)) {
        message += " (did you mean [" + std::string(*near) + "]?)";
      }
      return fail(section.mistake(message));
    }
    if (kind->takes_argument && section.argument().empty()) {
      return fail(section.mistake("needs a name: [" + section.kind() + " NAME]"));
    }
    if (!kind->takes_argument && !section.argument().empty()) {
      return fail(section.mistake("takes no name: write [" + section.kind() + "]"));
    }
  }
  return {};
}

std::optional<std::string_view> nearest_name(std::string_view typed,
                                             std::span<const std::string_view> names) {
  constexpr size_t kMost = 64;
  if (typed.size() < 2 || typed.size() > kMost) return std::nullopt;
  std::optional<std::string_view> best;
  size_t best_distance = typed.size() < 5 ? 2 : 3;  // must be nearer than this
  for (const std::string_view name : names) {
    // Levenshtein's distance, one row at a time; two letters in the wrong order are one mistake.
    std::vector<size_t> row(name.size() + 1);
    std::iota(row.begin(), row.end(), size_t{0});
    std::vector<size_t> above = row;
    std::vector<size_t> two_above = row;
    for (size_t i = 1; i <= typed.size(); ++i) {
      two_above = std::exchange(above, row);
      row[0] = i;
      for (size_t j = 1; j <= name.size(); ++j) {
        const size_t replaced = above[j - 1] + (typed[i - 1] == name[j - 1] ? 0 : 1);
        row[j] = std::min({above[j] + 1, row[j - 1] + 1, replaced});
        const bool swapped =
            i > 1 && j > 1 && typed[i - 1] == name[j - 2] && typed[i - 2] == name[j - 1];
        if (swapped) row[j] = std::min(row[j], two_above[j - 2] + 1);
      }
    }
    if (row.back() < best_distance) {
      best_distance = row.back();
      best = name;
    }
  }
  return best;
}

}  // namespace keyfs
