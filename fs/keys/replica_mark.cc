#include "fs/keys/replica_mark.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <optional>
#include <sstream>
#include <string_view>
#include <utility>
#include <vector>

#include "base/crypto.h"
#include "base/encoding.h"
#include "base/siphash.h"

namespace keyfs {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMostSockets = size_t{64} << 20;  // of text

struct FileId {
  dev_t device = 0;
  ino_t inode = 0;
};

// nullopt with errno.
std::optional<FileId> file_at(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) return std::nullopt;
  return FileId{info.st_dev, info.st_ino};
}

std::string hex(uint64_t number) {
  std::ostringstream text;
  text << std::hex << number;
  return text.str();
}

std::string text_of(const FileId& file) { return hex(file.device) + "." + hex(file.inode); }

// "keyfs/PLACE/": with the root, since a container may have a path of the same name.
std::string place_of(const std::string& path) {
  std::error_code error;
  fs::path there = fs::weakly_canonical(path, error);
  if (error) there = fs::path(path).lexically_normal();
  const auto root = file_at("/");
  return "keyfs/" + hex(SipHash()((root ? text_of(*root) : "") + there.string())) + "/";
}

struct flock whole(short type) {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  return lock;
}

// An abstract name (unix(7)).
std::pair<sockaddr_un, socklen_t> address_of(std::string_view name) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const size_t size = std::min(name.size(), sizeof address.sun_path - 1);
  std::memcpy(address.sun_path + 1, name.data(), size);
  return {address, static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + size)};
}

Descriptor new_socket() {
  return Descriptor(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

const sockaddr* generic(const sockaddr_un& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

// Who listens there; nullopt if nobody does any more. Nobody accepts, so this waits for nobody; a
// queue that somebody has filled up answers for nobody either.
std::optional<uid_t> owner_of_socket(std::string_view name) {
  const Descriptor socket = new_socket();
  const auto [address, size] = address_of(name);
  if (!socket.is_open() || ::connect(socket.get(), generic(address), size) != 0) {
    return std::nullopt;
  }
  ucred who{};
  socklen_t length = sizeof who;
  if (::getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &who, &length) != 0) return std::nullopt;
  return who.uid;
}

// Whose word counts about the directory. While it is away: of the directory that it was in.
std::vector<uid_t> who_may_say(const std::string& directory) {
  std::vector<uid_t> all = {0, ::geteuid()};
  struct stat info {};
  fs::path there = directory;
  while (::stat(there.c_str(), &info) != 0 && there.has_relative_path())
    there = there.parent_path();
  if (::stat(there.c_str(), &info) == 0) all.push_back(info.st_uid);
  return all;
}

std::vector<std::string> names_of_sockets(const std::string& prefix) {
  std::vector<std::string> found;
  const auto text = read_to_end("/proc/self/net/unix", kMostSockets);
  if (!text) return found;
  std::istringstream lines(*text);
  const std::string wanted = "@" + prefix;
  for (std::string line; std::getline(lines, line);) {
    const size_t at = line.rfind(' ');
    if (at == std::string::npos || line.compare(at + 1, wanted.size(), wanted) != 0) continue;
    found.push_back(line.substr(at + 2));
  }
  std::sort(found.begin(), found.end());
  found.erase(std::unique(found.begin(), found.end()), found.end());
  return found;
}

tl::unexpected<Error> another(const std::string& path) {
  return fail(Code::kUnavailable,
              path +
                  ": a running keyfs has remembered in another file of that name what this host "
                  "has seen; it was removed or replaced, or something is mounted over it. Put "
                  "it back; or, if this host is to forget what it has seen, stop keyfs first");
}

}  // namespace

Result<ReplicaMark> ReplicaMark::make(const std::string& path, Random& random) {
  const std::string directory = directory_of(path);
  ReplicaMark mark;
  mark.directory_ = Descriptor(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  // Of the open file: no other descriptor that is closed takes it away (fcntl(2)).
  struct flock lock = whole(F_RDLCK);
  if (!mark.directory_.is_open() || ::fcntl(mark.directory_.get(), F_OFD_SETLK, &lock) != 0) {
    return fail(os_error(directory, "can't be marked as in use"));
  }
  const auto file = file_at(path);
  if (!file) return fail(os_error(path, "can't be marked as in use"));
  std::array<uint8_t, 8> bytes{};
  if (auto ok = random.fill(bytes); !ok) return fail(ok.error());
  const std::string name = place_of(path) + text_of(*file) + "/" + hex_encode(bytes);
  mark.socket_ = new_socket();
  const auto [address, size] = address_of(name);
  if (!mark.socket_.is_open() || ::bind(mark.socket_.get(), generic(address), size) != 0 ||
      ::listen(mark.socket_.get(), SOMAXCONN) != 0) {
    return fail(os_error("a socket", "can't mark " + path + " as in use"));
  }
  return mark;
}

Result<void> check_replica_is_the_one(const std::string& path) {
  const std::string directory = directory_of(path);
  const auto there = file_at(path);
  if (!there && errno == ENOENT) {
    const Descriptor open(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    struct flock lock = whole(F_WRLCK);
    if (open.is_open() && ::fcntl(open.get(), F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK) {
      return another(path);
    }
  }
  const std::string place = place_of(path);
  const std::string right = there ? place + text_of(*there) + "/" : "";
  std::vector<uid_t> believed;
  for (const std::string& name : names_of_sockets(place)) {
    if (there && name.starts_with(right)) continue;
    const auto owner = owner_of_socket(name);
    if (!owner) continue;
    if (believed.empty()) believed = who_may_say(directory);
    if (std::find(believed.begin(), believed.end(), *owner) != believed.end()) return another(path);
  }
  return {};
}

}  // namespace keyfs
