#include "base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
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

bool sync_directory(const std::string& path) {
  const Descriptor directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  return directory.is_open() && ::fsync(directory.get()) == 0;
}

Result<void> check_private_file(const struct stat& about, const std::string& path) {
  const auto refuse = [&](const std::string& why) { return fail(Code::kDenied, path + " " + why); };
  if (S_ISLNK(about.st_mode)) return refuse("is a symbolic link; name the file itself");
  if (!S_ISREG(about.st_mode)) return refuse("is not a regular file");
  if (about.st_uid != ::geteuid()) {
    return refuse("is owned by uid " + std::to_string(about.st_uid) + ", and keyfs runs as uid " +
                  std::to_string(::geteuid()) + "; chown it, or move it away");
  }
  if ((about.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    char mode[8];
    (void)std::snprintf(mode, sizeof mode, "%04o", static_cast<unsigned>(about.st_mode & 07777));
    return refuse(std::string("can be written by others (mode ") + mode +
                  "); run: chmod go-w " + path);
  }
  return {};
}

std::string directory_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace keyfs
