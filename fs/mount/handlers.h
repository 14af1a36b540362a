// Shared by the operations; for ops*.cc and attributes.cc only.
#pragma once

#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fs/mount/directory_handle.h"
#include "fs/mount/ops.h"
#include "fs/mount/request_groups.h"
#include "fs/mount/views.h"

namespace keyfs {

// The kernel keeps names and attributes until they are invalidated: entries when the policy hides a
// name, attributes when a size is learned or the policy changes. Attributes with an unknown size
// are not kept.
constexpr double kLongTimeout = 86'400;

// How often keys are examined that have pages, or are polled, and so need not be read: a fraction of
// fresh_for, so that a check is hardly later than one that a read would have started.
inline Duration examined_every(Duration fresh_for) {
  return std::clamp<Duration>(fresh_for / 8, std::chrono::milliseconds(50),
                              std::chrono::seconds(5));
}

// The directories below .keyfs.
struct OwnDirectory {
  std::string_view name;
  uint64_t node;
  View view;  // of what is found there
};
inline constexpr std::array<OwnDirectory, 3> kOwnDirectories = {{
    {"versions", kVersionsNode, View::kVersions},
    {"hex", kHexNode, View::kHex},
    {"base64", kBase64Node, View::kBase64},
}};
// With the root and .keyfs.
constexpr bool is_own_directory(uint64_t node) {
  return node == kRootNode || node == kDirectoryNode ||
         (node >= kVersionsNode && node <= kBase64Node);
}

struct FuseHandlers {
  static FuseOps& ops(fuse_req_t req) { return *static_cast<FuseOps*>(fuse_req_userdata(req)); }
  static Caller caller(fuse_req_t req) {
    const fuse_ctx* context = fuse_req_ctx(req);
    return {context->uid, context->gid};
  }
  static bool is_admin(fuse_req_t req);

  // ops.cc
  static void init(void* self, fuse_conn_info* connection);
  static void lookup(fuse_req_t req, fuse_ino_t parent, const char* name);
  static void lookup_key(fuse_req_t req, std::string_view name);
  // The answer to a LOOKUP that has found `inode`; nullptr: there are no node ids left.
  static void reply_entry(fuse_req_t req, Inode* inode);
  // Names are looked up faster than the kernel forgets; users who may use the key have priority.
  static bool too_many_names(fuse_req_t req, const PolicySection& section);
  static void forget_oldest_names(FuseOps& ops);
  static void forget_node(FuseOps& ops, fuse_ino_t ino, uint64_t count);
  static void forget(fuse_req_t req, fuse_ino_t ino, uint64_t count);
  static void note_forgotten(FuseOps& ops, size_t count);
  static void forget_multi(fuse_req_t req, size_t count, fuse_forget_data* forgets);
  static void getattr(fuse_req_t req, fuse_ino_t ino, fuse_file_info* file);
  static void access(fuse_req_t req, fuse_ino_t ino, int mask);
  static void statfs(fuse_req_t req, fuse_ino_t ino);
  static void open(fuse_req_t req, fuse_ino_t ino, fuse_file_info* file);
  static void read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, fuse_file_info* file);
  static void release(fuse_req_t req, fuse_ino_t ino, fuse_file_info* file);

