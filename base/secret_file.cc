#include "base/secret_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/file.h"

namespace keyfs {
namespace {

constexpr size_t kMaxFile = size_t{1} << 20;

}  // namespace

Result<std::optional<SecretBytes>> read_secret_file(SecretArena& arena, const std::string& path) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  const auto failed = [&](int error) {
    return fail(Code::kUnavailable, path + ": " + std::strerror(error));
  };
  if (!file.is_open()) {
    if (errno == ENOENT || errno == ENOTDIR) return std::nullopt;
    return failed(errno);
  }
  struct stat info {};
  if (::fstat(file.get(), &info) != 0) return failed(errno);
  if (S_ISDIR(info.st_mode)) return failed(EISDIR);
  // The size is a hint only: the kubelet replaces token files at any time, and pipes have none.
  size_t size = 0;
  auto bytes = arena.allocate(std::max<size_t>(static_cast<size_t>(info.st_size) + 1, 4096));
  if (!bytes) return fail(bytes.error());
  for (;;) {
    if (size == bytes->size()) {
      if (size >= kMaxFile) return fail(Code::kInvalid, path + ": larger than a MiB");
      auto larger = arena.allocate(2 * size);
      if (!larger) return fail(larger.error());
      std::memcpy(larger->reveal_mutable().data(), bytes->reveal().data(), size);
      bytes = std::move(larger);
    }
    const ssize_t got =
        ::read(file.get(), bytes->reveal_mutable().data() + size, bytes->size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return failed(errno);
    if (got == 0) break;
    size += static_cast<size_t>(got);
  }
  bytes->truncate(size);
  return std::optional<SecretBytes>(std::move(*bytes));
}

}  // namespace keyfs
