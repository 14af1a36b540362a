// Appends whole lines to a file: what the log and the audit are written with.
//
// Whoever reads the file finds each line by itself, whatever happened: the rest of a line that a
// full disk or a crash cut short is never continued by the next one, not even by the next process.
//
// The file is one that nobody else can have put there or write to (base/private_file.h): lines tell
// who read what.
//
// Thread-safety: none; one thread writes. Ownership: of the file that open() opened; a descriptor
// given to over() stays the caller's. Blocking: all of it touches the disk; a pipe that nobody
// reads holds write() up for a second, and from then on not at all until it is read again.
// Errors: kUnavailable, kDenied (not a file to write to), with what it is for in the message.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "base/file.h"
#include "base/result.h"

namespace keyfs {

class LineFile {
 public:
  // Made when it is not there. With `mode` it has that one in any case; without, it is made with
  // 0640 less the umask. `what` names it in messages: "the log".
  static Result<LineFile> open(std::string what, std::string path, std::optional<mode_t> mode);
  // Standard error, a pipe.
  static LineFile over(int fd);

  struct Written {
    size_t lines = 0;            // that are in the file, whole
    std::optional<Error> error;  // why the others are not
  };
  // Whole lines, each with its newline. A file that was removed is made anew first: nobody would
  // ever read what goes into the old one. (One that was only moved away goes on being written, as
  // logrotate expects it until it has told us.)
  Written write(std::string_view lines);

  // Opens the path anew. On an error the old file goes on being written.
  Result<void> reopen();
  // The same when the path no longer leads to the file that is open: it was moved away or removed.
  Result<void> follow();

 private:
  LineFile() = default;
  bool wait_for_room();
  bool was_removed() const;

  std::string what_;
  std::string path_;  // empty: not ours
  std::optional<mode_t> mode_;
  Descriptor file_;
  int fd_ = -1;
  bool torn_ = false;   // the last line has no end
  bool stuck_ = false;  // nobody reads
  std::string mended_;
};

}  // namespace keyfs
