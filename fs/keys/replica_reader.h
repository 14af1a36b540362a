// This host's memory for commands to read, with or without a daemon that writes it. Read-only:
// fs/keys/replica_writer.h notes what a command does.
//
// With a `doubt`, an id that it does not know is kUnknown, for that reason.
//
// No file at `path` means that the host has seen nothing, unless a keyfs runs that had one there
// (fs/keys/replica_mark.h); the same for a file that does not know the id. A file that is unreadable, damaged, set
// aside as damaged, or does not answer is kUnknown, and `why` says what to do.
//
// Thread-safety: none; on the loop's thread. Ownership: owns a worker, which touches the disk; the
// loop outlives it. Blocking: never, but the destructor waits for a hanging read. Errors: none but
// kUnknown.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/loop.h"
#include "base/worker.h"
#include "fs/keys/host_memory.h"

namespace keyfs {

class ReplicaDb;

class ReplicaReader final : public HostMemory {
 public:
  ReplicaReader(Loop& loop, std::string path, std::optional<Error> doubt = std::nullopt);
  ~ReplicaReader() override;

  Task<Recall> recall(std::string id) override;
  // How many of the rows are damaged so that their ids are not those of their records, once recall()
  // was called. Reads the whole file. Errors as in fs/keys/replica_db.h.
  Task<Result<int64_t>> misnamed();
  // The first `limit` ids that this host has seen, once recall() was called. Errors as above.
  Task<Result<std::vector<std::string>>> ids(size_t limit);
  void note(const Stored&, bool) override {}
  void note_seen(const std::string&, Sighting) override {}
  Task<Result<void>> kept(std::string) override {
    co_return fail(Code::kUnavailable, "this host's memory is only read here");
  }
  void doubt(const std::string&) override {}
  void on_live(bool) override {}
  void on_gap() override {}
  std::string trouble() const override { return ""; }
  std::string forget() const override;

 private:
  // On the worker.
  Recall look_up(const std::string& id);
  Recall never_seen() const;

  Loop& loop_;
  const std::string path_;
  const std::optional<Error> doubt_;
  std::unique_ptr<ReplicaDb> db_;  // of the worker
  std::optional<Error> other_;     // of the worker: why `db_` is not this host's memory
  Worker worker_;                  // destroyed first
};

}  // namespace keyfs
