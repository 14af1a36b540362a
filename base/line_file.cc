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

bool LineFile::was_removed() const {
  struct stat about {};
  return !path_.empty() && ::fstat(fd_, &about) == 0 && about.st_nlink == 0;
}

LineFile::Written LineFile::write(std::string_view lines) {
  if (was_removed()) {
    if (auto opened = reopen(); !opened) return {0, std::move(opened.error())};
  }
  const bool mending = torn_;
  if (mending) mended_.assign("\n").append(lines);
  const std::string_view all = mending ? std::string_view(mended_) : lines;
  std::string_view rest = all;
  int refusals = 0;
  Written written;
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
