// How a plugin tells go-plugin where it listens: one line on standard output, and nothing else ever.
//   https://github.com/hashicorp/go-plugin/blob/main/docs/internals.md
//
// Thread-safety: before the first thread. Ownership: a SocketPlace removes its directory. Blocking:
// on the disk. Errors: kUnavailable with the reason.
#pragma once

#include <string>

#include "base/environment.h"
#include "base/result.h"

namespace keyfs {

// Whether SPIRE started this program, rather than a person.
bool started_by_spire(const Environment& environment);

// A path for a socket in a directory of its own, which only this user may enter. Of
// PLUGIN_UNIX_SOCKET_DIR, TMPDIR and /tmp the first that is set and short enough for a socket.
class SocketPlace {
 public:
  static Result<SocketPlace> make(const Environment& environment);
  ~SocketPlace() { remove(); }
  SocketPlace(SocketPlace&& other) noexcept;
  SocketPlace& operator=(SocketPlace&&) = delete;

  std::string socket() const { return directory_ + "/plugin.sock"; }
  // The socket, and the directory.
  void remove();

 private:
  explicit SocketPlace(std::string directory) : directory_(std::move(directory)) {}
  std::string directory_;  // empty: removed, or moved away
};

// "1|1|unix|PATH|grpc\n"
std::string handshake_line(const std::string& socket);

// Writes the line, and points standard output to standard error: what a library prints is no part
// of what SPIRE reads.
Result<void> tell_spire(const std::string& socket);

}  // namespace keyfs
