// What stat(2) shows.
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <limits>

#include "fs/mount/handlers.h"
#include "fs/mount/key_words.h"
#include "store/record.h"

namespace keyfs {
namespace {

constexpr uint32_t kBlock = 4096;

// How long a stat(2) waits for the store to return the size of a key, and for how long none asks
// after one got no answer.
constexpr Duration kSizePatience = std::chrono::milliseconds(300);
constexpr Duration kSizePause = std::chrono::seconds(1);
// How many may wait for it at once; others immediately get the answer that they would get in the
// end.
constexpr size_t kSizesAtOnce = 64;

// Counted by getattr_key(), and released with the coroutine.
struct Asked {
  explicit Asked(std::atomic<size_t>& at_once) : count(at_once) {}
  ~Asked() { --count; }
  Asked(const Asked&) = delete;
  Asked& operator=(const Asked&) = delete;
  std::atomic<size_t>& count;
};

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

uint32_t FuseHandlers::largest_size(const FuseOps& ops) {
  return std::max(kMaxKeyBytes, ops.options_.key_bytes);
}

// The size of the key that is found there; 0: unknown.
uint32_t FuseHandlers::known_bytes(FuseOps& ops, const Inode& inode) {
  if (inode.view() == View::kVersion) return static_cast<const ViewInode&>(inode).bytes.load();
  if (const uint32_t bytes = inode.entry->bytes_or(0); bytes != 0) return bytes;
  return ops.parts_.backend.listed_bytes(inode.entry->id()).value_or(0);
}

void FuseHandlers::learn(Inode& inode, uint32_t bytes, WallTime created) {
  if (inode.view() != View::kVersion) return;
  auto& version = static_cast<ViewInode&>(inode);
  version.created = created.time_since_epoch().count();
  version.bytes = bytes;
}

WallTime FuseHandlers::created_at(FuseOps& ops, const Inode& inode) {
  if (inode.view() == View::kVersion) {
    const auto& version = static_cast<const ViewInode&>(inode);
    if (version.bytes == 0) return ops.started_;
    return WallTime(WallTime::duration(version.created.load()));
  }
  const SharedKey key = ops.parts_.cache.held(*inode.entry);
  return key != nullptr ? key->created : ops.started_;
}

FuseHandlers::KeyAttributes FuseHandlers::key_attributes(FuseOps& ops, Inode& inode,
                                                         uint32_t unknown_as) {
  KeyEntry& entry = *inode.entry;
  const PolicySection& section = section_of(entry, ops.parts_.policy.current());
  KeyAttributes told{};
  struct stat& attributes = told.what;
  attributes.st_ino = inode.file_number();
  attributes.st_uid = section.owner;
  attributes.st_gid = section.group;
  if (!is_file(inode.view())) {
    const bool link = inode.view() == View::kCurrent;
    attributes.st_mode =
        link ? S_IFLNK | 0777 : S_IFDIR | section.mode | (section.mode & 0440) >> 2;
    attributes.st_nlink = link ? 1 : 2;
    set_times(attributes, ops.started_);
    set_size(attributes, link ? std::numeric_limits<uint32_t>::digits10 + 1 : 0);
    told.timeout = kLongTimeout;
    told.size_known = true;
    return told;
  }
  attributes.st_mode = S_IFREG | section.mode;
  attributes.st_nlink = 1;
  if (inode.version() != 0 && known_bytes(ops, inode) == 0) {
    const SharedKey held = ops.parts_.cache.held(entry);
    if (held != nullptr && held->version == inode.version()) {
      learn(inode, static_cast<uint32_t>(held->key.size()), held->created);
    }
  }
  set_times(attributes, created_at(ops, inode));
  // An OPEN may learn another size while this answer is on its way. It reads told_bytes after it
  // learned the size; we read the size after we noted what we tell: one of the two sees the other.
  uint32_t known = 0;
  uint32_t size = 0;
  do {
    known = known_bytes(ops, inode);
    size = shown_bytes(inode.view(), known != 0 ? known : unknown_as);
    inode.told_bytes.store(size);
    std::atomic_thread_fence(std::memory_order_seq_cst);
  } while (known_bytes(ops, inode) != known);
  set_size(attributes, size);
  told.size_known = known != 0;
  told.timeout = told.size_known ? kLongTimeout : 0;
  return told;
}

void FuseHandlers::getattr_key(fuse_req_t req, Inode& inode) {
  FuseOps& self = ops(req);
  const KeyEntry& entry = *inode.entry;
  const TimePoint not_before{Duration(self.sizes_not_before_.load(std::memory_order_relaxed))};
  const auto may_ask = [&] {
    if (self.parts_.loop.now() < not_before) return false;
    const PolicySection& section = section_of(entry, self.parts_.policy.current());
    RequestGroups groups(req);
    return !section.hidden && Policy::may_read(section, caller(req), groups);
  };
  const bool known = !is_file(inode.view()) || known_bytes(self, inode) != 0;
  if (!known && may_ask()) {
    auto asked = std::make_shared<const Asked>(self.sizes_asked_);
    if (++self.sizes_asked_ <= kSizesAtOnce) {
      auto reply = self.replies_.hold(req);
      self.parts_.loop.post([&self, reply, &inode, asked] {
        self.parts_.loop.spawn(serve_size(self, reply, inode, asked));
      });
      return;
    }
  }
  // Not before: it notes what the kernel is told.
  const KeyAttributes told = key_attributes(self, inode, largest_size(self));
  fuse_reply_attr(req, &told.what, told.timeout);
}

// The store is asked only for the record, and not for long: a stat should get some answer.
Task<void> FuseHandlers::serve_size(FuseOps& self, std::shared_ptr<PendingReply> reply,
                                    Inode& inode, std::shared_ptr<const void>) {
  const TimePoint deadline =
      self.parts_.loop.now() + std::min<Duration>(kSizePatience, self.options_.open_deadline);
  std::string id(inode.entry->id());
  auto task = before(
      self.parts_.loop, deadline, "could not look up the key",
      self.parts_.backend.describe(std::move(id), deadline, fuse_req_ctx(reply->request())->uid));
  const auto seen = co_await reply->unless_given_up(std::move(task));
  fuse_req_t req = reply->take();
  if (req == nullptr) co_return;
  if (!seen) {
    fuse_reply_err(req, reply->errno_of_giving_up());
    co_return;
  }
  uint32_t unknown_as = largest_size(self);
  const bool by_number = inode.view() == View::kVersion;
  if (by_number && *seen) {
    const auto* versions = **seen ? &(**seen)->versions : nullptr;
    if (versions == nullptr || versions->empty() || inode.version() > versions->rbegin()->first) {
      fuse_reply_err(req, ENOENT);  // it was never made; of an ended one OPEN tells
      co_return;
    }
    const auto found = versions->find(inode.version());
    if (found != versions->end()) learn(inode, found->second.bytes, found->second.created);
  } else if (*seen && **seen) {
    inode.entry->learn_bytes((**seen)->bytes);
  } else if (*seen) {
    unknown_as = self.options_.key_bytes;  // there is no key; the size that would be created
  } else if ((*seen).error().code != Code::kCorrupt) {
    const TimePoint again = self.parts_.loop.now() + kSizePause;
    self.sizes_not_before_.store(again.time_since_epoch().count(), std::memory_order_relaxed);
  }
  const KeyAttributes told = key_attributes(self, inode, unknown_as);
  fuse_reply_attr(req, &told.what, told.timeout);
}

struct stat FuseHandlers::directory_attributes(FuseOps& ops, fuse_ino_t ino) {
  struct stat attributes {};
  attributes.st_ino = ino;
  attributes.st_nlink = 2;
  if (ino == FUSE_ROOT_ID) attributes.st_nlink += 1;
  if (ino == kDirectoryNode) {
    attributes.st_nlink += kOwnDirectories.size() + (ops.parts_.signing != nullptr ? 1 : 0);
  }
  attributes.st_mode = S_IFDIR | 0555;
  attributes.st_uid = ::geteuid();
  attributes.st_gid = ::getegid();
  set_times(attributes, ops.started_);
  attributes.st_blksize = kBlock;
  return attributes;
}

struct stat FuseHandlers::sign_attributes(FuseOps& ops, const SignNode& node,
                                          const SignSection& section, bool exact) {
  const SignPlace& place = node.place;
  struct stat attributes {};
  attributes.st_ino = node.file_number();
  attributes.st_uid = section.owner;
  attributes.st_gid = section.group;
  set_times(attributes, ops.started_);
  if (!is_sign_file(place.view)) {
    const mode_t mode = section.public_mode;
    attributes.st_mode = S_IFDIR | mode | (mode & 0444) >> 2;
    attributes.st_nlink = 2;
    set_size(attributes, 0);
    return attributes;
  }
  const bool signature = place.view == SignView::kSignature;
  attributes.st_mode = S_IFREG | (signature ? section.mode : section.public_mode);
  attributes.st_nlink = 1;
  const uint32_t open = exact ? node.open_bytes.load() : 0;
  const SigningKeyPtr key = ops.parts_.signing->find(place.id);
  set_size(attributes, open != 0 ? open : shown_bytes(place, key.get(), section));
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
