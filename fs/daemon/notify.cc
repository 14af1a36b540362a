#include "fs/daemon/notify.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>
#include <ctime>

namespace keyfs {

ServiceNotifier::ServiceNotifier(const char* notify_socket) {
  if (notify_socket == nullptr) return;
  const std::string_view path(notify_socket);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() < 2 || path.size() >= sizeof address.sun_path) return;
  if (path[0] != '/' && path[0] != '@') return;
  std::memcpy(address.sun_path, path.data(), path.size());
  if (path[0] == '@') address.sun_path[0] = '\0';
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size());
  socket_ = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (socket_ >= 0 && ::connect(socket_, reinterpret_cast<const sockaddr*>(&address), size) != 0) {
    ::close(socket_);
    socket_ = -1;
  }
}

ServiceNotifier::~ServiceNotifier() {
  if (socket_ >= 0) ::close(socket_);
}

void ServiceNotifier::ready(std::string_view status) const {
  send("READY=1\nSTATUS=" + std::string(status) + "\nMAINPID=" + std::to_string(::getpid()));
}

void ServiceNotifier::reloading() const {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  send("RELOADING=1\nMONOTONIC_USEC=" +
       std::to_string(now.tv_sec * 1000000LL + now.tv_nsec / 1000));
}

void ServiceNotifier::stopping() const { send("STOPPING=1"); }

void ServiceNotifier::status(std::string_view status) const {
  send("STATUS=" + std::string(status));
}

void ServiceNotifier::send(const std::string& text) const {
  if (socket_ >= 0) (void)::send(socket_, text.data(), text.size(), MSG_NOSIGNAL);
}

}  // namespace keyfs
