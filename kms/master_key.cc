#include "kms/master_key.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <optional>
#include <utility>

#include "base/encoding.h"
#include "base/file.h"
#include "base/private_file.h"

namespace keyfs {
namespace {

constexpr std::string_view kFingerprintLabel = "keyfs local master v1";
constexpr size_t kFingerprintBytes = 8;

tl::unexpected<Error> cannot_open(int error, const std::string& path) {
  const std::string file = "master key " + path + ": ";
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      return fail(Code::kUnavailable, file + "does not exist; restore it from its backup");
    case ELOOP:
      return fail(Code::kUnavailable, file + "is a symbolic link; name the file itself");
    case EACCES:
    case EPERM:
      return fail(Code::kUnavailable, file + "keyfs may not read it; it must belong to uid " +
                                          std::to_string(geteuid()) + ", with mode 0600");
    default:
      return fail(Code::kUnavailable, file + std::strerror(error));
  }
}

// Files that keyfs may use: nobody else can have read or replaced them.
Result<void> judge_owner(const struct stat& about, const std::string& path) {
  const std::string file = "master key " + path + ": ";
  if (!S_ISREG(about.st_mode)) return fail(Code::kUnavailable, file + "is not a regular file");
  if (auto ok = check_guard(path, about, Guard::kSecret); !ok) {
    return fail(Code::kUnavailable, "master key " + ok.error().message);
  }
  return {};
}

Result<void> judge_place(const std::string& path) {
  if (auto ok = check_place(path); !ok) {
    return fail(Code::kUnavailable, "master key " + ok.error().message);
  }
  return {};
}

Result<void> judge(const struct stat& about, const std::string& path) {
  const std::string file = "master key " + path + ": ";
  if (auto ok = judge_owner(about, path); !ok) return ok;
  if (about.st_size != static_cast<off_t>(kMasterKeyBytes)) {
    return fail(Code::kUnavailable, file + "has " + std::to_string(about.st_size) +
                                        " bytes instead of " + std::to_string(kMasterKeyBytes) +
                                        "; restore it from its backup");
  }
  return {};
}

// What changes when the file changes.
struct FileIdentity {
  dev_t device{};
  ino_t inode{};
  off_t size{};
  timespec changed{};
  timespec written{};

  explicit FileIdentity(const struct stat& about)
      : device(about.st_dev),
        inode(about.st_ino),
        size(about.st_size),
        changed(about.st_ctim),
        written(about.st_mtim) {}

  bool operator==(const FileIdentity& other) const {
    const auto same = [](const timespec& a, const timespec& b) {
      return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
    };
    return device == other.device && inode == other.inode && size == other.size &&
           same(changed, other.changed) && same(written, other.written);
  }
};

Result<SecretBytes> read_master(int descriptor, SecretArena& arena, const std::string& path) {
  auto bytes = arena.allocate(kMasterKeyBytes);
  if (!bytes) return bytes;
  const auto space = bytes->reveal_mutable();
  size_t have = 0;
  while (have < space.size()) {
    const ssize_t got =
        ::pread(descriptor, space.data() + have, space.size() - have, static_cast<off_t>(have));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return cannot_open(errno, path);
    if (got == 0) {
      return fail(Code::kUnavailable, "master key " + path + ": was truncated while being read");
    }
    have += static_cast<size_t>(got);
  }
  return bytes;
}

}  // namespace

Result<std::shared_ptr<const MasterKey>> make_master_key(SecretBytes bytes) {
  if (bytes.size() != kMasterKeyBytes) {
    return fail(Code::kInvalid, "a master key has 32 bytes, not " + std::to_string(bytes.size()));
  }
  const auto print = hmac_sha256(bytes.reveal(), bytes_of(kFingerprintLabel));
  if (!print) return fail(print.error());
  auto master = std::make_shared<MasterKey>();
  master->name = "local:" + hex_encode(std::span(*print).first(kFingerprintBytes));
  master->bytes = std::move(bytes);
  return std::shared_ptr<const MasterKey>(std::move(master));
}

// Shared with the work on the worker's thread, which may outlive the MasterFile.
struct MasterFile::State {
  State(SecretArena& the_arena, std::string the_path)
      : arena(the_arena), path(std::move(the_path)) {}

