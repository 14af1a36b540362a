#include "fs/mount/inode_ids.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <optional>
#include <string_view>
#include <utility>

#include "base/file.h"
#include "base/private_file.h"

namespace keyfs {
namespace {

constexpr std::string_view kHeader = "keyfs node ids 1 ";
// Block 0 is reserved for the root; the top bit stays clear, for programs that treat ids as signed.
constexpr uint64_t kFirstBlock = 1;
constexpr uint64_t kLastBlock = (uint64_t{1} << (63 - InodeIds::kBits)) - 1;

tl::unexpected<Error> system_error(const std::string& what, int error) {
  return fail(Code::kUnavailable, "cannot assign node ids: " + what + ": " + std::strerror(error) +
                                      "; state_dir must be a directory that keyfs may write");
}

Error all_used(const std::string& path) {
  return {Code::kUnavailable, "cannot number the files of this mount: all blocks in " + path +
                                  " are used; move the file away once no file of an earlier mount "
                                  "is open"};
}

Result<std::optional<uint64_t>> read_block(int dir, const std::string& path) {
  const Descriptor file(
      ::openat(dir, "node_ids", O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY));
  if (!file.is_open()) {
    if (errno == ENOENT) return std::nullopt;
    return system_error("cannot read " + path, errno);
  }
  if (auto regular = check_regular(path, file); !regular) {
    return fail(Code::kCorrupt, "cannot assign node ids: " + regular.error().message);
  }
  std::array<char, 128> buffer{};
  const ssize_t got = ::read(file.get(), buffer.data(), buffer.size());
  if (got < 0) return system_error("cannot read " + path, errno);
  std::string_view text(buffer.data(), static_cast<size_t>(got));
  uint64_t block = 0;
  if (text.starts_with(kHeader) && text.ends_with('\n')) {
    text.remove_prefix(kHeader.size());
    text.remove_suffix(1);
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), block);
    if (error == std::errc() && end == text.data() + text.size() && block >= kFirstBlock) {
      return block;
    }
  }
  return fail(Code::kCorrupt, "cannot assign node ids: " + path +
                                  " is not a keyfs node id file; move it away after unmounting "
                                  "whatever still uses old files");
}

Result<void> write_block(int dir, const std::string& path, uint64_t block) {
  const std::string text = std::string(kHeader) + std::to_string(block) + "\n";
  // Under the lock, so an existing file was left by a crash.
  constexpr auto kTemporary = "node_ids.new";
  if (::unlinkat(dir, kTemporary, 0) != 0 && errno != ENOENT) {
    return system_error("cannot replace " + path, errno);
  }
  {
    const Descriptor file(
        ::openat(dir, kTemporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!file.is_open()) return system_error("cannot write " + path, errno);
    if (!write_all(file.get(), text) || ::fsync(file.get()) != 0) {
      return system_error("cannot write " + path, errno);
    }
  }
  if (::renameat(dir, kTemporary, dir, "node_ids") != 0 || ::fsync(dir) != 0) {
    return system_error("cannot write " + path, errno);
  }
  return {};
}

uint64_t block_by_clock(WallTime now) {
  using std::chrono::sys_days;
  constexpr WallTime kEpoch = sys_days(std::chrono::year(2020) / 1 / 1);
  const auto minutes = std::chrono::duration_cast<std::chrono::minutes>(now - kEpoch).count();
  // Low enough to leave room above it: a wrong clock must not use up all blocks.
  constexpr int64_t kMost = kLastBlock * 3 / 4;
  return static_cast<uint64_t>(std::clamp<int64_t>(minutes, kFirstBlock, kMost));
}

}  // namespace

Result<void> check_inode_ids(const std::string& state_dir) {
  const Descriptor dir(::open(state_dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!dir.is_open()) {
    if (errno == ENOENT) return {};
    return system_error("cannot open " + state_dir, errno);
  }
  const auto next = read_block(dir.get(), state_dir + "/node_ids");
  if (!next) return fail(next.error());
  if (*next && **next > kLastBlock) return fail(all_used(state_dir + "/node_ids"));
  return {};
}

Result<InodeIds> take_inode_ids(const std::string& state_dir, WallTime now) {
  const std::string path = state_dir + "/node_ids";
  const Descriptor dir(::open(state_dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!dir.is_open()) return system_error("cannot open " + state_dir, errno);
  // The directory itself is the lock: it is not replaced, as the file is.
  while (::flock(dir.get(), LOCK_EX) != 0) {
    if (errno != EINTR) return system_error("cannot lock " + state_dir, errno);
  }
  const auto next = read_block(dir.get(), path);
  if (!next) return fail(next.error());
  const uint64_t block = *next ? **next : block_by_clock(now);
  if (block > kLastBlock) {
    return fail(all_used(path));
  }
  if (auto written = write_block(dir.get(), path, block + 1); !written) {
    return fail(written.error());
  }
  return InodeIds{block << InodeIds::kBits};
}

InodeIds inode_ids_by_clock(const std::string& state_dir, WallTime now) {
  uint64_t block = block_by_clock(now);
  const Descriptor dir(::open(state_dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (dir.is_open()) {
    const auto next = read_block(dir.get(), state_dir + "/node_ids");
    if (next && *next) block = std::max(block, **next);
  }
  return InodeIds{std::min(block, kLastBlock) << InodeIds::kBits};
}

}  // namespace keyfs
