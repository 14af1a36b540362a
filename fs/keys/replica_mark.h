// How a running keyfs shows which file it has open as this host's memory, and how others find out.
//
// "No file" and "a file that does not know the id" mean that this host has never seen it, unless a
// keyfs runs that had another file under that name: it was removed or replaced, something was
// mounted over state_dir, or a link in its path leads elsewhere now. Then what the name leads to is
// not this host's memory, and nobody may create a key by it. The daemon itself notices (ReplicaDb),
// other processes by its marks, which end with it, however it ends:
//   - a read lock on the directory, seen by whoever shares the directory, also in a container;
//   - the names of sockets ("@keyfs/PLACE/FILE/..." in /proc/net/unix), seen in the same network
//     namespace, whatever happened to the directory. FILE is the device and inode. PLACE stands for
//     the path as the host's root has it: as it is spelled, and once more after each link in it,
//     since any of them may be led elsewhere. Any process may take such a name, so one that
//     contradicts is believed only of root, of this user and of who owns the directory.
//
// Thread-safety: a value; plain functions. Ownership: the mark closes what it holds. Blocking: on
// the directory's disk; never on another process. Errors: below.
#pragma once

#include <string>
#include <vector>

#include "base/file.h"
#include "base/result.h"

namespace keyfs {

class Random;

class ReplicaMark {
 public:
  // For the replica that was opened at `path`. kUnavailable if one of the two marks can't be made.
  static Result<ReplicaMark> make(const std::string& path, Random& random);

 private:
  Descriptor directory_;
  std::vector<Descriptor> sockets_;
};

// kUnavailable if a keyfs runs here that had another file at `path` than is there now, or than none;
// the message says what to do. A mark that can't be read says nothing.
Result<void> check_replica_is_the_one(const std::string& path);

}  // namespace keyfs
