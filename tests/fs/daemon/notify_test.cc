#include "fs/daemon/notify.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <memory>
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

size_t open_descriptors() {
  namespace fs = std::filesystem;
  return static_cast<size_t>(std::distance(fs::directory_iterator("/proc/self/fd"), {}));
}

TEST(ServiceNotifier, without_a_usable_address_it_holds_no_socket_and_tells_nobody) {
  const size_t before = open_descriptors();
  const std::string too_long(500, '/');
  for (const char* address : {static_cast<const char*>(nullptr), "", "@", "/", "relative",
                              "/nowhere/at/all", "@nobody-listens-here", too_long.c_str()}) {
    const ServiceNotifier notifier(address);
    EXPECT_EQ(open_descriptors(), before) << (address == nullptr ? "null" : address);
    notifier.ready("x");
    notifier.stopping();
  }
  EXPECT_EQ(open_descriptors(), before);
}

TEST(ServiceNotifier, a_manager_that_went_away_is_no_failure) {
  auto manager = std::make_unique<Manager>();
  const ServiceNotifier notifier(manager->name());
  notifier.status("first");
  EXPECT_EQ(manager->heard(), "STATUS=first");
  manager.reset();
  notifier.ready("x");  // no signal, no exception: that we are here is the answer
  notifier.stopping();
  Manager next;
  EXPECT_EQ(next.heard(), "");  // what was for the old one is not told to another
}

}  // namespace
}  // namespace keyfs
