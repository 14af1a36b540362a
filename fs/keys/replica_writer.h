// This host's memory for commands to write, with or without a daemon that has it open. Creates what
// does not exist: the directory with `prepare`, and the file, with mode 0600.
//
// Thread-safety: none; on the loop's thread. Ownership: owns a worker, which touches the disk and
// calls `prepare`; the loop outlives it. Blocking: never, but the destructor waits for a hanging
// write. Errors: as in fs/keys/notebook.h; kTimeout if others hold the file for seconds.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

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
  Task<Result<void>> write_seen(std::vector<SeenKey> keys) override;

 private:
  // On the worker.
  Result<void> open();
  Result<void> write(const Stored& stored, bool strong);
  Result<void> see(const std::vector<SeenKey>& keys);

  Loop& loop_;
  const std::string path_;
  const std::function<Result<void>()> prepare_;
  std::unique_ptr<ReplicaDb> db_;  // of the worker
  Worker worker_;                  // destroyed first
};

}  // namespace keyfs
