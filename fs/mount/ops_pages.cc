// What limits reads of open files: the policy, and for page cache contents the checks that a read
// would start.
#include <algorithm>
#include <atomic>
#include <cerrno>

#include "fs/mount/handlers.h"

namespace keyfs {

bool FuseHandlers::still_permitted(FuseOps& self, const Inode& inode, const fuse_file_info& file) {
  return self.handles_.permits(*inode.entry, static_cast<uint32_t>(file.fh >> 32));
}

void FuseHandlers::let_go(FuseOps& self, const Inode& inode, uint32_t opener) {
  self.handles_.remove(inode.id, opener);
  self.openers_.give_back(opener);
}

// Noted before the permission check, so that a later refusal is either seen here, or finds the file
// in the list and drops the page: the kernel keeps the page locked until we answer. A file is not
// noted earlier: dropping pages while one is pending makes the kernel request it again, endlessly
// if the store does not answer.
int FuseHandlers::may_page(FuseOps& self, Inode& inode, const fuse_file_info& file) {
  note_pages(self, inode, static_cast<uint32_t>(file.fh));
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (self.ending_.load(std::memory_order_relaxed)) return ENOTCONN;
  if (self.handles_.any_refused(inode.id) || !still_permitted(self, inode, file)) return EACCES;
  return 0;
}

void FuseHandlers::note_pages(FuseOps& self, Inode& inode, uint32_t version) {
  if (!self.paged_.add(inode, version)) return;
  self.parts_.loop.post([&self] { self.parts_.loop.spawn(watch_pages(self)); });
}

void FuseHandlers::drop_pages(FuseOps& self, Inode& inode) {
  if (!inode.paged.load(std::memory_order_relaxed)) return;
  if (self.paged_.remove(inode)) self.notifier_.drop_pages(inode.id);
}

Task<void> FuseHandlers::watch_pages(FuseOps& self) {
  Loop& loop = self.parts_.loop;
  do {
    co_await loop.sleep_for(examined_every(self.parts_.cache.options().fresh_for));
    for (const auto& file : self.paged_.all()) {
      const bool served =
          std::all_of(file.versions.begin(), file.versions.end(), [&](uint32_t version) {
            const auto peeked = self.parts_.cache.peek(*file.entry, loop.now(), version);
            if (peeked.what == KeyCache::Peek::kServeAndRefresh) {
              self.parts_.backend.refresh(file.entry);
            }
            return peeked.key != nullptr;
          });
      if (served) continue;
      // Ended, or unconfirmed for too long. A key that is merely no longer cached comes back with
      // the next page read.
      self.inodes_.if_known(file.id, file.entry,
                            [&self](Inode& inode) { self.paged_.remove(inode); });
      self.paged_.remove_forgotten(file.id);
      self.notifier_.drop_pages(file.id);
    }
  } while (!self.paged_.may_end());
}

}  // namespace keyfs
