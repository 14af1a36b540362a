// Directory listings: the keys that exist and that the caller may read, as they were when the
// directory was opened. Nothing is created, unwrapped or looked up by listing.
#include <cerrno>

#include "fs/fuse_handlers.h"

namespace keyfs {
namespace {

constexpr std::array<std::string_view, 2> kDots = {".", ".."};
constexpr off_t kOwn = 2;        // offset of .keyfs
constexpr off_t kFirstName = 3;  // offset of the first key

// How many names are looked at before others have their turn on the loop.
constexpr size_t kSlice = 2'000;

// Entries as the kernel wants them, up to the size that it asked for.
class EntryBuffer {
 public:
  EntryBuffer(fuse_req_t req, size_t size) : req_(req), bytes_(size) {}

  // False when it is full. `next` is the offset of what follows.
  bool add(std::string_view name, uint64_t ino, mode_t type, off_t next) {
    struct stat attributes {};
    attributes.st_ino = ino;
    attributes.st_mode = type;
    const std::string text(name);
    const size_t room = bytes_.size() - used_;
    const size_t needed =
        fuse_add_direntry(req_, bytes_.data() + used_, room, text.c_str(), &attributes, next);
    if (needed > room) return false;
    used_ += needed;
    return true;
  }
  void reply() { fuse_reply_buf(req_, bytes_.data(), used_); }

 private:
  fuse_req_t req_;
  std::vector<char> bytes_;
  size_t used_ = 0;
};

}  // namespace

Task<void> FuseHandlers::serve_opendir(FuseOps& self, std::shared_ptr<PendingReply> reply,
                                       fuse_file_info file, TimePoint deadline) {
  auto handle = std::make_unique<DirectoryHandle>();
  auto task = before(self.parts_.loop, deadline, "could not list the keys",
                     list_for(self, reply->request(), *handle, deadline));
  const auto listed = co_await reply->unless_given_up(std::move(task));
  fuse_req_t req = reply->take();
  if (req == nullptr) co_return;
  if (!listed) {
    fuse_reply_err(req, reply->errno_of_giving_up());
  } else if (!*listed) {
    self.parts_.log.warn("could not list the keys", {{"reason", listed->error().message}});
    fuse_reply_err(req, errno_of(listed->error().code));
  } else {
    file.fh = reinterpret_cast<uint64_t>(handle.get());
    if (fuse_reply_open(req, &file) == 0) handle.release();  // RELEASEDIR deletes it
  }
}

Task<Result<bool>> FuseHandlers::list_for(FuseOps& self, fuse_req_t req, DirectoryHandle& handle,
                                          TimePoint deadline) {
  auto names = co_await self.parts_.backend.list(deadline);
  if (!names) co_return fail(names.error());
  handle.names = *names;
  const Policy& policy = self.parts_.policy.current();
  const Caller reader = caller(req);
  RequestGroups groups(req);
  handle.shows_own = policy.is_admin(reader, groups);
  const PolicySection* last = nullptr;
  bool readable = false;
  for (size_t i = 0; i < handle.names->size(); ++i) {
    const PolicySection& section = policy.section_for((*handle.names)[i].id);
    if (&section != last) {
      last = &section;
      readable = !section.hidden && Policy::may_read(section, reader, groups);
    }
    if (readable) {
      handle.visible.push_back(static_cast<uint32_t>(i));
      tell_listed_size(self, (*handle.names)[i]);
    }
    if (i % kSlice == kSlice - 1) co_await self.parts_.loop.yield();
  }
  co_return true;
}

// The kernel may have been told the usual size of a key that has another one: before it was listed.
void FuseHandlers::tell_listed_size(FuseOps& self, const ListedKey& key) {
  if (key.corrupt || key.bytes == 0 || key.bytes == self.options_.key_bytes) return;
  const KeyRef entry = self.parts_.cache.find(key.id);
  if (!entry || !entry->learn_bytes(key.bytes)) return;
  if (const uint64_t node = entry->node(); node != 0) self.notifier_.drop_attributes(node);
}

void FuseHandlers::opendir(fuse_req_t req, fuse_ino_t ino, fuse_file_info* file) {
  FuseOps& self = ops(req);
  if (ino == kDirectoryNode) {
    if (!is_admin(req)) {
      fuse_reply_err(req, EACCES);
      return;
    }
    auto handle = std::make_unique<DirectoryHandle>();
    file->fh = reinterpret_cast<uint64_t>(handle.get());
    if (fuse_reply_open(req, file) == 0) handle.release();
    return;
  }
  if (ino != FUSE_ROOT_ID) {
    fuse_reply_err(req, ENOTDIR);
    return;
  }
  auto reply = self.replies_.hold(req);
  const TimePoint deadline = self.parts_.loop.now() + self.options_.open_deadline;
  self.parts_.loop.post([&self, reply, info = *file, deadline] {
    self.parts_.loop.spawn(serve_opendir(self, reply, info, deadline));
  });
}

void FuseHandlers::readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                           fuse_file_info* file) {
  FuseOps& self = ops(req);
  const auto& handle = *reinterpret_cast<const DirectoryHandle*>(file->fh);
  EntryBuffer buffer(req, size);
  bool room = true;
  for (; room && offset < static_cast<off_t>(kDots.size()); ++offset) {
    const bool self_entry = offset == 0;
    room = buffer.add(kDots[static_cast<size_t>(offset)], self_entry ? ino : FUSE_ROOT_ID, S_IFDIR,
                      offset + 1);
  }
  if (ino == kDirectoryNode) {
    for (; room && offset - kOwn < static_cast<off_t>(self.parts_.files.size()); ++offset) {
      const auto index = static_cast<size_t>(offset - kOwn);
      room = buffer.add(self.parts_.files.at(index).name(), kFirstFileNode + index, S_IFREG,
                        offset + 1);
    }
    buffer.reply();
    return;
  }
  if (room && offset == kOwn) {
    if (handle.shows_own) {
      room = buffer.add(VirtualFiles::kDirectory, kDirectoryNode, S_IFDIR, kFirstName);
    }
    if (room) offset = kFirstName;
  }
  for (; room && offset - kFirstName < static_cast<off_t>(handle.visible.size()); ++offset) {
    const auto index = handle.visible[static_cast<size_t>(offset - kFirstName)];
    const std::string& name = (*handle.names)[index].id;
    room = buffer.add(name, stable_ino(name), S_IFREG, offset + 1);
  }
  buffer.reply();
}

void FuseHandlers::releasedir(fuse_req_t req, fuse_ino_t, fuse_file_info* file) {
  delete reinterpret_cast<const DirectoryHandle*>(file->fh);
  fuse_reply_err(req, 0);
}

}  // namespace keyfs
