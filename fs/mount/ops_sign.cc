// .keyfs/sign: LOOKUP, GETATTR, ACCESS and the directories. They answer from the name, the policy and
// what is known of the key, and never ask a custody; OPEN is in ops_signature.cc.
//
// The kernel keeps names for kNamesFor at most, and no attributes: which algorithms there are, and
// how large the public files, changes when a key is rotated.
#include <cerrno>
#include <utility>

#include "fs/mount/handlers.h"
#include "fs/policy/key_id.h"

namespace keyfs {
namespace {

constexpr double kNamesFor = 1;  // seconds

// Names that exist for one id after the other: anybody can make up any number of the others.
bool is_lone_name(const SignPlace& place, const SigningKeyPtr& key) {
  return key == nullptr || place.view == SignView::kSignature || place.view == SignView::kPinned ||
         !place.pinned.empty();
}

bool cannot_sign(const SignPlace& place, const SigningKeyPtr& key) {
  return place.view == SignView::kAlgorithm && place.pinned.empty() && key != nullptr &&
         key->public_key != nullptr && !signs_with(key->public_key->type(), place.algorithm);
}

// Entries of a directory below .keyfs/sign.
class SignEntries {
 public:
  SignEntries(std::string path, std::vector<DirectoryHandle::Entry>& entries)
      : path_(std::move(path)), entries_(entries) {}
  void add(std::string_view name, bool directory) {
    const uint64_t number = file_number(path_ + "/" + std::string(name));
    entries_.push_back({std::string(name), number, directory});
  }
  void add_algorithms(const SignSection& section, const SigningKeyPtr& key) {
    for (const SigningAlgorithm algorithm : kSigningAlgorithms) {
      const bool fits = key == nullptr || key->public_key == nullptr ||
                        signs_with(key->public_key->type(), algorithm);
      if (fits && section.permits(algorithm)) add(to_string(algorithm), true);
    }
  }

