// A store in memory, for tests: as strict as a real one, but gone with its process.
//
// MemoryRecords is the "server"; each MemoryStore is a client of it, like a daemon. Records are
// kept as JSON text and parsed on each read.
//
// Thread-safety: MemoryRecords is thread-safe, so clients may run on different loops; a
// MemoryStore belongs to its loop. Ownership: clients share the records. Blocking: never.
// Errors: as in store/store.h.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "base/loop.h"
#include "store/store.h"
#include "support/memory_board.h"

namespace keyfs {

class MemoryRecords {
 public:
  explicit MemoryRecords(std::string id = "memory") : id_(std::move(id)) {}

  const std::string& id() const { return id_; }
  // What lies beside the records.
  const std::shared_ptr<MemoryDocuments>& documents() const { return documents_; }

  struct Row {
    std::string json;
    uint64_t revision = 0;
  };

  std::optional<Row> find(const std::string& id) const;
  // The current row, and whether it is ours.
  std::pair<Row, bool> insert(const std::string& id, std::string json);
  // The new revision, or nullopt if `revision` is no longer current.
  std::optional<uint64_t> update(const std::string& id, std::string json,
                                 const std::string& revision);
  std::map<std::string, Row> after(const std::string& id, size_t limit) const;

  // Changes records without the clients' knowledge.
  void write_raw(const std::string& id, std::string bytes);
  void erase(const std::string& id);

 private:
  const std::string id_;
  const std::shared_ptr<MemoryDocuments> documents_ = std::make_shared<MemoryDocuments>();
  mutable std::mutex mutex_;
  std::map<std::string, Row> rows_;
  uint64_t last_revision_ = 0;
};

class MemoryStore final : public Store {
 public:
  MemoryStore(Loop& loop, std::shared_ptr<MemoryRecords> records)
      : loop_(loop), records_(std::move(records)), board_(loop, records_->documents()) {}

  Task<Result<std::string>> identity(TimePoint deadline) override;
  Task<Result<Got>> get(std::string id, Read read, TimePoint deadline) override;
  Task<Result<PutResult>> put_if_absent(Record record, TimePoint deadline) override;
  Task<Result<std::optional<Stored>>> replace(Record record, std::string revision,
                                              TimePoint deadline) override;
  Task<Result<ListPage>> list(std::string after, size_t limit, TimePoint deadline) override;
  Board* board() override { return &board_; }
  Task<StoreCheck> check(TimePoint deadline) override;

 private:
  Result<Stored> to_stored(const MemoryRecords::Row& row, const std::string& id) const;

  Loop& loop_;
  std::shared_ptr<MemoryRecords> records_;
  MemoryBoard board_;
};

}  // namespace keyfs
