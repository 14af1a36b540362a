#include "fs/sign/state_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/crypto.h"
#include "base/encoding.h"
#include "base/file.h"
#include "base/private_file.h"
#include "base/strict_json.h"

namespace keyfs {

Result<void> make_state_directory(const std::string& path) {
  if (::mkdir(path.c_str(), 0700) == 0) {
    if (!sync_directory(directory_of(path))) return fail(os_error(path, "could not be made"));
  } else if (errno != EEXIST) {
    const int why = errno;
    // On a read-only disk it is as good as it was.
    if (::access(path.c_str(), F_OK) != 0) return fail(os_error(path, "could not be made", why));
  }
  return check_private_directory(path);
}

Result<std::vector<std::string>> state_files_in(const std::string& directory,
                                                std::string_view ending) {
  struct Close {
    void operator()(DIR* open) const { ::closedir(open); }
  };
  const std::unique_ptr<DIR, Close> open(::opendir(directory.c_str()));
  if (open == nullptr) {
    if (errno == ENOENT) return std::vector<std::string>();
    return fail(os_error(directory, "could not be read"));
  }
  std::vector<std::string> names;
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(open.get());
    if (entry == nullptr) {
      if (errno != 0) return fail(os_error(directory, "could not be read"));
      break;
    }
    const std::string_view name = entry->d_name;
    if (name[0] != '.' && name.ends_with(ending)) names.emplace_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

Result<std::string> state_file_name(std::string_view custody, std::string_view key) {
  auto hash = sha256(bytes_of(std::string(custody) + '\0' + std::string(key)));
  if (!hash) return fail(std::move(hash.error()));
  return hex_encode(std::span(*hash).first(16)) + ".json";
}

Result<std::optional<nlohmann::json>> read_state_file(const std::string& path) {
  auto file = open_private_file(path, O_RDONLY, Guard::kOurs);
  if (!file) {
    if (errno == ENOENT && file.error().code != Code::kDenied) return std::nullopt;
    return fail(std::move(file.error()));
  }
  std::string text(kMaxStateFile + 1, '\0');
  size_t size = 0;
  while (size < text.size()) {
    const ssize_t got = ::read(file->get(), text.data() + size, text.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(os_error(path, "could not be read"));
    if (got == 0) break;
    size += static_cast<size_t>(got);
  }
  text.resize(size);
  auto parsed = parse_strict_json(text, kMaxStateFile);
  if (!parsed || !parsed->is_object()) return std::nullopt;
  return std::move(*parsed);
}

std::string state_line(const nlohmann::json& what) {
  return what.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

Result<void> write_state_file(const std::string& path, const nlohmann::json& what) {
  if (auto ok = make_state_directory(directory_of(path)); !ok) return ok;
  return write_whole_file(path, state_line(what), true, 0600);
}

Result<void> remove_state_file(const std::string& path) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) {
    return fail(os_error(path, "could not be removed"));
  }
  (void)sync_directory(directory_of(path));
  return {};
}

std::string text_in(const nlohmann::json& object, const char* name) {
  const auto place = object.find(name);
  return place == object.end() || !place->is_string() ? std::string() : place->get<std::string>();
}

}  // namespace keyfs
