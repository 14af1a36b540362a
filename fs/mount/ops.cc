#include "fs/mount/ops.h"

#include <sys/statvfs.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/limits.h"
#include "fs/mount/handlers.h"
#include "fs/mount/key_words.h"
#include "fs/policy/key_id.h"

namespace keyfs {
namespace {

// The number of files that statfs(2) reports as possible.
constexpr fsfilcnt_t kFiles = fsfilcnt_t{1} << 31;

// How many forgotten names make it worth returning memory: some megabytes.
constexpr size_t kTrimAfter = 8'192;

// How long shutdown waits for the kernel to drop page cache contents.
constexpr std::chrono::milliseconds kEndOfPages{1000};

// The limit on names that the kernel was told to forget but has not yet forgotten.
size_t too_many(const FuseOptions& options) { return 2 * options.lone_names; }

}  // namespace

int errno_of(Code code) {
  switch (code) {
    case Code::kRevoked:
      return EKEYREVOKED;
    case Code::kTimeout:
      return ETIMEDOUT;
    case Code::kThrottled:
      return EAGAIN;
    case Code::kDenied:
      return EACCES;
    case Code::kCorrupt:
      return EBADMSG;
    case Code::kInvalid:
    case Code::kUnauthenticated:
    case Code::kUnavailable:
      break;
  }
  return EIO;
}

FuseOps::Counters::Counters(Metrics& metrics)
    : from_cache(metrics.counter("keyfs_opens_total", "Opens of keys, by outcome.",
                                 {{"outcome", "cache"}})),
      from_region(metrics.counter("keyfs_opens_total", "", {{"outcome", "region"}})),
      from_replica(metrics.counter("keyfs_opens_total", "", {{"outcome", "replica"}})),
      denied(metrics.counter("keyfs_opens_total", "", {{"outcome", "denied"}})),
      absent(metrics.counter("keyfs_opens_total", "", {{"outcome", "absent"}})),
      failed(metrics.counter("keyfs_opens_total", "", {{"outcome", "failed"}})),
      interrupted(metrics.counter("keyfs_opens_total", "", {{"outcome", "interrupted"}})) {}

FuseOps::FuseOps(FuseParts parts, FuseOptions options)
    : parts_(parts),
      options_(std::move(options)),
      started_(parts.loop.clock().wall()),
      counters_(parts.metrics),
      replies_(parts.loop, options_.signals),
      inodes_(parts.ids),
      signings_(options_.waiting_signatures),
      handles_(parts.policy, openers_),
      sizes_not_before_(TimePoint::min().time_since_epoch().count()) {
  if (parts_.signing != nullptr) sign_counters_.emplace(parts_.metrics);
}

FuseOps::~FuseOps() = default;

const fuse_lowlevel_ops& FuseOps::table() {
  static const fuse_lowlevel_ops operations = [] {
    // No flush: the kernel learns once that there is none, and saves the upcall on each close.
    // No lseek: the kernel's own answer is right for a file of constant size.
    fuse_lowlevel_ops table{};
    table.init = &FuseHandlers::init;
    table.lookup = &FuseHandlers::lookup;
    table.forget = &FuseHandlers::forget;
    table.forget_multi = &FuseHandlers::forget_multi;
    table.getattr = &FuseHandlers::getattr;
    table.access = &FuseHandlers::access;
    table.statfs = &FuseHandlers::statfs;
    table.open = &FuseHandlers::open;
    table.read = &FuseHandlers::read;
    table.release = &FuseHandlers::release;
    table.opendir = &FuseHandlers::opendir;
    table.readdir = &FuseHandlers::readdir;
    table.releasedir = &FuseHandlers::releasedir;
    table.getxattr = &FuseHandlers::getxattr;
    table.listxattr = &FuseHandlers::listxattr;
    table.readlink = &FuseHandlers::readlink;
    table.ioctl = &FuseHandlers::ioctl;
    table.poll = &FuseHandlers::poll;
    FuseHandlers::refuse(table);
    return table;
  }();
  return operations;
}

void FuseOps::attach(fuse_session* session) { notifier_.attach(session); }

void FuseOps::end_pages() {
  ending_ = true;
  std::atomic_thread_fence(std::memory_order_seq_cst);  // as in policy_changed()
  for (const auto& file : paged_.all()) notifier_.drop_pages(file.id);
  if (notifier_.drain_for(kEndOfPages)) return;
  parts_.log.error(
      "the kernel did not drop all pages of keys in time: a program that has mapped such a key or "
      "reads it by sendfile may keep it until it closes the file");
}

void FuseOps::close() {
  replies_.close();
  // Handles that are still open will get no RELEASEDIR.
  parts_.loop.post([all = directories_.remove_all()] {});
  polled_.close();
  notifier_.close();
}

void FuseOps::policy_changed() {
  struct Known {
    uint64_t id;
    std::optional<LeavingName> hidden;
  };
  std::vector<Known> known;
  handles_.judge();
  const Policy& policy = parts_.policy.current();
  inodes_.for_each([&](Inode& inode) {
    std::optional<LeavingName> hidden;
    if (section_of(*inode.entry, policy).hidden) hidden = {inode.parent(), inode.name()};
    known.push_back({inode.id, std::move(hidden)});
  });
  for (auto& inode : known) {
    if (inode.hidden) notifier_.drop_name(inode.hidden->parent, std::move(inode.hidden->name));
    notifier_.drop_attributes(inode.id);
  }
  // New reads of pages are checked again. A page that was permitted before is in the list, or its
  // reader sees the new judgement (FuseHandlers::may_page).
  std::atomic_thread_fence(std::memory_order_seq_cst);
  for (const auto& file : paged_.all()) notifier_.drop_pages(file.id);
}

void FuseOps::key_ended(const KeyEntry& entry) {
  // The inode knows whether there are such pages, but may be freed at any time.
  if (const uint64_t node = node_of(entry); node != 0) notifier_.drop_pages(node);
  inodes_.for_each_view(entry, [this](ViewInode& view) {
    if (is_file(view.view())) notifier_.drop_pages(view.id);
  });
}

void FuseOps::current_changed(const KeyEntry& entry) {
  if (const uint64_t node = node_of(entry); node != 0) notifier_.drop_pages(node);
  inodes_.for_each_view(entry, [this](ViewInode& view) {
    if (is_text(view.view())) notifier_.drop_pages(view.id);
    // Never a version's own file: a descriptor's path in /proc would end with "(deleted)".
    if (view.view() == View::kCurrent) notifier_.replace(view.parent(), view.name(), view.id);
  });
  for (const auto& poll : polled_.take_all_of(entry)) notifier_.wake(poll);
}

MountStatus FuseOps::status() const {
  return {inodes_.size(), replies_.size(), polled_.size(), sign_nodes_.size()};
}

bool FuseHandlers::is_admin(fuse_req_t req) {
  RequestGroups groups(req);
  return ops(req).parts_.policy.current().is_admin(caller(req), groups);
}

void FuseHandlers::init(void*, fuse_conn_info* connection) {
  connection->max_read = kMaxKeyBytes;  // must agree with the mount option
  connection->want |= connection->capable & FUSE_CAP_PARALLEL_DIROPS;
#ifdef FUSE_CAP_DIRECT_IO_ALLOW_MMAP
  // MAP_SHARED, which is read-only like the mount. Its pages are handled like all others.
  connection->want |= connection->capable & FUSE_CAP_DIRECT_IO_ALLOW_MMAP;
#endif
  // What a link of .keyfs/versions says depends on the time, and on who asks.
  connection->want &= ~static_cast<decltype(connection->want)>(FUSE_CAP_CACHE_SYMLINKS);
  // Never FUSE_CAP_ALLOW_IDMAP: without default_permissions, which would keep denials from us, the
  // kernel answers it by ending the mount.
}

void FuseHandlers::lookup(fuse_req_t req, fuse_ino_t parent, const char* name) {
  FuseOps& self = ops(req);
  fuse_entry_param entry{};
  entry.attr_timeout = kLongTimeout;
  entry.entry_timeout = kLongTimeout;
  const std::string_view text(name);
  if (parent == kDirectoryNode) {
    for (const OwnDirectory& directory : kOwnDirectories) {
      if (directory.name != text) continue;
      entry.ino = directory.node;
      entry.attr = directory_attributes(self, entry.ino);
      fuse_reply_entry(req, &entry);
      return;
    }
    if (text == kSignName && self.parts_.signing != nullptr) {
      entry.ino = kSignNode;
      entry.attr = directory_attributes(self, entry.ino);
      fuse_reply_entry(req, &entry);
      return;
    }
    // Unknown is not absent: whoever is told that there is no such key may make another one.
    if (text == kSignName && self.parts_.signing_is_out) {
      fuse_reply_err(req, EIO);
      return;
    }
    const size_t index = self.parts_.files.find(text);
    if (index == self.parts_.files.size()) {
      fuse_reply_err(req, text.size() > kMaxKeyId ? ENAMETOOLONG : ENOENT);
      return;
    }
    entry.ino = kFirstFileNode + index;
    entry.attr = file_attributes(self, entry.ino);
    entry.attr_timeout = 0;
    fuse_reply_entry(req, &entry);
    return;
  }
  if (parent != FUSE_ROOT_ID) {
    if (self.inodes_.find(parent) == nullptr && lookup_sign(req, parent, text)) return;
    lookup_view(req, parent, text);
    return;
  }
  const NameKind kind = classify_name(text);
  if (kind == NameKind::kReserved && text == VirtualFiles::kDirectory) {
    entry.ino = kDirectoryNode;
    entry.attr = directory_attributes(self, kDirectoryNode);
    fuse_reply_entry(req, &entry);
    return;
  }
  if (kind != NameKind::kKey) {
    fuse_reply_err(req, kind == NameKind::kTooLong ? ENAMETOOLONG : ENOENT);
    return;
  }
  lookup_key(req, text);
}

void FuseHandlers::lookup_key(fuse_req_t req, std::string_view text) {
  FuseOps& self = ops(req);
  // A name that the policy hides must not leave an entry behind, or any user could fill memory.
  const Policy& policy = self.parts_.policy.current();
  KeyRef key = self.parts_.cache.find(text);
  const PolicySection& section = key ? section_of(*key, policy) : policy.section_for(text);
  if (section.hidden) {
    fuse_reply_err(req, ENOENT);
    return;
  }
  if (!key) key = self.parts_.cache.acquire(text);
  const bool lone = node_of(*key) == 0 && key->bytes_or(0) == 0 &&
                    self.parts_.cache.held(*key) == nullptr &&
                    !self.parts_.backend.listed_bytes(text);
  if (lone && too_many_names(req, section)) {
    fuse_reply_err(req, EAGAIN);
    return;
  }
  reply_entry(req, self.inodes_.look_up(key, lone));
  if (lone) forget_oldest_names(self);
}

void FuseHandlers::reply_entry(fuse_req_t req, Inode* inode) {
  FuseOps& self = ops(req);
  if (inode == nullptr) {
    self.parts_.log.error("no node ids are left: restart keyfs to get new ones");
    fuse_reply_err(req, ENFILE);
    return;
  }
  const KeyAttributes told = key_attributes(self, *inode, largest_size(self));
  fuse_entry_param entry{};
  entry.ino = inode->id;
  entry.attr = told.what;
  entry.attr_timeout = told.timeout;
  entry.entry_timeout = kLongTimeout;
  // The kernel did not accept the answer, so it holds no reference.
  if (fuse_reply_entry(req, &entry) != 0) self.inodes_.forget(entry.ino, 1);
}

bool FuseHandlers::too_many_names(fuse_req_t req, const PolicySection& section) {
  FuseOps& self = ops(req);
  const size_t leaving = self.inodes_.leaving();
  if (leaving <= too_many(self.options_)) return false;
  RequestGroups groups(req);
  return leaving > 2 * too_many(self.options_) || !Policy::may_read(section, caller(req), groups);
}

void FuseHandlers::forget_oldest_names(FuseOps& self) {
  while (auto oldest = self.inodes_.take_oldest_lone(self.options_.lone_names)) {
    self.notifier_.drop_name(oldest->parent, std::move(oldest->name));
  }
}

void FuseHandlers::forget_node(FuseOps& self, fuse_ino_t ino, uint64_t count) {
  if (count > 0 && self.inodes_.find(ino) == nullptr && self.sign_nodes_.forget(ino, count)) return;
  self.inodes_.forget(ino, count);
}

void FuseHandlers::forget(fuse_req_t req, fuse_ino_t ino, uint64_t count) {
  forget_node(ops(req), ino, count);
  note_forgotten(ops(req), 1);
  fuse_reply_none(req);
}

void FuseHandlers::forget_multi(fuse_req_t req, size_t count, fuse_forget_data* forgets) {
  for (size_t i = 0; i < count; ++i) forget_node(ops(req), forgets[i].ino, forgets[i].nlookup);
  note_forgotten(ops(req), count);
  fuse_reply_none(req);
}

void FuseHandlers::note_forgotten(FuseOps& self, size_t count) {
  if (self.forgotten_.fetch_add(count, std::memory_order_relaxed) + count < kTrimAfter) return;
  self.forgotten_.store(0, std::memory_order_relaxed);
  self.notifier_.trim();
}

void FuseHandlers::getattr(fuse_req_t req, fuse_ino_t ino, fuse_file_info*) {
  FuseOps& self = ops(req);
  if (is_directory_of(self, ino)) {
    const struct stat attributes = directory_attributes(self, ino);
    fuse_reply_attr(req, &attributes, kLongTimeout);
    return;
  }
  if (ino - kFirstFileNode < self.parts_.files.size()) {
    getattr_virtual(req, ino);
    return;
  }
  Inode* inode = self.inodes_.find(ino);
  if (inode == nullptr) {
    if (!getattr_sign(req, ino)) fuse_reply_err(req, ENOENT);
    return;
  }
  getattr_key(req, *inode);
}

void FuseHandlers::access(fuse_req_t req, fuse_ino_t ino, int mask) {
  FuseOps& self = ops(req);
  const auto answer = [&]() -> int {
    if ((mask & W_OK) != 0) return EROFS;
    if (is_directory_of(self, ino)) return 0;
    if (ino - kFirstFileNode < self.parts_.files.size()) {
      if (!is_admin(req)) return mask == F_OK ? 0 : EACCES;
      return (mask & X_OK) != 0 ? EACCES : 0;
    }
    const Inode* inode = self.inodes_.find(ino);
    if (inode == nullptr) {
      const SignNodePtr node = sign_node(self, ino);
      return node != nullptr ? access_sign(req, *node, mask) : ENOENT;
    }
    const PolicySection& section = section_of(*inode->entry, self.parts_.policy.current());
    if (section.hidden) return ENOENT;
    if ((mask & X_OK) != 0 && inode->view() != View::kVersions) return EACCES;
    if ((mask & (R_OK | X_OK)) == 0) return 0;
    RequestGroups groups(req);
    return Policy::may_read(section, caller(req), groups) ? 0 : EACCES;
  };
  fuse_reply_err(req, answer());
}

void FuseHandlers::statfs(fuse_req_t req, fuse_ino_t) {
  struct statvfs figures {};
  figures.f_bsize = 4096;
  figures.f_frsize = 4096;
  // Any number of names may exist. It fits in 32 bits, for programs that have no more.
  const auto known = static_cast<fsfilcnt_t>(ops(req).inodes_.size());
  figures.f_files = std::max(kFiles, 2 * known);
  figures.f_ffree = figures.f_favail = figures.f_files - known;
  figures.f_namemax = kMaxKeyId;
  figures.f_flag = ST_RDONLY | ST_NODEV | ST_NOSUID | ST_NOEXEC;
  fuse_reply_statfs(req, &figures);
}

void FuseHandlers::open(fuse_req_t req, fuse_ino_t ino, fuse_file_info* file) {
  FuseOps& self = ops(req);
  Inode* inode = self.inodes_.find(ino);
  if ((file->flags & O_ACCMODE) != O_RDONLY || (file->flags & O_TRUNC) != 0) {
    fuse_reply_err(req, EROFS);
  } else if (inode != nullptr && is_file(inode->view())) {
    open_key(req, *inode, *file);
  } else if (ino - kFirstFileNode < self.parts_.files.size()) {
    open_virtual(req, ino, *file);
  } else if (inode != nullptr || !open_sign(req, ino, *file)) {
    fuse_reply_err(req, ENOENT);
  }
}

void FuseHandlers::read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                        fuse_file_info* file) {
  FuseOps& self = ops(req);
  if (Inode* inode = self.inodes_.find(ino); inode != nullptr && is_file(inode->view())) {
    read_key(req, *inode, size, offset, *file);
  } else if (ino - kFirstFileNode < self.parts_.files.size()) {
    // Held: once the reply is out, a RELEASE may end the handle.
    const auto text = self.texts_.find(file->fh);
    if (text == nullptr) {
      fuse_reply_err(req, EBADF);
      return;
    }
    const size_t from = std::min(static_cast<size_t>(offset), text->size());
    fuse_reply_buf(req, text->data() + from, std::min(size, text->size() - from));
  } else if (inode != nullptr || !read_sign(req, ino, size, offset, *file)) {
    fuse_reply_err(req, EBADF);
  }
}

void FuseHandlers::release(fuse_req_t req, fuse_ino_t ino, fuse_file_info* file) {
  FuseOps& self = ops(req);
  if (Inode* inode = self.inodes_.find(ino); inode != nullptr) {
    drop_pages(self, *inode);
    const auto opener = static_cast<uint32_t>(file->fh >> 32);
    let_go(self, *inode, opener);
    if (self.polled_.size() != 0) {
      const size_t left = self.handles_.count(ino, opener);
      for (const auto& poll : self.polled_.released(ino, file->fh, left)) {
        self.notifier_.wake(poll);
      }
    }
  } else if (ino - kFirstFileNode < self.parts_.files.size()) {
    self.texts_.remove(file->fh);
    // The next reader must see its own snapshot, even through mmap.
    self.notifier_.drop_pages(ino);
  } else {
    release_sign(self, ino, *file);
  }
  fuse_reply_err(req, 0);
}

}  // namespace keyfs
