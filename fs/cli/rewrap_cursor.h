// Where a keyfs rewrap of all keys is: STATE_DIR/rewrap, until it is done, so that a run that was
// killed is gone on with by the same command. Another set of arguments, masters or regions begins
// from the start: what was passed over before may have something to do now.
//
// What is done twice makes no further wraps: a lost or old file costs time only.
//
// Thread-safety: one thread. Blocking: on the disk. Errors: those of base/private_file.h and
// base/file.h, and of make_state_dir().
#pragma once

#include <string>

#include "base/result.h"

namespace keyfs {

class RewrapCursor {
 public:
  // `what`: what is done; compared as a whole.
  RewrapCursor(std::string state_dir, std::string what);

  // Where the last run of this was; empty: none, or from the start.
  Result<std::string> read() const;
  // Makes state_dir if it is not there.
  Result<void> move_to(const std::string& next);
  void remove();

 private:
  const std::string state_dir_;
  const std::string path_;
  const std::string what_;
};

}  // namespace keyfs
