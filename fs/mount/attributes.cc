// What stat(2) shows.
#include <unistd.h>

#include <atomic>

#include "fs/mount/handlers.h"

namespace keyfs {
namespace {

constexpr uint32_t kBlock = 4096;

timespec to_timespec(WallTime time) {
  const auto since = time.time_since_epoch();
  const auto seconds = std::chrono::floor<std::chrono::seconds>(since);
  timespec result{};
  result.tv_sec = static_cast<time_t>(seconds.count());
  result.tv_nsec = std::chrono::duration_cast<std::chrono::nanoseconds>(since - seconds).count();
  return result;
}

void set_times(struct stat& attributes, WallTime time) {
  attributes.st_atim = attributes.st_mtim = attributes.st_ctim = to_timespec(time);
}

void set_size(struct stat& attributes, uint64_t size) {
  attributes.st_size = static_cast<off_t>(size);
  attributes.st_blksize = kBlock;
  attributes.st_blocks = static_cast<blkcnt_t>((size + 511) / 512);
}

}  // namespace

// FNV-1a, 64 bits (draft-eastlake-fnv): the same on every host and in every version.
uint64_t FuseHandlers::stable_ino(std::string_view name) {
  uint64_t hash = 0xcbf29ce484222325U;
  for (const char c : name) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3U;
  return hash < kFirstFileNode ? hash + kFirstFileNode : hash;
}

struct stat FuseHandlers::key_attributes(FuseOps& ops, Inode& inode) {
  KeyEntry& entry = *inode.entry;
  const PolicySection& section = entry.section(ops.parts_.policy.current());
  struct stat attributes {};
  attributes.st_ino = stable_ino(entry.id());
  attributes.st_mode = S_IFREG | section.mode;
  attributes.st_nlink = 1;
  attributes.st_uid = section.owner;
  attributes.st_gid = section.group;
  const SharedKey key = ops.parts_.cache.held(entry);
  set_times(attributes, key != nullptr ? key->created : ops.started_);
  // An OPEN may learn another size while this answer is on its way. It looks at told_bytes after it
  // learned the size, we at the size after we noted what we tell: one of the two sees the other.
  uint32_t guess = 0;
  if (entry.bytes_or(0) == 0) {
    guess = ops.parts_.backend.listed_bytes(entry.id()).value_or(ops.options_.key_bytes);
  }
  uint32_t size = 0;
  do {
    size = entry.bytes_or(guess);
    inode.told_bytes.store(size);
    std::atomic_thread_fence(std::memory_order_seq_cst);
  } while (entry.bytes_or(guess) != size);
  set_size(attributes, size);
  return attributes;
}

struct stat FuseHandlers::directory_attributes(FuseOps& ops, fuse_ino_t ino) {
  struct stat attributes {};
  attributes.st_ino = ino;
  attributes.st_nlink = ino == FUSE_ROOT_ID ? 3 : 2;
  if (ino == FUSE_ROOT_ID) {
    attributes.st_mode = S_IFDIR | 0555;
    attributes.st_uid = ::geteuid();
    attributes.st_gid = ::getegid();
  } else {
    const PolicySection& admin = ops.parts_.policy.current().admin_section();
    attributes.st_mode = S_IFDIR | (admin.mode == 0440 ? 0550 : 0500);
    attributes.st_uid = admin.owner;
    attributes.st_gid = admin.group;
  }
  set_times(attributes, ops.started_);
  attributes.st_blksize = kBlock;
  return attributes;
}

struct stat FuseHandlers::file_attributes(FuseOps& ops, fuse_ino_t ino) {
  const PolicySection& admin = ops.parts_.policy.current().admin_section();
  const VirtualFile& file = ops.parts_.files.at(ino - kFirstFileNode);
  struct stat attributes {};
  attributes.st_ino = ino;
  attributes.st_mode = S_IFREG | admin.mode;
  attributes.st_nlink = 1;
  attributes.st_uid = admin.owner;
  attributes.st_gid = admin.group;
  set_times(attributes, ops.started_);
  set_size(attributes, file.size());
  return attributes;
}

}  // namespace keyfs
