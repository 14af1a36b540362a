// What an open file tells of its version: IOCTL (fs/mount/keyfs.h) and POLL.
//
// Who only polls a descriptor reads nothing, and so would not have the key checked. So polled keys
// are examined like those with pages, as if somebody had read them.
#include <poll.h>

#include <cerrno>

#include "fs/mount/handlers.h"
#include "fs/mount/key_words.h"
#include "fs/mount/keyfs.h"

namespace keyfs {

void FuseHandlers::ioctl(fuse_req_t req, fuse_ino_t ino, unsigned command, void* /*argument*/,
                         fuse_file_info* file, unsigned flags, const void* /*in*/,
                         size_t /*in_size*/, size_t out_size) {
  const Inode* inode = ops(req).inodes_.find(ino);
  const auto version = static_cast<uint32_t>(file->fh);
  if (command != KEYFS_IOC_VERSION || out_size < sizeof version || (flags & FUSE_IOCTL_DIR) != 0 ||
      inode == nullptr || !is_file(inode->view())) {
    fuse_reply_err(req, ENOTTY);
    return;
  }
  fuse_reply_ioctl(req, 0, &version, sizeof version);
}

uint32_t FuseHandlers::current_version(FuseOps& self, const KeyRef& entry) {
  const TimePoint now = self.parts_.loop.now();
  const auto peeked = self.parts_.cache.peek(*entry, now);
  if (peeked.what == KeyCache::Peek::kServeAndRefresh) {
    self.parts_.loop.post([&backend = self.parts_.backend, entry] { backend.refresh(entry); });
  }
  if (peeked.key != nullptr) return peeked.key->version;
  return self.parts_.cache.known(*entry, now).memory.version;
}

void FuseHandlers::poll(fuse_req_t req, fuse_ino_t ino, fuse_file_info* file,
                        fuse_pollhandle* handle) {
  FuseOps& self = ops(req);
  PollHandle poll(handle);
  Inode* inode = self.inodes_.find(ino);
  unsigned events = POLLIN | POLLRDNORM;
  if (inode == nullptr || !is_file(inode->view())) {
    fuse_reply_poll(req, events);
    return;
  }
  // In the list before the look: a change that the look does not show finds it there.
  if (poll != nullptr && self.polled_.add(ino, file->fh, inode->entry, std::move(poll))) {
    self.parts_.loop.post([&self] { self.parts_.loop.spawn(watch_polled(self)); });
  }
  const uint32_t current = current_version(self, inode->entry);
  if (current != 0 && current != static_cast<uint32_t>(file->fh)) events |= POLLPRI;
  fuse_reply_poll(req, events);
}

Task<void> FuseHandlers::watch_polled(FuseOps& self) {
  Loop& loop = self.parts_.loop;
  do {
    co_await loop.sleep_for(examined_every(self.parts_.cache.options().fresh_for));
    for (const KeyRef& entry : self.polled_.entries()) {
      const uint32_t current = current_version(self, entry);
      if (current == 0) continue;
      for (const auto& poll : self.polled_.take_others(*entry, current)) {
        self.notifier_.wake(poll);
      }
    }
  } while (!self.polled_.may_end());
}

}  // namespace keyfs
