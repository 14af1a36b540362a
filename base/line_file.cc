#include "base/line_file.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/private_file.h"

namespace keyfs {
namespace {

constexpr int kPatienceMs = 1000;

}  // namespace

Result<LineFile> LineFile::open(std::string what, std::string path, std::optional<mode_t> mode) {
  LineFile made;
  made.what_ = std::move(what);
  made.path_ = std::move(path);
  made.mode_ = mode;
  if (auto opened = made.reopen(); !opened) return fail(std::move(opened.error()));
  return made;
}

LineFile LineFile::over(int fd) {
  LineFile made;
  made.fd_ = fd;
  return made;
}

Result<void> LineFile::reopen() {
  if (path_.empty()) return {};
  const auto within = [&](Error error) {
    return fail(error.code, "could not open " + what_ + ": " + error.message);
  };
  if (auto trusted = check_place(path_); !trusted) return within(std::move(trusted.error()));
  // For reading too: its end is checked.
  auto file =
      open_private_file(path_, O_RDWR | O_APPEND | O_CREAT, Guard::kOurs, mode_.value_or(0640));
  if (!file) return within(std::move(file.error()));
  struct stat about {};
  if (::fstat(file->get(), &about) != 0) return within(os_error(path_, "cannot be examined"));
  // Regardless of the umask, and of who created it.
  if (mode_ && (about.st_mode & 07777) != *mode_ && ::fchmod(file->get(), *mode_) != 0) {
    return within(os_error(path_, "cannot set its mode"));
  }
  char last = '\n';
  if (about.st_size > 0 && ::pread(file->get(), &last, 1, about.st_size - 1) != 1) last = '\n';
  torn_ = last != '\n';
  struct stat directory {};
  if (::stat(directory_of(path_).c_str(), &directory) != 0) directory = {};
  directory_device_ = directory.st_dev;
  directory_inode_ = directory.st_ino;
  fd_ = file->get();
  file_ = std::move(*file);
  return {};
}

Result<void> LineFile::follow() {
  if (path_.empty()) return {};
  struct stat there {};
  struct stat ours {};
  if (::stat(path_.c_str(), &there) == 0 && ::fstat(fd_, &ours) == 0 &&
      there.st_dev == ours.st_dev && there.st_ino == ours.st_ino) {
    return {};
  }
  return reopen();
}

bool LineFile::wait_for_room() {
  if (!path_.empty()) return true;
  for (;;) {
    pollfd room{fd_, POLLOUT, 0};
    const int ready = ::poll(&room, 1, stuck_ ? 0 : kPatienceMs);
    if (ready < 0 && errno == EINTR) continue;
    stuck_ = ready == 0;  // from now on do not wait, until it works again
    if (ready == 0) errno = EAGAIN;
    return ready > 0;
  }
}

// The link count alone does not show it: the file may be on a file system that was unmounted
// lazily, or in a directory that was replaced.
LineFile::Named LineFile::what_is_named() const {
  struct stat ours {};
  if (path_.empty() || ::fstat(fd_, &ours) != 0) return Named::kOurs;
  if (ours.st_nlink == 0) return Named::kUnreachable;
  struct stat there {};
  const int error = ::lstat(path_.c_str(), &there) == 0 ? 0 : errno;
  if (error == 0 && there.st_dev == ours.st_dev && there.st_ino == ours.st_ino) {
    return Named::kOurs;
  }
  if (error != 0 && error != ENOENT && error != ENOTDIR) return Named::kOurs;  // can't tell
  struct stat directory {};
  if (::stat(directory_of(path_).c_str(), &directory) != 0 ||
      directory.st_dev != directory_device_ || directory.st_ino != directory_inode_) {
    return Named::kUnreachable;
  }
  return error == 0 ? Named::kAnother : Named::kMoved;
}

LineFile::Written LineFile::write(std::string_view lines) {
  Written written;
  const Named named = what_is_named();
  if (named == Named::kAnother || named == Named::kUnreachable) {
    auto opened = reopen();
    written.elsewhere = opened.has_value();
    // Better the old file, as long as it can be found, than none.
    if (!opened && named == Named::kUnreachable) {
      written.error = std::move(opened.error());
      return written;
    }
  }
  const bool mending = torn_;
  if (mending) mended_.assign("\n").append(lines);
  const std::string_view all = mending ? std::string_view(mended_) : lines;
  std::string_view rest = all;
  int refusals = 0;
  while (!rest.empty() && wait_for_room()) {
    const ssize_t put = ::write(fd_, rest.data(), rest.size());
    if (put < 0 && (errno == EINTR || (errno == EAGAIN && ++refusals < 3))) continue;
    if (put <= 0) {
      if (put == 0) errno = EIO;
      break;
    }
    rest.remove_prefix(static_cast<size_t>(put));
  }
  const int why = errno;
  const std::string_view done = all.substr(0, all.size() - rest.size());
  written.lines = static_cast<size_t>(std::count(done.begin(), done.end(), '\n'));
  if (mending && written.lines > 0) --written.lines;
  if (!done.empty()) torn_ = done.back() != '\n';
  if (!rest.empty()) {
    const std::string name = path_.empty() ? "a line" : what_ + " " + path_;
    written.error =
        Error(Code::kUnavailable, "could not write " + name + ": " + std::strerror(why));
  }
  return written;
}

}  // namespace keyfs
