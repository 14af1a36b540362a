#include "base/syslog_sink.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <utility>

#include "base/file.h"

namespace keyfs {
namespace {

int severity(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return LOG_DEBUG;
    case LogLevel::kInfo:
      return LOG_INFO;
    case LogLevel::kWarn:
      return LOG_WARNING;
    case LogLevel::kError:
      return LOG_ERR;
  }
  return LOG_ERR;
}

class SyslogSink final : public LogSink {
 public:
  SyslogSink(Descriptor socket, const sockaddr_un& address)
      : socket_(std::move(socket)), address_(address) {}

  void write(LogLevel level, std::string_view line) noexcept override {
    try {
      const std::string text = "<" + std::to_string(LOG_DAEMON | severity(level)) + ">keyfs[" +
                               std::to_string(::getpid()) + "]: " + std::string(line);
      // Not connected: the listener may be restarted.
      if (::sendto(socket_.get(), text.data(), text.size(), MSG_NOSIGNAL,
                   reinterpret_cast<const sockaddr*>(&address_), sizeof address_) < 0) {
        ++lost_;
      }
    } catch (...) {  // no memory
      ++lost_;
    }
  }
  uint64_t lost() const noexcept override { return lost_; }

 private:
  const Descriptor socket_;
  const sockaddr_un address_;
  std::atomic<uint64_t> lost_{0};
};

}  // namespace

Result<std::unique_ptr<LogSink>> open_syslog_sink(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return fail(Code::kInvalid, path + ": is too long");
  std::memcpy(address.sun_path, path.data(), path.size());
  Descriptor socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket.is_open() ||
      ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return fail(os_error(path, "takes no lines"));
  }
  // Only to check whether somebody listens.
  Descriptor unconnected(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!unconnected.is_open()) return fail(os_error(path, "takes no lines"));
  return std::make_unique<SyslogSink>(std::move(unconnected), address);
}

}  // namespace keyfs
