#include "fs/spire/handshake.h"

#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <system_error>
#include <utility>

#include "base/file.h"

namespace keyfs {
namespace {

constexpr const char* kPattern = "/keyfs-spire-XXXXXX";
constexpr size_t kSocketName = sizeof("/plugin.sock");  // with its NUL

}  // namespace

bool started_by_spire(const Environment& environment) {
  return environment("KeyManager") == "KeyManager";
}

Result<SocketPlace> SocketPlace::make(const Environment& environment) {
  std::string why = "no directory is short enough for a socket";
  for (const std::optional<std::string>& parent :
       {environment("PLUGIN_UNIX_SOCKET_DIR"), environment("TMPDIR"), {"/tmp"}}) {
    if (!parent) continue;
    std::string path = *parent + kPattern;
    if (path.size() + kSocketName > sizeof(sockaddr_un::sun_path)) continue;
    if (::mkdtemp(path.data()) != nullptr) return SocketPlace(std::move(path));
    why = *parent + ": " + std::generic_category().message(errno);
  }
  return fail(Code::kUnavailable, "could not make a directory for the socket: " + why);
}

SocketPlace::SocketPlace(SocketPlace&& other) noexcept
    : directory_(std::exchange(other.directory_, {})) {}

void SocketPlace::remove() {
  if (directory_.empty()) return;
  ::unlink(socket().c_str());
  ::rmdir(directory_.c_str());
  directory_.clear();
}

std::string handshake_line(const std::string& socket) { return "1|1|unix|" + socket + "|grpc\n"; }

Result<void> tell_spire(const std::string& socket) {
  if (!write_all(STDOUT_FILENO, handshake_line(socket))) {
    return fail(Code::kUnavailable, "could not write the handshake to standard output: " +
                                        std::generic_category().message(errno));
  }
  if (::dup2(STDERR_FILENO, STDOUT_FILENO) < 0) {
    return fail(Code::kUnavailable,
                "could not redirect standard output: " + std::generic_category().message(errno));
  }
  return {};
}

}  // namespace keyfs
