#include "fs/daemon/notify.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstring>
#include <string>

namespace keyfs {
namespace {

// A service manager, listening on an abstract address.
class Manager {
 public:
  Manager() : name_("@keyfs-notify-test-" + std::to_string(::getpid())) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path + 1, name_.data() + 1, name_.size() - 1);
    socket_ = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name_.size());
    EXPECT_EQ(::bind(socket_, reinterpret_cast<sockaddr*>(&address), size), 0);
  }
  ~Manager() { ::close(socket_); }

  const char* name() const { return name_.c_str(); }
  std::string heard() {
    std::array<char, 512> text{};
    const ssize_t size = ::recv(socket_, text.data(), text.size(), MSG_DONTWAIT);
    return size < 0 ? "" : std::string(text.data(), static_cast<size_t>(size));
  }

 private:
  std::string name_;
  int socket_ = -1;
};

TEST(ServiceNotifier, tells_the_start_a_reload_and_the_end) {
  Manager manager;
  const ServiceNotifier notifier(manager.name());
  notifier.ready("mounted on /mnt/keys");
  EXPECT_EQ(manager.heard(),
            "READY=1\nSTATUS=mounted on /mnt/keys\nMAINPID=" + std::to_string(::getpid()));
  notifier.reloading();
  EXPECT_EQ(manager.heard().substr(0, 27), "RELOADING=1\nMONOTONIC_USEC=");
  notifier.stopping();
  EXPECT_EQ(manager.heard(), "STOPPING=1");
}

TEST(ServiceNotifier, nobody_to_tell_is_no_failure) {
  ServiceNotifier(nullptr).ready("x");
  ServiceNotifier("").ready("x");
  ServiceNotifier("relative").ready("x");
  ServiceNotifier("/nowhere/at/all").ready("x");
  ServiceNotifier(std::string(500, '/').c_str()).ready("x");
}

}  // namespace
}  // namespace keyfs
