// The token of a rotation that this host has begun, in STATE_DIR/rotations/ID until its end was
// told: the same command after a kill goes on with the same rotation, and makes no second version.
// A command that leaves its rotation to the board notes that, too: then the next command must not
// take for its own what others have done long ago (fs/cli/handed_over.h). Only a command that has
// come to its end does so, and the note is gone before a command goes on with the token: after a kill
// the token is one without that note.
//
// Locked while its process lives, so that two commands at once are two rotations, one after the
// other.
//
// Thread-safety: one thread. Ownership: holds the file open and locked; dropping it leaves the
// token for the next command. Blocking: on the disk; take() also while another command holds the
// lock. Errors: kDenied for a state_dir or a file that is not this user's alone, kUnavailable for a
// lock that was not released in time; otherwise those of base/file.h.
#pragma once

#include <string>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/file.h"
#include "base/result.h"

namespace keyfs {

class RotationToken {
 public:
  // On disk when this returns. Makes `state_dir` if it is not there. `hold`: a rotation that only
  // makes and tests a version is another one than one that makes it current.
  static Result<RotationToken> take(const std::string& state_dir, const std::string& id, bool hold,
                                    Random& random, Duration patience);

  const std::string& text() const { return text_; }
  // The command that had it before has ended, and left its rotation to the board.
  bool handed_over() const { return handed_over_; }

  // All that follows is on disk when it returns.
  Result<void> hand_over();
  // This command goes on with it: it is not handed over any more.
  Result<void> take_back();
  // Another token, of a rotation that has not begun.
  Result<void> renew(Random& random);
  // The rotation is done, and that was told. On an error the next command finds it done, and makes
  // nothing.
  Result<void> forget();

 private:
  RotationToken(std::string path, Descriptor file, std::string end)
      : path_(std::move(path)), file_(std::move(file)), end_(std::move(end)) {}
  Result<void> read_or_make(Random& random);

  std::string path_;
  Descriptor file_;
  std::string end_;  // of the token's line
  std::string text_;
  bool handed_over_ = false;
};

}  // namespace keyfs
