// The daemon's directory: its log, this host's memory of records, node ids, which store it knows.
//
// A directory that somebody else owns or may write to is refused. One that is not writable (the
// disk is full, or was remounted read-only after an error) is accepted, since keys can be read
// without it, and machines depend on that. Then keyfs starts degraded and says so; it creates no
// keys, since this host could not remember them.
//
// Thread-safety: none; at start. Blocking: on the disk, all but path(), usable() and trouble().
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace keyfs {

class StateDir {
 public:
  // Creates it if it does not exist, and tests writing to it. kDenied for a directory that cannot
  // be trusted; one that can't be used is trouble().
  static Result<StateDir> prepare(const std::string& path);

  const std::string& path() const { return path_; }
  bool usable() const { return trouble_.empty(); }
  const std::string& trouble() const { return trouble_; }  // why it is not usable
  // Where the host's known store is or will be remembered; empty: not readable or writable.
  std::string for_known_store() const;
  // The same for a command, which makes no state_dir: also empty where there is none, or this user
  // has no access to it.
  static std::string for_known_store_of_command(const std::string& path);

  // Removes what was created here and is still empty.
  void take_back() const;

 private:
  std::string path_;
  std::string trouble_;
  std::vector<std::string> made_;  // innermost first
};

}  // namespace keyfs
