// .keyfs/versions/<id>/, with a file for each version that can be read, and `current`; and the
// lookups of all that is below .keyfs/versions, .keyfs/hex and .keyfs/base64 (fs/mount/views.h).
//
// LOOKUP answers from the name and the policy, as for plain names: a number that was never made is
// found, and OPEN says that it is not there. READLINK and OPENDIR answer for their caller, and look
// at the record alone: they create and unwrap nothing. The kernel keeps no answer of theirs.
#include <algorithm>
#include <cerrno>
#include <utility>

#include "fs/mount/handlers.h"
#include "fs/mount/key_words.h"
#include "fs/policy/key_id.h"

namespace keyfs {
namespace {

uint32_t version_of(SharedKey key) { return key->version; }  // lets go of it, as OPEN does

}  // namespace

void FuseHandlers::lookup_view(fuse_req_t req, fuse_ino_t parent, std::string_view name) {
  FuseOps& self = ops(req);
  const auto* found = std::find_if(kOwnDirectories.begin(), kOwnDirectories.end(),
                                   [&](const auto& own) { return own.node == parent; });
  View view = View::kVersion;
  KeyRef key;
  std::string_view id = name;
  uint32_t version = 0;
  if (found != kOwnDirectories.end()) {
    view = found->view;
    if (const NameKind kind = classify_name(name); kind != NameKind::kKey) {
      fuse_reply_err(req, kind == NameKind::kTooLong ? ENAMETOOLONG : ENOENT);
      return;
    }
    key = self.parts_.cache.find(id);
  } else {
    const Inode* directory = self.inodes_.find(parent);
    if (directory == nullptr || directory->view() != View::kVersions) {
      fuse_reply_err(req, ENOTDIR);
      return;
    }
    const auto number = parse_version(name);
    if (!number && name != kCurrentName) {
      fuse_reply_err(req, name.size() > kMaxKeyId ? ENAMETOOLONG : ENOENT);
      return;
    }
    if (!number) view = View::kCurrent;
    version = number.value_or(0);
    key = directory->entry;
    id = key->id();
  }
  const Policy& policy = self.parts_.policy.current();
  const PolicySection& section = key ? section_of(*key, policy) : policy.section_for(id);
  if (section.hidden) {
    fuse_reply_err(req, ENOENT);
    return;
  }
  if (too_many_names(req, section)) {
    fuse_reply_err(req, EAGAIN);
    return;
  }
  if (!key) key = self.parts_.cache.acquire(id);
  reply_entry(req, self.inodes_.look_up(key, view, version, parent));
  forget_oldest_names(self);
}

void FuseHandlers::settle(FuseOps& self, Inode& inode) {
  self.inodes_.settle(inode);
  if (inode.view() != View::kVersion && inode.view() != View::kCurrent) return;
  if (Inode* directory = self.inodes_.find(inode.parent()); directory != nullptr) {
    self.inodes_.settle(*directory);
  }
}

int FuseHandlers::why_not_look(fuse_req_t req, const Inode& inode) {
  const PolicySection& section = section_of(*inode.entry, ops(req).parts_.policy.current());
  RequestGroups groups(req);
  if (!section.hidden && Policy::may_read(section, caller(req), groups)) return 0;
  return section.hidden ? ENOENT : EACCES;
}

void FuseHandlers::readlink(fuse_req_t req, fuse_ino_t ino) {
  FuseOps& self = ops(req);
  Inode* inode = self.inodes_.find(ino);
  if (inode == nullptr || inode->view() != View::kCurrent) {
    fuse_reply_err(req, inode == nullptr ? ENOENT : EINVAL);
    return;
  }
  if (const int error = why_not_look(req, *inode); error != 0) {
    refuse_looking(req, *begin_looking(req, *inode), AuditVerdict::kDenied, error);
    return;
  }
  auto peeked = self.parts_.cache.peek(*inode->entry, self.parts_.loop.now());
  switch (peeked.what) {
    case KeyCache::Peek::kServeAndRefresh:
      self.parts_.loop.post(
          [&backend = self.parts_.backend, entry = inode->entry] { backend.refresh(entry); });
      [[fallthrough]];
    case KeyCache::Peek::kServe:
      settle(self, *inode);
      fuse_reply_readlink(req, std::to_string(version_of(std::move(peeked.key))).c_str());
      return;
    case KeyCache::Peek::kRevoked:
      refuse_looking(req, *begin_looking(req, *inode), AuditVerdict::kFailed, EKEYREVOKED,
                     revoked(std::string(inode->entry->id()), peeked.state).message);
      return;
    case KeyCache::Peek::kAsk:
      break;
  }
  auto access = begin_looking(req, *inode);
  auto reply = self.replies_.hold(req);
  self.parts_.loop.post([&self, reply, access, inode] {
    self.parts_.loop.spawn(serve_readlink(self, reply, access, *inode));
  });
}

// What the record says, or the errno to answer with.
Task<FuseHandlers::Looked> FuseHandlers::look(FuseOps& self, std::shared_ptr<PendingReply> reply,
                                              KeyRef entry, const char* what) {
  const TimePoint deadline = self.parts_.loop.now() + self.options_.open_deadline;
  std::string id(entry->id());
  const uid_t caller = fuse_req_ctx(reply->request())->uid;
  auto task =
      before(self.parts_.loop, deadline, what, self.parts_.backend.describe(id, deadline, caller));
  auto told = co_await reply->unless_given_up(std::move(task));
  Looked looked;
  if (!told) {
    looked.error = reply->errno_of_giving_up();
  } else if (!*told) {
    self.parts_.log.warn(what, {{"id", id}, {"reason", told->error().message}});
    looked.error = errno_of(told->error().code);
    looked.reason = told->error().message;
  } else if (!**told) {
    looked.error = ENOENT;
  } else if ((**told)->state != KeyState::kEnabled) {
    looked.error = EKEYREVOKED;
    looked.reason = revoked(id, (**told)->state).message;
  } else {
    looked.info = std::move(***told);
  }
  co_return looked;
}

Task<void> FuseHandlers::serve_readlink(FuseOps& self, std::shared_ptr<PendingReply> reply,
                                        std::shared_ptr<Access> access, Inode& inode) {
  auto looking = look(self, reply, inode.entry, "could not look up a key's current version");
  const Looked looked = co_await std::move(looking);
  fuse_req_t req = reply->take();
  if (req == nullptr) co_return;
  if (looked.error != 0) {
    const auto verdict = looked.error == ENOENT ? AuditVerdict::kAbsent : AuditVerdict::kFailed;
    refuse_looking(req, *access, verdict, looked.error, looked.reason);
    co_return;
  }
  settle(self, inode);
  fuse_reply_readlink(req, std::to_string(looked.info.version).c_str());
}

void FuseHandlers::opendir_versions(fuse_req_t req, Inode& inode, const fuse_file_info& file) {
  if (const int error = why_not_look(req, inode); error != 0) {
    fuse_reply_err(req, error);
    return;
  }
  FuseOps& self = ops(req);
  auto reply = self.replies_.hold(req);
  self.parts_.loop.post([&self, reply, &inode, file] {
    self.parts_.loop.spawn(serve_versions(self, reply, inode, file));
  });
}

Task<void> FuseHandlers::serve_versions(FuseOps& self, std::shared_ptr<PendingReply> reply,
                                        Inode& inode, fuse_file_info file) {
  auto looking = look(self, reply, inode.entry, "could not list a key's versions");
  const Looked looked = co_await std::move(looking);
  auto handle = std::make_shared<DirectoryHandle>();
  for (const auto& [number, version] : looked.info.versions) handle->versions.push_back(number);
  fuse_req_t req = reply->take();
  if (req == nullptr) co_return;
  if (looked.error != 0) {
    fuse_reply_err(req, looked.error);
    co_return;
  }
  self.inodes_.settle(inode);
  file.fh = self.directories_.add(std::move(handle));
  // The kernel did not accept it, so there will be no RELEASEDIR.
  if (fuse_reply_open(req, &file) != 0) self.directories_.remove(file.fh);
}

}  // namespace keyfs