  // ops_key.cc
  static void open_key(fuse_req_t req, Inode& inode, const fuse_file_info& file);
  static void read_key(fuse_req_t req, Inode& inode, size_t size, off_t offset,
                       const fuse_file_info& file);
  struct Access;
  struct KeyFacts;
  // Whether the policy, if it has changed, still permits the user who opened this handle.
  static bool still_permitted(FuseOps& ops, const Inode& inode, const fuse_file_info& file);
  // The handle of an opener was closed, or was never created.
  static void let_go(FuseOps& ops, const Inode& inode, uint32_t opener);
  // Call before answering with a page, which is noted: 0, or an errno.
  static int may_page(FuseOps& ops, Inode& inode, const fuse_file_info& file);
  static void reply_bytes(fuse_req_t req, Access& access, const DataKey& key, size_t size,
                          off_t offset);
  // Its pages go into the page cache, or must be dropped from it.
  static void note_pages(FuseOps& ops, Inode& inode, uint32_t version);
  static void drop_pages(FuseOps& ops, Inode& inode);
  // Checks the files with pages, as long as there are any.
  static Task<void> watch_pages(FuseOps& ops);
  static Task<void> serve_noted(std::shared_ptr<PendingReply> reply, std::shared_ptr<Access> access,
                                KeyFacts key, KeySource source, bool created);
  static Task<void> serve_open(std::shared_ptr<PendingReply> reply, std::shared_ptr<Access> access,
                               bool may_create);
  static Task<void> serve_read(std::shared_ptr<PendingReply> reply, std::shared_ptr<Access> access,
                               size_t size, off_t offset);

  // ops_virtual.cc
  static void getattr_virtual(fuse_req_t req, fuse_ino_t ino);
  static void open_virtual(fuse_req_t req, fuse_ino_t ino, const fuse_file_info& file);

  // ops_sign.cc: .keyfs/sign. Those that return a bool: false, it is none of these, and there was no
  // answer.
  static bool is_directory_of(const FuseOps& ops, fuse_ino_t ino) {
    return is_own_directory(ino) || (ino == kSignNode && ops.parts_.signing != nullptr);
  }
  static SignNodePtr sign_node(FuseOps& ops, fuse_ino_t ino);
  static bool lookup_sign(fuse_req_t req, fuse_ino_t parent, std::string_view name);
  static bool getattr_sign(fuse_req_t req, fuse_ino_t ino);
  static int access_sign(fuse_req_t req, const SignNode& node, int mask);
  static bool opendir_sign(fuse_req_t req, fuse_ino_t ino, const fuse_file_info& file);
  static uint64_t parent_number(const SignNode& node);

  // ops_signature.cc
  struct SignAccess;
  static bool open_sign(fuse_req_t req, fuse_ino_t ino, const fuse_file_info& file);
  static void open_signature(fuse_req_t req, SignNodePtr node, const fuse_file_info& file);
  static Task<void> serve_signature(std::shared_ptr<PendingReply> reply,
                                    std::shared_ptr<SignAccess> access);
  static void open_public(fuse_req_t req, const SignNode& node, const fuse_file_info& file);
  static void reply_public(fuse_req_t req, FuseOps& ops, fuse_file_info file, std::string text);
  static Task<void> serve_public(FuseOps& ops, std::shared_ptr<PendingReply> reply, SignPlace place,
                                 const SignSection& section, fuse_file_info file);
  static bool read_sign(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                        const fuse_file_info& file);
  static void release_sign(FuseOps& ops, fuse_ino_t ino, const fuse_file_info& file);

