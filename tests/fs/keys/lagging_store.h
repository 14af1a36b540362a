// A store with a stale copy: what Read::kAny finds may be old, as from a DynamoDB replica or an
// etcd member that was cut off from its peers.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "support/memory_store.h"

namespace keyfs::testing {

class LaggingStore final : public Store {
 public:
  LaggingStore(Loop& loop, std::shared_ptr<MemoryRecords> records)
      : real_(loop, std::move(records)), loop_(loop) {}

  // Makes Read::kAny see the current state.
  void fall_behind(const MemoryRecords& records, const std::string& id) {
    copy_ = std::make_shared<MemoryRecords>();
    if (const auto row = records.find(id)) copy_->write_raw(id, row->json);
    behind_ = std::make_unique<MemoryStore>(loop_, copy_);
  }
  void catch_up() { behind_.reset(); }
  bool cut_off = false;  // strong reads fail
  int strong = 0, any = 0;

  Task<Result<std::string>> identity(TimePoint deadline) override {
    return real_.identity(deadline);
  }
  Task<Result<Got>> get(std::string id, Read read, TimePoint deadline) override {
    ++(read == Read::kStrong ? strong : any);
    if (read == Read::kAny && behind_ != nullptr) {
      auto found = co_await behind_->get(id, read, deadline);
      if (!found) co_return found;
      found->strong = false;
      if (*found) co_return found;
    }
    if (cut_off) co_return fail(Code::kUnavailable, "cut off from its peers");
    co_return co_await real_.get(std::move(id), read, deadline);
  }
  Task<Result<PutResult>> put_if_absent(Record record, TimePoint deadline) override {
    return real_.put_if_absent(std::move(record), deadline);
  }
  Task<Result<std::optional<Stored>>> replace(Record record, std::string revision,
                                              TimePoint deadline) override {
    return real_.replace(std::move(record), std::move(revision), deadline);
  }
  Task<Result<ListPage>> list(std::string after, size_t limit, TimePoint deadline) override {
    return real_.list(std::move(after), limit, deadline);
  }
  Board* board() override { return real_.board(); }
  Task<StoreCheck> check(TimePoint deadline) override { return real_.check(deadline); }

 private:
  MemoryStore real_;
  Loop& loop_;
  std::shared_ptr<MemoryRecords> copy_;
  std::unique_ptr<MemoryStore> behind_;
};

}  // namespace keyfs::testing