 private:
  const std::string path_;
  std::vector<DirectoryHandle::Entry>& entries_;
};

}  // namespace

SignNodePtr FuseHandlers::sign_node(FuseOps& self, fuse_ino_t ino) {
  return self.parts_.signing != nullptr ? self.sign_nodes_.find(ino) : nullptr;
}

bool FuseHandlers::lookup_sign(fuse_req_t req, fuse_ino_t parent, std::string_view name) {
  FuseOps& self = ops(req);
  if (self.parts_.signing == nullptr) return false;
  SignNodePtr directory;
  if (parent != kSignNode) {
    directory = self.sign_nodes_.find(parent);
    if (directory == nullptr) return false;
  }
  auto place = sign_place(directory != nullptr ? &directory->place : nullptr, name);
  const Policy& policy = self.parts_.policy.current();
  if (!place || policy.sign_section_for(place->id).hidden) {
    fuse_reply_err(req, name.size() > kMaxKeyId ? ENAMETOOLONG : ENOENT);
    return true;
  }
  const SignSection& section = policy.sign_section_for(place->id);
  const SigningKeyPtr key = self.parts_.signing->find(place->id);
  if (cannot_sign(*place, key)) {
    fuse_reply_err(req, ENOENT);
    return true;
  }
  const bool lone = is_lone_name(*place, key);
  // Those who may see the key have priority, as in too_many_names().
  const size_t most = 2 * self.options_.lone_names;
  if (const size_t leaving = self.sign_nodes_.leaving(); lone && leaving > most) {
    RequestGroups groups(req);
    if (leaving > 2 * most || !section.may_see(caller(req), groups)) {
      fuse_reply_err(req, EAGAIN);
      return true;
    }
  }
  const bool signature = place->view == SignView::kSignature;
  const SignNodePtr node =
      self.sign_nodes_.look_up(directory.get(), parent, name, std::move(*place), lone);
  if (node == nullptr) {
    self.parts_.log.error("no node ids are left: restart keyfs to get new ones");
    fuse_reply_err(req, ENFILE);
    return true;
  }
  fuse_entry_param entry{};
  entry.ino = node->id;
  // Never the size of what somebody else has open: the OPEN that follows makes another signature.
  entry.attr = sign_attributes(self, *node, section, false);
  entry.attr_timeout = 0;
  // A digest is hardly ever opened twice.
  entry.entry_timeout = signature ? 0 : kNamesFor;
  if (fuse_reply_entry(req, &entry) != 0) self.sign_nodes_.forget(entry.ino, 1);
  while (auto oldest = self.sign_nodes_.take_oldest_lone(self.options_.lone_names)) {
    self.notifier_.drop_name(oldest->parent, std::move(oldest->name));
  }
  return true;
}

bool FuseHandlers::getattr_sign(fuse_req_t req, fuse_ino_t ino) {
  FuseOps& self = ops(req);
  const SignNodePtr node = sign_node(self, ino);
  if (node == nullptr) return false;
  const SignSection& section = self.parts_.policy.current().sign_section_for(node->place.id);
  if (section.hidden) {
    fuse_reply_err(req, ENOENT);
    return true;
  }
  const struct stat attributes = sign_attributes(self, *node, section, true);
  fuse_reply_attr(req, &attributes, 0);
  return true;
}

int FuseHandlers::access_sign(fuse_req_t req, const SignNode& node, int mask) {
  const SignPlace& place = node.place;
  const SignSection& section = ops(req).parts_.policy.current().sign_section_for(place.id);
  if (section.hidden) return ENOENT;
  if ((mask & X_OK) != 0 && is_sign_file(place.view)) return EACCES;
  if ((mask & (R_OK | X_OK)) == 0) return 0;
  RequestGroups groups(req);
  if (place.view == SignView::kSignature) {
    const bool may = section.permits(place.algorithm) && section.may_use(caller(req), groups);
    return may ? 0 : EACCES;
  }
  return section.may_see(caller(req), groups) ? 0 : EACCES;
}

bool FuseHandlers::opendir_sign(fuse_req_t req, fuse_ino_t ino, const fuse_file_info& file) {
  FuseOps& self = ops(req);
  if (self.parts_.signing == nullptr) return false;
  const Policy& policy = self.parts_.policy.current();
  auto handle = std::make_shared<DirectoryHandle>();
  RequestGroups groups(req);
  if (ino == kSignNode) {
    SignEntries entries(std::string(kSignName), handle->entries);
    for (const SigningKeyPtr& key : self.parts_.signing->all()) {
      const SignSection& section = policy.sign_section_for(key->id);
      if (!section.hidden && section.may_see(caller(req), groups)) entries.add(key->id, true);
    }
  } else {
    const SignNodePtr node = self.sign_nodes_.find(ino);
    if (node == nullptr) return false;
    const SignSection& section = policy.sign_section_for(node->place.id);
    int error = is_sign_file(node->place.view) ? ENOTDIR : 0;
    if (error == 0) error = access_sign(req, *node, R_OK);
    if (error != 0) {
      fuse_reply_err(req, error);
      return true;
    }
    SignEntries entries(std::string(kSignName) + "/" + std::string(node->path()), handle->entries);
    const SigningKeyPtr key = self.parts_.signing->find(node->place.id);
    if (node->place.view == SignView::kKey) {
      // Of a key that is not known nothing is listed that would make a custody be asked.
      if (key != nullptr && key->public_key != nullptr) {
        for (const std::string_view name : kPublicFiles) entries.add(name, false);
      }
      entries.add_algorithms(section, key);
      entries.add(kAtName, true);
    } else if (node->place.view == SignView::kPinned) {
      const bool current = key != nullptr && key->public_key != nullptr &&
                           key->public_key->fingerprint() == node->place.pinned;
      entries.add_algorithms(section, current ? key : nullptr);
    }
  }
  fuse_file_info info = file;
  info.fh = self.directories_.add(std::move(handle));
  // The kernel did not accept it, so there will be no RELEASEDIR.
  if (fuse_reply_open(req, &info) != 0) self.directories_.remove(info.fh);
  return true;
}

uint64_t FuseHandlers::parent_number(const SignNode& node) {
  const std::string_view path = node.path();
  const size_t slash = path.rfind('/');
  if (slash == std::string_view::npos) return kSignNode;
  return file_number(std::string(kSignName) + "/" + std::string(path.substr(0, slash)));
}

}  // namespace keyfs
