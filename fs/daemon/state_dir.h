// The daemon's directory: its log, this host's memory of records, node ids, which store it knows.
//
// One that somebody else owns or may write to is refused. One that can't be written (a disk that is
// full, or was mounted read-only after an error) is not: keys can be read without it, and reading
// keys is what machines depend on. Then keyfs starts degraded and says so; no key is made on such a
// host, since it can't remember it.
//
// Thread-safety: none; at start. Blocking: yes, the disk. Errors: kDenied for a directory that is
// not to be trusted.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace keyfs {

class StateDir {
 public:
  // Makes it when it is not there, and writes to it.
  static Result<StateDir> prepare(const std::string& path);

  const std::string& path() const { return path_; }
  bool usable() const { return trouble_.empty(); }
  const std::string& trouble() const { return trouble_; }  // why it is not usable
  // The path where the store that this host knows is remembered, or is to be; empty: it can be
  // neither read nor written.
  std::string for_known_store() const;
  // The same for a command, which makes no state_dir: also empty where there is none, or this user
  // has no access to it.
  static std::string for_known_store_of_command(const std::string& path);

  // What was made here and is still empty goes again.
  void take_back() const;

 private:
  std::string path_;
  std::string trouble_;
  std::vector<std::string> made_;  // from the innermost on
};

}  // namespace keyfs
