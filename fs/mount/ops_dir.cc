// Directory listings: the existing keys that the user who opened the directory may read, page by
// page as the store returns them. Listing creates, unwraps and looks up nothing.
//
// OPENDIR waits for the first page. A READDIR that reaches the end of what is known waits for the
// next one, for at most open_deadline; if that fails the answer is the error, never an empty one,
// which would mean the end of the directory. The next READDIR asks again.
//
// A READDIR is not held for long, since all lookups of names that the kernel does not know yet
// would wait behind it, in processes that can't be killed: on the kernel's lock of a directory
// without FUSE_PARALLEL_DIROPS (which libfuse 3.14 does not support), and with it as soon as
// another mkdir(2) or open(2) with O_CREAT waits for the directory. So after kHold the answer is an
// entry that looks deleted: inode number 0, which many C libraries (glibc 2.36) and Go skip, and
// the name ".", which the others ignore. Then they ask again.
#include <algorithm>
#include <cerrno>

#include "fs/mount/handlers.h"
#include "fs/mount/key_words.h"

namespace keyfs {
namespace {

constexpr std::array<std::string_view, 2> kDots = {".", ".."};
constexpr off_t kOwn = 2;        // offset of .keyfs
constexpr off_t kFirstName = 3;  // offset of the first key

constexpr Duration kHold = std::chrono::milliseconds(20);

// How many available names are examined before others have their turn.
constexpr size_t kSlice = 2'000;

constexpr const char* kWhat = "could not list the keys";

// Entries in the kernel's format, up to the requested size.
class EntryBuffer {
 public:
  explicit EntryBuffer(size_t size) : bytes_(size) {}

  // False if it is full. `next` is the offset of the following entry.
  bool add(std::string_view name, uint64_t ino, mode_t type, off_t next) {
    struct stat attributes {};
    attributes.st_ino = ino;
    attributes.st_mode = type;
    const std::string text(name);
    const size_t room = bytes_.size() - used_;
    const size_t needed =
        fuse_add_direntry(nullptr, bytes_.data() + used_, room, text.c_str(), &attributes, next);
    if (needed > room) return false;
    used_ += needed;
    return true;
  }
  bool empty() const { return used_ == 0; }
  void reply(fuse_req_t req) const { fuse_reply_buf(req, bytes_.data(), used_); }

