// Notifies the service manager: the datagrams of sd_notify(3), if NOTIFY_SOCKET is set.
//
// Thread-safety: thread-safe. Ownership: owns its socket. Blocking: never. Errors: none; without a
// listener nothing is sent.
#pragma once

#include <string>
#include <string_view>

namespace keyfs {

class ServiceNotifier {
 public:
  // Takes the address from NOTIFY_SOCKET in the environment ("/path" or "@abstract"); does nothing
  // without it.
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