  Result<std::shared_ptr<const MasterKey>> load();

  SecretArena& arena;
  const std::string path;
  std::optional<FileIdentity> identity;  // of the file that `key` was read from; worker's thread

  mutable std::mutex mutex;
  std::shared_ptr<const MasterKey> key;
};

Result<std::shared_ptr<const MasterKey>> MasterFile::State::load() {
  // O_NONBLOCK: on a FIFO, open would wait for a writer.
  const Descriptor file(
      ::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!file.is_open()) return cannot_open(errno, path);
  struct stat about {};
  if (::fstat(file.get(), &about) != 0) return cannot_open(errno, path);
  if (auto ok = judge(about, path); !ok) return fail(std::move(ok.error()));
  const FileIdentity now(about);
  if (identity == now) {
    std::lock_guard lock(mutex);
    return key;
  }
  if (auto ok = judge_place(path); !ok) return fail(std::move(ok.error()));
  auto bytes = read_master(file.get(), arena, path);
  if (!bytes) return fail(std::move(bytes.error()));
  const auto all = bytes->reveal();
  if (std::all_of(all.begin(), all.end(), [&](uint8_t byte) { return byte == all[0]; })) {
    return fail(Code::kUnavailable, "master key " + path +
                                        ": holds the same byte 32 times, not a random key; restore "
                                        "it from its backup");
  }
  auto master = make_master_key(std::move(*bytes));
  if (!master) return master;
  std::lock_guard lock(mutex);
  identity = now;
  key = *master;
  return master;
}

Result<void> check_master_file(const std::string& path) {
  struct stat about {};
  if (::lstat(path.c_str(), &about) != 0) {
    return errno == EACCES ? Result<void>(cannot_open(errno, path)) : Result<void>();
  }
  if (S_ISLNK(about.st_mode)) return cannot_open(ELOOP, path);
  if (auto ok = judge_owner(about, path); !ok) return ok;
  return judge_place(path);
}

MasterFile::MasterFile(Loop& loop, SecretArena& arena, std::string path)
    : state_(std::make_shared<State>(arena, std::move(path))), worker_(loop, "keyfs-master") {}
MasterFile::~MasterFile() = default;

Task<Result<std::shared_ptr<const MasterKey>>> MasterFile::load() {
  std::function<Result<std::shared_ptr<const MasterKey>>()> work = [state = state_] {
    return state->load();
  };
  co_return co_await worker_.run(std::move(work));
}

std::shared_ptr<const MasterKey> MasterFile::last() const {
  std::lock_guard lock(state_->mutex);
  return state_->key;
}

Result<bool> create_master_file(const std::string& path, SecretArena& arena, Random& random) {
  const auto cannot = [&](const std::string& why) {
    return fail(Code::kUnavailable, "could not create master key " + path + ": " + why);
  };
  struct stat about {};
  if (::lstat(path.c_str(), &about) == 0) return false;
  std::array<uint8_t, 8> salt{};
  if (auto ok = random.fill(salt); !ok) return fail(std::move(ok.error()));
  auto bytes = random.secret(arena, kMasterKeyBytes);
  if (!bytes) return fail(std::move(bytes.error()));

  // Written under another name and linked when complete: a crash leaves no short file under the
  // master's name, and of two concurrent creators one wins.
  const std::string unfinished = path + ".new-" + hex_encode(salt);
  const Descriptor file(
      ::open(unfinished.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file.is_open()) return cannot(std::strerror(errno));
  const auto finish = [&]() -> Result<bool> {
    if (::fchmod(file.get(), 0600) != 0) return cannot(std::strerror(errno));
    if (!write_all(file.get(), bytes->reveal())) return cannot(std::strerror(errno));
    if (::fsync(file.get()) != 0) return cannot(std::strerror(errno));
    if (::link(unfinished.c_str(), path.c_str()) == 0) return true;
    if (errno == EEXIST) return false;
    return cannot(std::strerror(errno));
  };
  auto created = finish();
  ::unlink(unfinished.c_str());
  if (!created || !*created) return created;
  if (!sync_directory(directory_of(path))) return cannot(std::strerror(errno));
  return true;
}

}  // namespace keyfs
