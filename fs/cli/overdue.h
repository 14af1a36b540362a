// A bound on what a command does by itself, outside of the loop and its deadlines: opening SQLite,
// looking at state_dir. On a disk that hangs such a call never comes back, and nothing in the
// process can end it but the process's end.
//
//   const Overdue overdue(output, "opening " + path, 10s);
//   ...                                  // blocking calls, and no output
//
// When that takes longer, the message is told and the process ends with exit code 1.
//
// Thread-safety: one thread, which writes nothing to `output` meanwhile. Ownership: a thread of its
// own; where there is none to be had there is no bound. Blocking: never. Errors: none.
#pragma once

#include <memory>
#include <string>

#include "base/clock.h"
#include "fs/cli/output.h"

namespace keyfs {

class Overdue {
 public:
  Overdue(Output& output, std::string what, Duration within);
  ~Overdue();
  Overdue(const Overdue&) = delete;
  Overdue& operator=(const Overdue&) = delete;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace keyfs
