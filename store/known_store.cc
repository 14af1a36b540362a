#include "store/known_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/file.h"

namespace keyfs {
namespace {

std::string file_in(const std::string& state_dir) { return state_dir + "/store-id"; }

bool is_word(const std::string& text) {
  return !text.empty() && text.size() <= 200 &&
         std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 0x7f; });
}

Result<void> write_new(const std::string& state_dir, const std::string& text) {
  if (::mkdir(state_dir.c_str(), 0700) != 0 && errno != EEXIST) {
    return fail(os_error(state_dir, "cannot be made"));
  }
  // Of two processes the first decides, and the other one compares.
  return write_whole_file(file_in(state_dir), text, false);
}

}  // namespace

Result<std::optional<StoreName>> read_known_store(const std::string& state_dir) {
  const std::string path = file_in(state_dir);
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.is_open()) {
    if (errno == ENOENT) return std::nullopt;
    return fail(os_error(path, "cannot be read"));
  }
  std::string text(512, '\0');
  const ssize_t size = ::read(file.get(), text.data(), text.size());
  if (size < 0) return fail(os_error(path, "cannot be read"));
  text.resize(static_cast<size_t>(size));
  const size_t gap = text.find(' ');
  if (gap != std::string::npos && text.back() == '\n') {
    StoreName name{text.substr(0, gap), text.substr(gap + 1, text.size() - gap - 2)};
    if (is_word(name.type) && is_word(name.id)) return name;
  }
  return fail(Code::kCorrupt,
              path +
                  ": is not as keyfs wrote it; if the configured store is the right "
                  "one, remove this file");
}

Result<void> check_known_store(const std::string& state_dir, const StoreName& store,
                               const std::string& where) {
  auto known = read_known_store(state_dir);
  if (!known) return fail(std::move(known.error()));
  if (!*known) {
    const auto ok = write_new(state_dir, store.type + " " + store.id + "\n");
    if (!ok) return ok;
    known = read_known_store(state_dir);
    if (!known) return fail(std::move(known.error()));
  }
  if (*known == store) return {};
  return fail(Code::kInvalid,
              where +
                  ": is not the store that this host has used so far; keys that exist there "
                  "would be made anew. If this is meant, remove " +
                  file_in(state_dir));
}

Error lost_store(const std::string& state_dir, const Error& why) {
  return Error(why.code, why.message +
                             "; this host has used the store before, and keys that exist there "
                             "would be made anew. Restore it, or remove " +
                             file_in(state_dir) + " to start with a new one");
}

}  // namespace keyfs
