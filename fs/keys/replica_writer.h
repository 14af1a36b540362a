// This host's memory as a command writes it, beside a daemon that has it open or without one. What
// is not there is made: the directory by `prepare`, the file here, of mode 0600.
//
// Thread-safety: none; on the loop's thread. Ownership: owns a worker, which touches the disk and
// calls `prepare`; the loop outlives it. Blocking: never; its end waits for a write that hangs.
// Errors: as in fs/keys/notebook.h. Others that hold the file for seconds are kTimeout.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/loop.h"
#include "base/worker.h"
#include "fs/keys/notebook.h"

namespace keyfs {

class ReplicaDb;

class ReplicaWriter final : public Notebook {
 public:
  ReplicaWriter(Loop& loop, std::string path, std::function<Result<void>()> prepare);
  ~ReplicaWriter() override;

  Task<Result<void>> prove() override;
  Task<Result<void>> write_down(Stored stored, bool strong) override;

 private:
  // On the worker.
  Result<void> open();
  Result<void> write(const Stored& stored, bool strong);

  Loop& loop_;
  const std::string path_;
  const std::function<Result<void>()> prepare_;
  std::unique_ptr<ReplicaDb> db_;  // of the worker
  Worker worker_;                  // goes first
};

}  // namespace keyfs
