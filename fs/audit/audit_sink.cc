// Where audit lines go: a file, the journal.
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/file.h"
#include "fs/audit/audit.h"

namespace keyfs {
namespace {

class FileSink final : public AuditSink {
 public:
  FileSink(std::string path, mode_t mode, Descriptor fd)
      : path_(std::move(path)), mode_(mode), fd_(std::move(fd)) {}

  static Result<Descriptor> open(const std::string& path, mode_t mode) {
    Descriptor fd(::open(
        path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, mode));
    const auto refuse = [&](const std::string& why) {
      return fail(Code::kUnavailable, "the audit log " + path + " cannot be written: " + why);
    };
    if (fd.get() < 0) {
      return refuse(errno == ELOOP ? "it is a symbolic link" : std::strerror(errno));
    }
    struct stat status {};
    if (::fstat(fd.get(), &status) != 0) return refuse(std::strerror(errno));
    if (!S_ISREG(status.st_mode)) return refuse("it is no regular file");
    // Whatever the umask was, and whoever made it before.
    if (status.st_uid == ::geteuid() && ::fchmod(fd.get(), mode) != 0) {
      return refuse(std::strerror(errno));
    }
    return fd;
  }

  Result<void> write(std::string_view lines, size_t /*count*/) override {
    if (torn_) lines_with_break_.assign("\n").append(lines);
    std::string_view rest = torn_ ? std::string_view(lines_with_break_) : lines;
    while (!rest.empty()) {
      const ssize_t wrote = ::write(fd_.get(), rest.data(), rest.size());
      if (wrote < 0 && errno == EINTR) continue;
      if (wrote < 0) {
        return fail(Code::kUnavailable,
                    "the audit log " + path_ + " cannot be written: " + std::strerror(errno));
      }
      rest.remove_prefix(static_cast<size_t>(wrote));
      // A disk that fills up takes half a line; the next one is to stand on its own.
      torn_ = !rest.empty();
    }
    return {};
  }

  Result<void> reopen() override {
    auto fd = open(path_, mode_);
    if (!fd) return fail(std::move(fd.error()));
    fd_ = std::move(*fd);
    torn_ = false;
    return {};
  }

 private:
  const std::string path_;
  const mode_t mode_;
  Descriptor fd_;
  bool torn_ = false;
  std::string lines_with_break_;
};

// One datagram for each line. https://systemd.io/JOURNAL_NATIVE_PROTOCOL/
class JournalSink final : public AuditSink {
 public:
  static constexpr const char* kSocket = "/run/systemd/journal/socket";

  static Result<Descriptor> open() {
    const auto refuse = [](int error) {
      return fail(Code::kUnavailable, std::string("the audit log cannot go to the journal: ") +
                                          kSocket + ": " + std::strerror(error));
    };
    Descriptor fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (fd.get() < 0) return refuse(errno);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, kSocket, sizeof address.sun_path - 1);
    if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
      return refuse(errno);
    }
    return fd;
  }

  explicit JournalSink(Descriptor fd) : fd_(std::move(fd)) {}

  Result<void> write(std::string_view lines, size_t /*count*/) override {
    while (!lines.empty()) {
      const size_t end = lines.find('\n');
      datagram_.assign("SYSLOG_IDENTIFIER=keyfs-audit\nPRIORITY=6\nMESSAGE=");
      datagram_.append(lines.substr(0, end)).append("\n");
      if (auto sent = send(); !sent) return sent;
      lines.remove_prefix(end + 1);
    }
    return {};
  }
  Result<void> reopen() override {
    auto fd = open();
    if (!fd) return fail(std::move(fd.error()));
    fd_ = std::move(*fd);
    return {};
  }

 private:
  // The journal's queue is short: it gets the time to empty it, unless it took none of it last
  // time.
  static constexpr int kPatienceMs = 1000;

  Result<void> send() {
    for (int attempt = 0;; ++attempt) {
      if (::send(fd_.get(), datagram_.data(), datagram_.size(), MSG_NOSIGNAL) >= 0) {
        stuck_ = false;
        return {};
      }
      if (errno == EINTR) continue;
      if (errno == EAGAIN && !stuck_) {
        pollfd room{fd_.get(), POLLOUT, 0};
        stuck_ = ::poll(&room, 1, kPatienceMs) == 0;
        errno = EAGAIN;
        if (!stuck_) continue;
      }
      // The journal was restarted.
      if ((errno == ECONNREFUSED || errno == ENOTCONN) && attempt == 0 && reopen()) continue;
      return fail(Code::kUnavailable,
                  std::string("the journal takes no audit lines: ") + std::strerror(errno));
    }
  }

  Descriptor fd_;
  std::string datagram_;
  bool stuck_ = false;
};

}  // namespace

Result<std::unique_ptr<AuditSink>> open_audit_file(const std::string& path, bool group_readable) {
  const mode_t mode = group_readable ? 0640 : 0600;
  auto fd = FileSink::open(path, mode);
  if (!fd) return fail(std::move(fd.error()));
  return std::make_unique<FileSink>(path, mode, std::move(*fd));
}

Result<std::unique_ptr<AuditSink>> open_audit_journal() {
  auto fd = JournalSink::open();
  if (!fd) return fail(std::move(fd.error()));
  return std::make_unique<JournalSink>(std::move(*fd));
}

}  // namespace keyfs
