// user.keyfs.version, .state, .created, .regions: what is known about a key without unwrapping it,
// for callers who may read it.
#include <cerrno>
#include <cstring>

#include "fs/mount/handlers.h"
#include "fs/mount/key_words.h"

namespace keyfs {
namespace {

constexpr std::array<std::string_view, 4> kNames = {"user.keyfs.version", "user.keyfs.state",
                                                    "user.keyfs.created", "user.keyfs.regions"};

std::string value_of(std::string_view name, const KeyInfo& info) {
  if (name == kNames[0]) return std::to_string(info.version);
  if (name == kNames[1]) return std::string(to_string(info.state));
  if (name == kNames[2]) return to_rfc3339(info.created);
  std::string regions;
  if (info.regions != nullptr) {
    for (const auto& region : *info.regions) regions += (regions.empty() ? "" : ",") + region;
  }
  return regions;
}

// xattr(7): a size of 0 asks for the size.
void reply_value(fuse_req_t req, std::string_view value, size_t size) {
  if (size == 0) {
    fuse_reply_xattr(req, value.size());
  } else if (value.size() > size) {
    fuse_reply_err(req, ERANGE);
  } else {
    fuse_reply_buf(req, value.data(), value.size());
  }
}

}  // namespace

Task<void> FuseHandlers::serve_xattr(FuseOps& self, std::shared_ptr<PendingReply> reply,
                                     Inode& inode, std::string_view name, size_t size) {
  const TimePoint deadline = self.parts_.loop.now() + self.options_.open_deadline;
  const std::string id(inode.entry->id());
  auto task =
      before(self.parts_.loop, deadline, "could not look up the key",
             self.parts_.backend.describe(id, deadline, fuse_req_ctx(reply->request())->uid));
  const auto told = co_await reply->unless_given_up(std::move(task));
  fuse_req_t req = reply->take();
  if (req == nullptr) co_return;
  if (!told) {
    fuse_reply_err(req, reply->errno_of_giving_up());
  } else if (!*told) {
    self.parts_.log.warn("could not read the attributes of a key",
                         {{"id", id}, {"reason", told->error().message}});
    fuse_reply_err(req, errno_of(told->error().code));
  } else if (!**told) {
    fuse_reply_err(req, ENODATA);  // there is no such key
  } else {
    KeyInfo info = ***told;
    if (inode.version() != 0) {
      const auto found = info.versions.find(inode.version());
      if (found == info.versions.end()) {
        fuse_reply_err(req, ENODATA);
        co_return;
      }
      info.version = inode.version();
      info.created = found->second.created;
      info.regions = found->second.regions;
    }
    reply_value(req, value_of(name, info), size);
  }
}

void FuseHandlers::getxattr(fuse_req_t req, fuse_ino_t ino, const char* name, size_t size) {
  FuseOps& self = ops(req);
  const std::string_view wanted(name);
  // `ls -l` and `cp -p` ask every file for these.
  if (wanted.starts_with("system.")) {
    fuse_reply_err(req, EOPNOTSUPP);
    return;
  }
  const auto* known = std::find(kNames.begin(), kNames.end(), wanted);
  Inode* inode = self.inodes_.find(ino);
  if (known == kNames.end() || inode == nullptr || !is_file(inode->view())) {
    fuse_reply_err(req, ENODATA);
    return;
  }
  const PolicySection& section = section_of(*inode->entry, self.parts_.policy.current());
  RequestGroups groups(req);
  if (section.hidden || !Policy::may_read(section, caller(req), groups)) {
    fuse_reply_err(req, section.hidden ? ENOENT : EACCES);
    return;
  }
  auto peeked = self.parts_.cache.peek(*inode->entry, self.parts_.loop.now(), inode->version());
  if (peeked.what == KeyCache::Peek::kServe) {
    const DataKey& key = *peeked.key;
    const KeyInfo info{KeyState::kEnabled, key.version, static_cast<uint32_t>(key.key.size()),
                       key.created,        key.regions, {}};
    peeked.key.reset();  // before the reply, as in OPEN
    reply_value(req, value_of(*known, info), size);
    return;
  }
  // Refreshing is normally up to OPEN, but this peek was asked to do it.
  if (peeked.what == KeyCache::Peek::kServeAndRefresh) {
    self.parts_.loop.post(
        [&backend = self.parts_.backend, entry = inode->entry] { backend.refresh(entry); });
  }
  auto reply = self.replies_.hold(req);
  self.parts_.loop.post([&self, reply, inode, name = *known, size] {
    self.parts_.loop.spawn(serve_xattr(self, reply, *inode, name, size));
  });
}

// The attributes of keys, without checking whether this one exists: programs that list them then
// read them, and get ENODATA.
void FuseHandlers::listxattr(fuse_req_t req, fuse_ino_t ino, size_t size) {
  FuseOps& self = ops(req);
  std::string names;
  if (const Inode* inode = self.inodes_.find(ino); inode != nullptr && is_file(inode->view())) {
    const PolicySection& section = section_of(*inode->entry, self.parts_.policy.current());
    RequestGroups groups(req);
    if (!section.hidden && Policy::may_read(section, caller(req), groups)) {
      for (const auto name : kNames) {
        names += name;
        names += '\0';
      }
    }
  }
  reply_value(req, names, size);
}

}  // namespace keyfs
