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
#include <deque>
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

// The names of a path, from the left, without those that say nothing.
std::deque<std::string> names_in(const fs::path& path) {
  std::deque<std::string> names;
  for (const fs::path& name : path.relative_path()) {
    if (!name.empty() && name != ".") names.push_back(name.string());
  }
  return names;
}

// The absolute path as it is spelled, and what is left to go after each link and each ".." in it,
// down to the one without any: each may be led elsewhere, and others may begin at any of them.
std::vector<std::string> ways_to(const std::string& path) {
  constexpr size_t kMostLinks = 40;  // as in path_resolution(7)
  std::error_code error;
  const fs::path spelled = fs::absolute(path, error);
  fs::path so_far = "/";
  std::deque<std::string> rest = names_in(spelled);
  std::vector<std::string> ways;
  const auto add = [&] {
    fs::path way = so_far;
    for (const std::string& name : rest) way /= name;
    if (std::find(ways.begin(), ways.end(), way.string()) == ways.end()) ways.push_back(way);
  };
  add();
  for (size_t links = 0; !rest.empty();) {
    const std::string name = rest.front();
    rest.pop_front();
    if (name == "..") {
      so_far = so_far.parent_path();
      add();
      continue;
    }
    const fs::path target = fs::read_symlink(so_far / name, error);
    if (error || ++links > kMostLinks) {
      so_far /= name;
      continue;
    }
    if (target.is_absolute()) so_far = "/";
    const std::deque<std::string> inserted = names_in(target);
    rest.insert(rest.begin(), inserted.begin(), inserted.end());
    add();
  }
  return ways;
}

// "keyfs/PLACE/" for each way to the path: with the root, since a container may have a path of the
// same name.
std::vector<std::string> places_of(const std::string& path) {
  const auto root = file_at("/");
  std::vector<std::string> places;
  for (const std::string& way : ways_to(path)) {
    places.push_back("keyfs/" + hex(SipHash()((root ? text_of(*root) : "") + way)) + "/");
  }
  return places;
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

// Those that begin with one of `places`.
std::vector<std::string> names_of_sockets(const std::vector<std::string>& places) {
  std::vector<std::string> found;
  const auto text = read_to_end("/proc/self/net/unix", kMostSockets);
  if (!text) return found;
  std::istringstream lines(*text);
  for (std::string line; std::getline(lines, line);) {
    const size_t at = line.rfind(" @keyfs/");
    if (at == std::string::npos) continue;
    const std::string name = line.substr(at + 2);
    const auto begins = [&name](const std::string& place) { return name.starts_with(place); };
    if (std::any_of(places.begin(), places.end(), begins)) found.push_back(name);
  }
  std::sort(found.begin(), found.end());
  found.erase(std::unique(found.begin(), found.end()), found.end());
  return found;
}

tl::unexpected<Error> another(const std::string& path) {
  return fail(Code::kUnavailable,
              path +
                  ": a running keyfs has remembered in another file of that name what this host "
                  "has seen; it was removed or replaced, something is mounted over it, or a link "
                  "in its path leads elsewhere now. Put it back; or, if this host is to forget "
                  "what it has seen, stop keyfs first (SIGTERM to the pid that `keyfs status` "
                  "prints; umount -l leaves it running). Then restart this one, if it is a "
                  "daemon");
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
  for (const std::string& place : places_of(path)) {
    Descriptor socket = new_socket();
    const auto [address, size] = address_of(place + text_of(*file) + "/" + hex_encode(bytes));
    if (!socket.is_open() || ::bind(socket.get(), generic(address), size) != 0 ||
        ::listen(socket.get(), SOMAXCONN) != 0) {
      return fail(os_error("a socket", "can't mark " + path + " as in use"));
    }
    mark.sockets_.push_back(std::move(socket));
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
  const std::string right = there ? "/" + text_of(*there) + "/" : "";
  std::vector<uid_t> believed;
  for (const std::string& name : names_of_sockets(places_of(path))) {
    // After "keyfs/PLACE".
    if (there && name.compare(name.find('/', sizeof "keyfs/" - 1), right.size(), right) == 0) {
      continue;
    }
    const auto owner = owner_of_socket(name);
    if (!owner) continue;
    if (believed.empty()) believed = who_may_say(directory);
    if (std::find(believed.begin(), believed.end(), *owner) != believed.end()) return another(path);
  }
  return {};
}

}  // namespace keyfs
