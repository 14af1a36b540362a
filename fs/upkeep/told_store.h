// A store through which records are changed, and that tells other hosts of it by the pulse, where
// they would not hear of it otherwise: a store that can announce changes does that by itself.
//
// What is told is that hosts serve something else now: another state, current or lowest version, or
// versions that were destroyed. New keys, pending versions and wraps that were added or made anew
// concern nobody who has read the record. A write whose outcome is not known is told of as well.
//
// It is told by tell(), after the change, since the change is not to wait for it: a process that
// dies in between has told nobody, and so has one whose pulse is out. Other hosts then hear of it
// when they check the record in their own time, within `fresh_for`.
//
// Thread-safety: none; on the loop's thread. Ownership: refers to its parts, which outlive it.
// Blocking: never. Errors: of tell() the board's; of all else the store's.
#pragma once

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/crypto.h"
#include "base/loop.h"
#include "store/store.h"

namespace keyfs {

class ToldStore final : public Store {
 public:
  // `shards`: of the pulse. Remembers each record that goes through it: for commands, not for
  // daemons.
  ToldStore(Loop& loop, Store& store, Random& random, unsigned shards)
      : loop_(loop), store_(store), random_(random), shards_(shards) {}

  // Whether there is something that others do not hear of yet.
  bool has_news() const { return !changed_.empty(); }
  // Tells all that was changed and not told yet.
  Task<Result<void>> tell(TimePoint deadline);

  Task<Result<std::string>> identity(TimePoint deadline) override {
    return store_.identity(deadline);
  }
  Task<Result<Got>> get(std::string id, Read read, TimePoint deadline) override;
  Task<Result<PutResult>> put_if_absent(Record record, TimePoint deadline) override;
  Task<Result<std::optional<Stored>>> replace(Record record, std::string revision,
                                              TimePoint deadline) override;
  Task<Result<ListPage>> list(std::string after, size_t limit, TimePoint deadline) override {
    return store_.list(std::move(after), limit, deadline);
  }
  bool can_watch() const override { return store_.can_watch(); }
  Task<void> watch(ChangeListener& listener) override { return store_.watch(listener); }
  Board* board() override { return store_.board(); }
  Task<StoreCheck> check(TimePoint deadline) override { return store_.check(deadline); }
  std::string trouble() const override { return store_.trouble(); }
  Task<Result<TableMade>> make_table(TimePoint deadline) override {
    return store_.make_table(deadline);
  }

 private:
  // What a host goes by that has read the record.
  struct Served {
    KeyState state = KeyState::kEnabled;
    uint32_t current = 0;
    uint32_t min = 0;
    std::set<uint32_t> destroyed;
    bool operator==(const Served&) const = default;
  };
  static Served served(const Record& record);
  void see(const Stored& stored);

  Loop& loop_;
  Store& store_;
  Random& random_;
  const unsigned shards_;
  // By id: what was last seen of it, at which revision.
  std::map<std::string, std::pair<std::string, Served>> seen_;
  std::set<std::string> changed_;
};

}  // namespace keyfs
