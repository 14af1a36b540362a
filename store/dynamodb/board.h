// The board of a DynamoDB store: the table TABLE-board, in the home region only. Its conditions and
// its reads are those of one region, so it is the same board for all hosts, whatever mode the
// records' table has; while home is out there is no rotation.
//
// The items are in store/dynamodb/board_item.h. Each carries the store's id, so the table is good
// for the records' table beside it and no other. peek() is an eventually consistent read: half a
// read unit for each 4 KiB. There is no watch: hosts peek at the pulse.
//
// The table is made by the operator: keyfs check --create-table, or scripts/terraform. Without it,
// or without permission for it, each call gives kDenied, and the store does as before.
//
// Thread-safety, blocking, errors: as in store/board.h. Ownership: the store owns it; loop and
// random source outlive it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/crypto.h"
#include "base/loop.h"
#include "store/board.h"
#include "store/dynamodb/replica.h"
#include "store/dynamodb/retries.h"

namespace keyfs {

class Store;

class DynamoDbBoard final : public Board {
 public:
  // `table`: TABLE-board at home. `attempt`: as in store/dynamodb/retries.h.
  DynamoDbBoard(Store& store, Loop& loop, Random& random, std::unique_ptr<DynamoDbReplica> table,
                Duration attempt);

  Task<Result<std::optional<BoardDocument>>> get(std::string name, TimePoint deadline) override;
  Task<Result<std::optional<BoardDocument>>> peek(std::string name, TimePoint deadline) override;
  Task<Result<BoardWrite>> put_if_absent(std::string name, std::string text,
                                         TimePoint deadline) override;
  Task<Result<BoardWrite>> replace(std::string name, std::string text, std::string revision,
                                   TimePoint deadline) override;
  Task<Result<BoardWrite>> remove(std::string name, std::string revision,
                                  TimePoint deadline) override;
  Task<Result<BoardPage>> list(std::string prefix, std::string after, size_t limit,
                               TimePoint deadline) override;
  Task<std::vector<CheckItem>> check(TimePoint deadline) override;

  // Creates the table: on-demand, protected from deletion. An existing one is left unchanged. Says
  // in one line what was done.
  Task<Result<std::string>> make_table(TimePoint deadline);

 private:
  Task<Result<std::optional<BoardDocument>>> read(std::string name, bool consistent,
                                                  TimePoint deadline);
  // One strongly consistent read, for what a failed condition did not tell.
  Task<Result<std::optional<BoardDocument>>> look(const std::string& name,
                                                  const std::string& store_id, TimePoint deadline);
  // Puts the document where `old_revision` is, or where there is none.
  Task<Result<BoardWrite>> write(std::string name, std::string text, std::string old_revision,
                                 TimePoint deadline);
  Task<Result<BoardWrite>> write_once(const BoardDocument& document, const std::string& mark,
                                      const std::string& body, const std::string& store_id,
                                      TimePoint deadline);
  Task<Result<BoardWrite>> remove_once(const std::string& name, const std::string& body,
                                       const std::string& store_id, TimePoint deadline);
  Task<Result<void>> try_write(std::string operation, std::string body, TimePoint deadline);
  Error told(Error error, const std::string& what) const;

  Store& store_;
  Loop& loop_;
  Random& random_;
  const std::unique_ptr<DynamoDbReplica> table_;
  const std::string name_;  // of the table
  DynamoDbRetries retries_;
};

}  // namespace keyfs
