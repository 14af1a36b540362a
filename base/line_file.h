// Appends whole lines to a file, for the log and the audit.
//
// Readers always find each line on its own: a line that a full disk or a crash cut short is never
// continued by the next one, not even by the next process.
//
// The file must be one that nobody else can create or write (base/private_file.h): its lines say
// who read what.
//
// Thread-safety: none; one thread writes. Ownership: of the file that open() opened; a descriptor
// given to over() stays the caller's. Blocking: all of it touches the disk; a pipe that nobody
// reads delays write() for a second once, and then not at all until it is read again. Errors: those
// of base/private_file.h, with `what` in the message.
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
  // Creates the file if it does not exist. With `mode`, the file gets that mode in any case;
  // without, a new file gets 0640 less the umask. `what` names it in messages: "the log".
  // kUnavailable, or kDenied for a file that is not to be trusted.
  static Result<LineFile> open(std::string what, std::string path, std::optional<mode_t> mode);
  // Standard error, a pipe.
  static LineFile over(int fd);

  struct Written {
    size_t lines = 0;            // complete lines in the file
    std::optional<Error> error;  // why the rest is missing
    bool elsewhere = false;      // they are in another file than the lines before
  };
  // Whole lines, each with its newline. Where the path names another file by now, that one is
  // written. A file that nobody can reach any more is made anew first: it was removed, or its
  // directory was replaced, or its file system was unmounted. (One that was only moved away goes on
  // being written, as logrotate expects it until it has told us.)
  Written write(std::string_view lines);

  // Reopens the path; errors as open()'s. On an error, writing continues to the old file.
  Result<void> reopen();
  // The same, if the path no longer refers to the open file: it was moved away or removed.
  Result<void> follow();

 private:
  LineFile() = default;
  bool wait_for_room();
  enum class Named { kOurs, kMoved, kAnother, kUnreachable };
  Named what_is_named() const;

  std::string what_;
  std::string path_;  // empty: a borrowed descriptor
  std::optional<mode_t> mode_;
  Descriptor file_;
  int fd_ = -1;
  dev_t directory_device_ = 0;  // where it was opened
  ino_t directory_inode_ = 0;
  bool torn_ = false;   // the last line is incomplete
  bool stuck_ = false;  // nobody reads
  std::string mended_;
};

}  // namespace keyfs
