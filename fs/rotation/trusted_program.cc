#include "fs/rotation/trusted_program.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string_view>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/private_file.h"

namespace keyfs {
namespace {

constexpr int kMaxLinks = 40;  // as the kernel

bool is_ours(const struct stat& about) { return about.st_uid == 0 || about.st_uid == ::geteuid(); }

Error not_trusted(const std::string& place, const struct stat& about) {
  std::string why = place;
  if (!is_ours(about)) {
    why += ": belongs to uid " + std::to_string(about.st_uid) +
           ", who could have keyfs run anything; run: chown root " + place;
  } else {
    why += ": others can write it, and could have keyfs run anything; run: chmod go-w " + place;
  }
  return Error(Code::kDenied, std::move(why));
}

// The parts of a path, the first one last.
void push_parts(std::vector<std::string>& todo, std::string_view path) {
  std::vector<std::string> parts;
  while (!path.empty()) {
    const std::string_view part = path.substr(0, path.find('/'));
    if (!part.empty() && part != ".") parts.emplace_back(part);
    path.remove_prefix(std::min(path.size(), part.size() + 1));
  }
  todo.insert(todo.end(), parts.rbegin(), parts.rend());
}

struct Place {
  Descriptor directory;
  std::string path;  // for messages: "" is the root
};

Result<void> check_directory(const Place& place) {
  struct stat about {};
  const std::string path = place.path.empty() ? "/" : place.path;
  if (::fstat(place.directory.get(), &about) != 0)
    return fail(os_error(path, "cannot be examined"));
  const bool others = (about.st_mode & 022) != 0 && (about.st_mode & S_ISVTX) == 0;
  if (!is_ours(about) || others) return fail(not_trusted(path, about));
  return {};
}

Result<Place> root() {
  Place place{Descriptor(::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC)), ""};
  if (!place.directory.is_open()) return fail(os_error("/", "cannot be opened"));
  if (auto ok = check_directory(place); !ok) return fail(ok.error());
  return place;
}

}  // namespace

Result<void> check_trusted_program(const std::string& path) {
  if (!path.starts_with('/')) return fail(Code::kInvalid, path + ": is not an absolute path");
  auto begin = root();
  if (!begin) return fail(begin.error());
  Place here = std::move(*begin);
  std::vector<std::string> todo;
  push_parts(todo, path);
  int links = 0;
  while (!todo.empty()) {
    const std::string part = std::move(todo.back());
    todo.pop_back();
    const std::string name = here.path + "/" + part;
    Descriptor next(::openat(here.directory.get(), part.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    struct stat about {};
    if (!next.is_open() || ::fstat(next.get(), &about) != 0) {
      return fail(os_error(name, "cannot be used"));
    }
    if (S_ISLNK(about.st_mode)) {
      // In a sticky directory anybody may have made it.
      if (!is_ours(about)) return fail(not_trusted(name, about));
      std::array<char, 4096> target;
      const ssize_t size = ::readlinkat(next.get(), "", target.data(), target.size());
      if (size < 0) return fail(os_error(name, "cannot be followed"));
      if (++links > kMaxLinks) return fail(Code::kInvalid, path + ": too many symbolic links");
      const std::string_view text(target.data(), static_cast<size_t>(size));
      if (text.starts_with('/')) {
        auto again = root();
        if (!again) return fail(again.error());
        here = std::move(*again);
      }
      push_parts(todo, text);
      continue;
    }
    if (!todo.empty()) {
      if (!S_ISDIR(about.st_mode)) return fail(Code::kInvalid, name + ": is not a directory");
      Place into{std::move(next), part == ".." ? here.path.substr(0, here.path.rfind('/')) : name};
      if (auto ok = check_directory(into); !ok) return fail(ok.error());
      here = std::move(into);
      continue;
    }
    if (!S_ISREG(about.st_mode)) return fail(Code::kInvalid, name + ": is not a program");
    if (!is_ours(about) || (about.st_mode & 022) != 0) return fail(not_trusted(name, about));
    if ((about.st_mode & 0111) == 0) {
      return fail(Code::kInvalid, name + ": is not executable; run: chmod +x " + name);
    }
    return {};
  }
  return fail(Code::kInvalid, path + ": is not a program");
}

}  // namespace keyfs
