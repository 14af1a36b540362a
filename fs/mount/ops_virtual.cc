// .keyfs/*: contents are rendered on the loop's thread, where everything that they report can be
// read.
#include <cerrno>

#include "fs/mount/handlers.h"

namespace keyfs {

// The size of the last rendering; a file that nobody has read yet is rendered first.
void FuseHandlers::getattr_virtual(fuse_req_t req, fuse_ino_t ino) {
  FuseOps& self = ops(req);
  const auto answer = [&self, ino](fuse_req_t request) {
    const struct stat attributes = file_attributes(self, ino);
    fuse_reply_attr(request, &attributes, 0);
  };
  VirtualFile& file = self.parts_.files.at(ino - kFirstFileNode);
  if (file.rendered()) {
    answer(req);
    return;
  }
  auto reply = self.replies_.hold(req);
  self.parts_.loop.post([&file, reply, answer] {
    file.snapshot();
    if (fuse_req_t request = reply->take()) answer(request);
  });
}

void FuseHandlers::open_virtual(fuse_req_t req, fuse_ino_t ino, const fuse_file_info& opened) {
  FuseOps& self = ops(req);
  if (!is_admin(req)) {
    fuse_reply_err(req, EACCES);
    return;
  }
  VirtualFile& file = self.parts_.files.at(ino - kFirstFileNode);
  auto reply = self.replies_.hold(req);
  self.parts_.loop.post([&self, &file, reply, opened] {
    fuse_file_info info = opened;
    info.direct_io = 1;
    info.fh = self.texts_.add(file.snapshot());
    fuse_req_t request = reply->take();
    // A reply that the kernel accepts leads to a RELEASE.
    const bool accepted = request != nullptr && fuse_reply_open(request, &info) == 0;
    if (!accepted) self.texts_.remove(info.fh);
  });
}

}  // namespace keyfs
