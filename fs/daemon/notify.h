// Tells the service manager how the daemon is doing: the datagrams of sd_notify(3), when
// NOTIFY_SOCKET is set.
//
// Thread-safety: thread-safe. Ownership: owns its socket. Blocking: never. Errors: none; where
// nobody listens, nothing is told.
#pragma once

#include <string>
#include <string_view>

namespace keyfs {

class ServiceNotifier {
 public:
  // Takes the address from the environment's NOTIFY_SOCKET ("/path" or "@abstract"); none: does
  // nothing.
  explicit ServiceNotifier(const char* notify_socket);
  ~ServiceNotifier();
  ServiceNotifier(const ServiceNotifier&) = delete;
  ServiceNotifier& operator=(const ServiceNotifier&) = delete;

  void ready(std::string_view status) const;  // READY=1; also at the end of a reload
  void reloading() const;  // RELOADING=1 with the time, systemd.service(5) notify-reload
  void stopping() const;   // STOPPING=1
  void status(std::string_view status) const;  // one line for people

 private:
  void send(const std::string& text) const;

  int socket_ = -1;
};

}  // namespace keyfs
