#include "base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <system_error>
#include <utility>

namespace keyfs {

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
  if (this != &other) {
    reset();
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

void Descriptor::reset() {
  if (fd_ < 0) return;
  const int before = errno;
  ::close(std::exchange(fd_, -1));
  errno = before;
}

Error os_error(const std::string& path, const std::string& what, int why) {
  const bool denied = why == EACCES || why == EPERM || why == EROFS;
  return Error(denied ? Code::kDenied : Code::kUnavailable,
               path + ": " + what + ": " + std::generic_category().message(why));
}

bool write_all(int fd, std::span<const uint8_t> bytes) {
  while (!bytes.empty()) {
    const ssize_t put = ::write(fd, bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return false;
    bytes = bytes.subspan(static_cast<size_t>(put));
  }
  return true;
}

bool write_all(int fd, std::string_view text) {
  return write_all(fd, std::span(reinterpret_cast<const uint8_t*>(text.data()), text.size()));
}

std::optional<std::string> read_to_end(const std::string& path, size_t most) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
  if (!file.is_open()) return std::nullopt;
  std::string text;
  size_t size = 0;
  for (;;) {
    if (size == text.size()) text.resize(size == 0 ? 4096 : 2 * size);
    const ssize_t got = ::read(file.get(), text.data() + size, text.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return std::nullopt;
    if (got == 0) break;
    size += static_cast<size_t>(got);
    if (size > most) {
      errno = EFBIG;
      return std::nullopt;
    }
  }
  text.resize(size);
  return text;
}

Result<void> write_whole_file(const std::string& path, std::string_view text, bool take_place,
                              unsigned mode) {
  std::string draft = path + ".XXXXXX";
  const Descriptor file(::mkostemp(draft.data(), O_CLOEXEC));
  if (!file.is_open()) return fail(os_error(draft, "cannot be created"));
  const auto drop = [&draft](Error error) {
    ::unlink(draft.c_str());
    return fail(std::move(error));
  };
  if (::fchmod(file.get(), mode) != 0 || !write_all(file.get(), text) || ::fsync(file.get()) != 0) {
    return drop(os_error(draft, "cannot be written"));
  }
  if (take_place) {
    if (::rename(draft.c_str(), path.c_str()) != 0)
      return drop(os_error(path, "cannot be created"));
  } else {
    if (::link(draft.c_str(), path.c_str()) != 0 && errno != EEXIST) {
      return drop(os_error(path, "cannot be created"));
    }
    ::unlink(draft.c_str());
  }
  (void)sync_directory(directory_of(path));
  return {};
}

bool sync_directory(const std::string& path) {
  const Descriptor directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  return directory.is_open() && ::fsync(directory.get()) == 0;
}

std::string directory_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace keyfs