 private:
  std::vector<char> bytes_;
  size_t used_ = 0;
};

// The page, or nullopt if there is none by then.
Task<std::optional<Result<KeyPageRef>>> page_by(Loop& loop, TimePoint until,
                                                Task<Result<KeyPageRef>> page) {
  TaskGroup<Result<KeyPageRef>> group(loop);
  group.start(std::move(page));
  auto finished = co_await group.next(until);
  if (!finished) co_return std::nullopt;
  co_return std::move(finished->value);
}

// Adds the entries of the keys' directory from `offset` on. False if the buffer is full.
bool fill(EntryBuffer& buffer, const DirectoryHandle& handle, off_t offset) {
  if (offset <= kOwn && handle.shows_own &&
      !buffer.add(VirtualFiles::kDirectory, kDirectoryNode, S_IFDIR, kFirstName)) {
    return false;
  }
  const auto from = static_cast<size_t>(std::max(offset, kFirstName) - kFirstName);
  return handle.names_from(from, [&](std::string_view name, size_t number) {
    return buffer.add(name, file_number(name), S_IFREG,
                      kFirstName + static_cast<off_t>(number) + 1);
  });
}

// Of .keyfs: the files, for who may read them, and the directories.
void fill_own(EntryBuffer& buffer, const DirectoryHandle& handle, const VirtualFiles& files,
              bool signing, off_t offset) {
  const auto from = static_cast<size_t>(offset - kOwn);
  const size_t directories = files.size() + kOwnDirectories.size();
  for (size_t i = from; i < directories + (signing ? 1 : 0); ++i) {
    const off_t next = kOwn + static_cast<off_t>(i) + 1;
    if (i == directories) {
      if (!buffer.add(kSignName, kSignNode, S_IFDIR, next)) return;
    } else if (i >= files.size()) {
      const OwnDirectory& own = kOwnDirectories[i - files.size()];
      if (!buffer.add(own.name, own.node, S_IFDIR, next)) return;
    } else if (handle.shows_own) {
      if (!buffer.add(files.at(i).name(), kFirstFileNode + i, S_IFREG, next)) return;
    }
  }
}

// Of a key's directory: `current`, then the numbers.
void fill_versions(EntryBuffer& buffer, const DirectoryHandle& handle, std::string_view id,
                   off_t offset) {
  for (auto i = static_cast<size_t>(offset - kOwn); i <= handle.versions.size(); ++i) {
    const View view = i == 0 ? View::kCurrent : View::kVersion;
    const uint32_t version = i == 0 ? 0 : handle.versions[i - 1];
    const uint64_t number = file_number(path_of(view, id, version));
    if (!buffer.add(name_of(view, id, version), number, i == 0 ? S_IFLNK : S_IFREG,
                    kOwn + static_cast<off_t>(i) + 1)) {
      return;
    }
  }
}

// Of .keyfs/sign, and what is below it.
void fill_entries(EntryBuffer& buffer, const DirectoryHandle& handle, off_t offset) {
  for (auto i = static_cast<size_t>(offset - kOwn); i < handle.entries.size(); ++i) {
    const auto& [name, number, directory] = handle.entries[i];
    const off_t next = kOwn + static_cast<off_t>(i) + 1;
    if (!buffer.add(name, number, directory ? S_IFDIR : S_IFREG, next)) return;
  }
}

uint64_t parent_of(uint64_t node) {
  if (node == kRootNode || node == kDirectoryNode) return kRootNode;
  return node <= kSignNode ? kDirectoryNode : kVersionsNode;
}

}  // namespace

void FuseHandlers::show(FuseOps& self, DirectoryHandle& handle, const KeyPageRef& page,
                        SupplementaryGroups& groups) {
  const Policy& policy = self.parts_.policy.current();
  std::vector<uint32_t> visible;
  visible.reserve(page->size());
  const PolicySection* last = nullptr;
  bool readable = false;
  for (size_t i = 0; i < page->size(); ++i) {
    const ListedKey key = (*page)[i];
    const PolicySection& section = policy.section_for(key.id);
    if (&section != last) {
      last = &section;
      readable = !section.hidden && Policy::may_read(section, handle.opener, groups);
    }
    if (!readable) continue;
    visible.push_back(static_cast<uint32_t>(i));
    tell_listed_size(self, key);
  }
  handle.add(page, std::move(visible));
}

void FuseHandlers::show_known(FuseOps& self, DirectoryHandle& handle, SupplementaryGroups& groups) {
  for (size_t names = 0; names < kSlice && !handle.complete();) {
    const KeyPageRef page = handle.listing().known(handle.pages());
    if (page == nullptr) return;
    show(self, handle, page, groups);
    names += page->size();
  }
}

Task<void> FuseHandlers::serve_opendir(FuseOps& self, std::shared_ptr<PendingReply> reply,
                                       fuse_file_info file, TimePoint deadline) {
  auto handle = std::make_shared<DirectoryHandle>(self.parts_.backend.list());
  auto first = before(self.parts_.loop, deadline, kWhat, handle->listing().page(0, deadline));
  const auto page = co_await reply->unless_given_up(std::move(first));
  if (page && *page) {
    // For the request, which is not yet answered.
    RequestGroups groups(reply->request());
    handle->opener = caller(reply->request());
    handle->shows_own = self.parts_.policy.current().is_admin(handle->opener, groups);
    show(self, *handle, **page, groups);
    show_known(self, *handle, groups);
    if (!handle->complete()) handle->groups.remember(groups.get());
  }
  fuse_req_t req = reply->take();
  if (req == nullptr) co_return;
  if (!page) {
    fuse_reply_err(req, reply->errno_of_giving_up());
  } else if (!*page) {
    self.parts_.log.warn(kWhat, {{"reason", page->error().message}});
    fuse_reply_err(req, errno_of(page->error().code));
  } else {
    file.fh = self.directories_.add(std::move(handle));
    // The kernel did not accept it, so there will be no RELEASEDIR.
    if (fuse_reply_open(req, &file) != 0) self.directories_.remove(file.fh);
  }
}

// Before this key was listed, the kernel may have been told the usual size instead of its own.
void FuseHandlers::tell_listed_size(FuseOps& self, const ListedKey& key) {
  if (key.corrupt || key.bytes == 0 || key.bytes == self.options_.key_bytes) return;
  const KeyRef entry = self.parts_.cache.find(key.id);
  if (!entry || !entry->learn_bytes(key.bytes)) return;
  if (const uint64_t node = node_of(*entry); node != 0) self.notifier_.drop_attributes(node);
}

bool FuseHandlers::may_read_any(const Policy& policy, const Caller& caller,
                                SupplementaryGroups& groups) {
  const auto& sections = policy.sections();
  return std::any_of(sections.begin(), sections.end(), [&](const PolicySection& section) {
    return Policy::may_read(section, caller, groups);
  });
}

void FuseHandlers::opendir(fuse_req_t req, fuse_ino_t ino, fuse_file_info* file) {
  FuseOps& self = ops(req);
  if (ino != FUSE_ROOT_ID && is_own_directory(ino)) {
    auto own = std::make_shared<DirectoryHandle>();
    own->shows_own = ino == kDirectoryNode && is_admin(req);
    file->fh = self.directories_.add(std::move(own));
    if (fuse_reply_open(req, file) != 0) self.directories_.remove(file->fh);
    return;
  }
  if (ino != FUSE_ROOT_ID) {
    Inode* inode = self.inodes_.find(ino);
    if (inode != nullptr && inode->view() == View::kVersions) {
      opendir_versions(req, *inode, *file);
    } else if (inode != nullptr || !opendir_sign(req, ino, *file)) {
      fuse_reply_err(req, ENOTDIR);
    }
    return;
  }
  const Policy& policy = self.parts_.policy.current();
  RequestGroups groups(req);
  if (!may_read_any(policy, caller(req), groups)) {
    // Nothing in the store could be shown, so do not ask it.
    auto empty = std::make_shared<DirectoryHandle>();
    empty->shows_own = policy.is_admin(caller(req), groups);
    file->fh = self.directories_.add(std::move(empty));
    if (fuse_reply_open(req, file) != 0) self.directories_.remove(file->fh);
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
  EntryBuffer buffer(size);
  bool room = true;
  const Inode* inode = self.inodes_.find(ino);
  const SignNodePtr node = inode == nullptr ? sign_node(self, ino) : nullptr;
  std::array<uint64_t, kDots.size()> numbers = {inode != nullptr ? inode->file_number() : ino,
                                                parent_of(ino)};
  if (node != nullptr) numbers = {node->file_number(), parent_number(*node)};
  for (; room && offset < static_cast<off_t>(kDots.size()); ++offset) {
    const auto index = static_cast<size_t>(offset);
    room = buffer.add(kDots[index], numbers[index], S_IFDIR, offset + 1);
  }
  const DirectoryHandle& handle = OpenDirectories::at(file->fh);
  if (ino != FUSE_ROOT_ID) {
    if (room && inode != nullptr) fill_versions(buffer, handle, inode->entry->id(), offset);
    if (room && ino == kDirectoryNode) {
      fill_own(buffer, handle, self.parts_.files, self.parts_.signing != nullptr, offset);
    }
    if (room && (node != nullptr || ino == kSignNode)) fill_entries(buffer, handle, offset);
    buffer.reply(req);
    return;
  }
  // Checked before the reply: then everything available is in the buffer.
  const bool complete = handle.complete();
  room = room && fill(buffer, handle, offset);
  if (!room || !buffer.empty() || complete) {
    buffer.reply(req);  // once it is out, a RELEASEDIR may end the handle
    return;
  }
  auto reply = self.replies_.hold(req);
  self.parts_.loop.post(
      [&self, reply, handle = self.directories_.share(file->fh), size, offset]() mutable {
        self.parts_.loop.spawn(serve_readdir(self, reply, std::move(handle), size, offset));
      });
}

Task<void> FuseHandlers::serve_readdir(FuseOps& self, std::shared_ptr<PendingReply> reply,
                                       std::shared_ptr<DirectoryHandle> handle, size_t size,
                                       off_t offset) {
  Loop& loop = self.parts_.loop;
  const Duration patience = self.options_.open_deadline;
  const TimePoint hold_until = loop.now() + kHold;
  EntryBuffer buffer(size);
  int error = 0;
  while (fill(buffer, *handle, offset) && buffer.empty() && !handle->complete() && error == 0) {
    const size_t number = handle->pages();
    const TimePoint begin = loop.now();
    const TimePoint deadline = begin + patience - handle->waited;
    auto next =
        page_by(loop, std::min(deadline, hold_until), handle->listing().page(number, deadline));
    const auto came = co_await reply->unless_given_up(std::move(next));
    if (!came) {
      error = reply->errno_of_giving_up();
    } else if (!*came && loop.now() < deadline) {
      handle->waited += loop.now() - begin;
      buffer.add(kDots[0], 0, S_IFDIR, offset);
    } else {
      handle->waited = {};
      const Result<KeyPageRef> page =
          *came
              ? **came
              : fail(Code::kTimeout, std::string(kWhat) + ": timed out after " + to_text(patience));
      if (!page) {
        self.parts_.log.warn(kWhat, {{"reason", page.error().message}});
        error = errno_of(page.error().code);
      } else if (handle->pages() == number) {  // otherwise another READDIR was faster
        show(self, *handle, *page, handle->groups);
        show_known(self, *handle, handle->groups);
      }
    }
  }
  fuse_req_t req = reply->take();
  if (req == nullptr) co_return;
  if (error != 0) {
    fuse_reply_err(req, error);
  } else {
    buffer.reply(req);
  }
}

void FuseHandlers::releasedir(fuse_req_t req, fuse_ino_t, fuse_file_info* file) {
  FuseOps& self = ops(req);
  self.parts_.loop.post([handle = self.directories_.remove(file->fh)] {});
  fuse_reply_err(req, 0);
}

}  // namespace keyfs
