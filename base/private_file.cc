#include "base/private_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

namespace keyfs {
namespace {

std::string octal(mode_t mode) {
  char text[8];
  std::snprintf(text, sizeof text, "%04o", static_cast<unsigned>(mode & 07777));
  return text;
}

}  // namespace

Result<void> check_guard(const std::string& path, const struct stat& about, Guard guard) {
  const uid_t us = ::geteuid();
  if (about.st_uid != us && !(guard == Guard::kTrusted && about.st_uid == 0)) {
    const std::string ours = std::to_string(us);
    return fail(Code::kDenied, path + ": is owned by uid " + std::to_string(about.st_uid) +
                                   ", and keyfs runs as uid " + ours +
                                   "; run it as that user, or: chown " +
                                   (S_ISDIR(about.st_mode) ? "-R " : "") + ours + " " + path);
  }
  const mode_t unwanted = guard == Guard::kSecret ? 077 : 022;
  if ((about.st_mode & unwanted) == 0) return {};
  const bool secret = guard == Guard::kSecret;
  const char* right = S_ISDIR(about.st_mode) ? "700 " : "600 ";
  return fail(Code::kDenied, path + ": others can " + (secret ? "use" : "write") + " it (mode " +
                                 octal(about.st_mode) + "); run: chmod " +
                                 (secret ? right : "go-w ") + path);
}

Result<void> check_regular(const std::string& path, const Descriptor& file) {
  struct stat about {};
  if (::fstat(file.get(), &about) != 0) return fail(os_error(path, "cannot be examined"));
  if (!S_ISREG(about.st_mode)) return fail(Code::kDenied, path + ": is not a regular file");
  return {};
}

Result<void> check_private_directory(const std::string& path) {
  struct stat about {};
  if (::stat(path.c_str(), &about) != 0) return fail(os_error(path, "cannot be used"));
  if (!S_ISDIR(about.st_mode)) return fail(Code::kDenied, path + ": is not a directory");
  return check_guard(path, about, Guard::kOurs);
}

Result<void> check_place(const std::string& path) {
  const std::string directory = directory_of(path);
  struct stat about {};
  if (::stat(directory.c_str(), &about) != 0 || !S_ISDIR(about.st_mode)) return {};
  const std::string whose = path + ": can be replaced by others: its directory " + directory;
  const uid_t us = ::geteuid();
  if (about.st_uid != us && about.st_uid != 0) {
    const std::string owner = std::to_string(about.st_uid);
    return fail(Code::kDenied, whose + " is owned by uid " + owner + ", and keyfs runs as uid " +
                                   std::to_string(us) + "; run it as that user (sudo -u '#" +
                                   owner + "' keyfs ...), or: chown " + std::to_string(us) + " " +
                                   directory);
  }
  if ((about.st_mode & 022) == 0 || (about.st_mode & S_ISVTX) != 0) return {};
  return fail(Code::kDenied,
              whose + " has mode " + octal(about.st_mode) + "; run: chmod go-w " + directory);
}

Result<Descriptor> open_private_file(const std::string& path, int flags, Guard guard, mode_t mode) {
  // O_NONBLOCK: on a FIFO, open() would wait for the other end.
  Descriptor file(
      ::open(path.c_str(), flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, mode));
  if (!file.is_open()) {
    if (errno == ELOOP) {
      return fail(Code::kDenied, path + ": is a symbolic link; name the file itself");
    }
    return fail(os_error(path, "cannot be opened"));
  }
  struct stat about {};
  if (::fstat(file.get(), &about) != 0) return fail(os_error(path, "cannot be opened"));
  if (!S_ISREG(about.st_mode)) return fail(Code::kDenied, path + ": is not a regular file");
  if (auto ok = check_guard(path, about, guard); !ok) return fail(std::move(ok.error()));
  return file;
}

}  // namespace keyfs
