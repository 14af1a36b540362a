// The board of an etcd store: the keys PREFIX/board/NAME, through the members and the identity of
// the store.
//
// A value is the trail of marks (store/board_marks.h), a newline and the document; a document's
// revision is the key's mod_revision and its trail. Every write is one transaction that compares
// the store's id, as for records. A cluster that has gone back in time takes no write. get() and
// list() are linearizable; peek() is any member's own copy.
//
// Thread-safety, blocking, errors: as in store/board.h and store/etcd/store.h. Ownership: the store
// owns it.
#pragma once

#include <string>
#include <vector>

#include "store/board.h"
#include "store/etcd/client.h"
#include "store/etcd/messages.h"

namespace keyfs {

class EtcdStore;

class EtcdBoard final : public Board {
 public:
  EtcdBoard(EtcdStore& store, std::string prefix)
      : store_(store), documents_(std::move(prefix) + "/board/") {}

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
  bool can_watch() const override { return true; }
  Task<void> watch(BoardListener& listener) override;
  Task<std::vector<CheckItem>> check(TimePoint deadline) override;

 private:
  Task<Result<std::optional<BoardDocument>>> read(std::string name, bool serializable,
                                                  TimePoint deadline);
  // Whether something may be written now.
  Task<Result<void>> may_write(TimePoint deadline);
  Task<Result<BoardWrite>> write(std::string name, std::string text, EtcdCompare compare,
                                 std::string trail, TimePoint deadline);

  EtcdStore& store_;
  const std::string documents_;  // the prefix of all
};

}  // namespace keyfs