  // ops_dir.cc
  // Whether any section might let this caller read.
  static bool may_read_any(const Policy& policy, const Caller& caller, SupplementaryGroups& groups);
  static void opendir(fuse_req_t req, fuse_ino_t ino, fuse_file_info* file);
  static void readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                      fuse_file_info* file);
  static void releasedir(fuse_req_t req, fuse_ino_t ino, fuse_file_info* file);
  static Task<void> serve_opendir(FuseOps& self, std::shared_ptr<PendingReply> reply,
                                  fuse_file_info file, TimePoint deadline);
  static Task<void> serve_readdir(FuseOps& self, std::shared_ptr<PendingReply> reply,
                                  std::shared_ptr<DirectoryHandle> handle, size_t size,
                                  off_t offset);
  // Adds the page's keys that the user who opened the directory may see.
  static void show(FuseOps& self, DirectoryHandle& handle, const KeyPageRef& page,
                   SupplementaryGroups& groups);
  // The same for following pages that were already read, several at once.
  static void show_known(FuseOps& self, DirectoryHandle& handle, SupplementaryGroups& groups);
  static void tell_listed_size(FuseOps& self, const ListedKey& key);

  // ops_version.cc: .keyfs/versions, .keyfs/hex, .keyfs/base64
  static void lookup_view(fuse_req_t req, fuse_ino_t parent, std::string_view name);
  static void readlink(fuse_req_t req, fuse_ino_t ino);
  struct Looked {
    int error = 0;
    std::string reason;
    KeyInfo info;
  };
  static Task<Looked> look(FuseOps& ops, std::shared_ptr<PendingReply> reply, KeyRef entry,
                           const char* what);
  static Task<void> serve_readlink(FuseOps& ops, std::shared_ptr<PendingReply> reply,
                                   std::shared_ptr<Access> access, Inode& inode);
  // `current` is the way to a key: who is refused there does not come to OPEN, and is noted in the
  // audit as if it had. In ops_key.cc.
  static std::shared_ptr<Access> begin_looking(fuse_req_t req, Inode& inode);
  static void refuse_looking(fuse_req_t req, Access& access, AuditVerdict verdict, int error,
                             const std::string& reason = "");
  static void opendir_versions(fuse_req_t req, Inode& inode, const fuse_file_info& file);
  static Task<void> serve_versions(FuseOps& ops, std::shared_ptr<PendingReply> reply, Inode& inode,
                                   fuse_file_info file);
  // 0, or the errno for a caller who may not look at the key.
  static int why_not_look(fuse_req_t req, const Inode& inode);
  // A key, or version, that exists: its name stays, and its directory's.
  static void settle(FuseOps& ops, Inode& inode);

  // ops_poll.cc
  static void ioctl(fuse_req_t req, fuse_ino_t ino, unsigned command, void* argument,
                    fuse_file_info* file, unsigned flags, const void* in, size_t in_size,
                    size_t out_size);
  static void poll(fuse_req_t req, fuse_ino_t ino, fuse_file_info* file, fuse_pollhandle* handle);
  // The version that this host serves now under the plain name; 0: unknown.
  static uint32_t current_version(FuseOps& ops, const KeyRef& entry);
  static Task<void> watch_polled(FuseOps& ops);

  // ops_xattr.cc
  static void getxattr(fuse_req_t req, fuse_ino_t ino, const char* name, size_t size);
  static void listxattr(fuse_req_t req, fuse_ino_t ino, size_t size);
  static Task<void> serve_xattr(FuseOps& self, std::shared_ptr<PendingReply> reply, Inode& inode,
                                std::string_view name, size_t size);

  // ops_refuse.cc: what a read-only file system refuses.
  static void refuse(fuse_lowlevel_ops& table);

  // attributes.cc
  struct KeyAttributes {
    struct stat what;
    double timeout;   // how long the kernel may keep them
    bool size_known;  // otherwise it is `unknown_as`
  };
  // For a key; also notes what the kernel is told.
  static KeyAttributes key_attributes(FuseOps& ops, Inode& inode, uint32_t unknown_as);
  // At least as large as any key.
  static uint32_t largest_size(const FuseOps& ops);
  static void getattr_key(fuse_req_t req, Inode& inode);
  static uint32_t known_bytes(FuseOps& ops, const Inode& inode);
  static WallTime created_at(FuseOps& ops, const Inode& inode);
  // What a version was found to be.
  static void learn(Inode& inode, uint32_t bytes, WallTime created);
  // `turn` is held until the task is done.
  static Task<void> serve_size(FuseOps& ops, std::shared_ptr<PendingReply> reply, Inode& inode,
                               std::shared_ptr<const void> turn);
  static struct stat directory_attributes(FuseOps& ops, fuse_ino_t ino);
  // `exact`: where a signature is open, its size, and not the largest that there may be.
  static struct stat sign_attributes(FuseOps& ops, const SignNode& node, const SignSection& section,
                                     bool exact);
  static struct stat file_attributes(FuseOps& ops, fuse_ino_t ino);
};

}  // namespace keyfs
