// Where audit lines go: a file, the journal.
#include <poll.h>
#include <sys/socket.h>
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
  explicit FileSink(LineFile file) : file_(std::move(file)) {}
  LineFile::Written write(std::string_view lines) override { return file_.write(lines); }
  Result<void> reopen() override { return file_.reopen(); }

 private:
  LineFile file_;
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

  LineFile::Written write(std::string_view lines) override {
    LineFile::Written written;
    while (!lines.empty()) {
      const size_t end = lines.find('\n');
      datagram_.assign("SYSLOG_IDENTIFIER=keyfs-audit\nPRIORITY=6\nMESSAGE=");
      datagram_.append(lines.substr(0, end)).append("\n");
      if (auto sent = send(); !sent) {
        written.error = std::move(sent.error());
        break;
      }
      ++written.lines;
      lines.remove_prefix(end + 1);
    }
    return written;
  }
  Result<void> reopen() override {
    auto fd = open();
    if (!fd) return fail(std::move(fd.error()));
    fd_ = std::move(*fd);
    return {};
  }

 private:
  // The journal's queue is short: give it time to drain, unless it accepted nothing last time.
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
                  std::string("the journal does not accept audit lines: ") + std::strerror(errno));
    }
  }

  Descriptor fd_;
  std::string datagram_;
  bool stuck_ = false;
};

}  // namespace

Result<std::unique_ptr<AuditSink>> open_audit_file(const std::string& path, bool group_readable) {
  auto file = LineFile::open("the audit log", path, group_readable ? 0640 : 0600);
  if (!file) return fail(std::move(file.error()));
  return std::make_unique<FileSink>(std::move(*file));
}

Result<std::unique_ptr<AuditSink>> open_audit_journal() {
  auto fd = JournalSink::open();
  if (!fd) return fail(std::move(fd.error()));
  return std::make_unique<JournalSink>(std::move(*fd));
}

}  // namespace keyfs
