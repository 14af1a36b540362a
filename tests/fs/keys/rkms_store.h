// A store with records that RKMS wrote, and such records.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "fs/keys/keyring_fixture.h"

namespace keyfs::testing {

// A store that RKMS wrote to: its records stay until they are replaced.
class RkmsStore final : public Store {
 public:
  RkmsStore(Loop& loop, std::shared_ptr<MemoryRecords> records)
      : records_(records), ours_(loop, std::move(records)) {}

  std::map<std::string, Record> rkms;
  std::function<void()> before_replace;

  Task<Result<std::string>> identity(TimePoint deadline) override {
    return ours_.identity(deadline);
  }
  Task<Result<Got>> get(std::string id, Read read, TimePoint deadline) override {
    if (!is_theirs(id)) co_return co_await ours_.get(std::move(id), read, deadline);
    co_return Got{Stored{rkms.at(id), "rkms"}, true};
  }
  Task<Result<PutResult>> put_if_absent(Record record, TimePoint deadline) override {
    if (!is_theirs(record.id)) co_return co_await ours_.put_if_absent(std::move(record), deadline);
    PutResult lost;
    lost.winner = Stored{rkms.at(record.id), "rkms"};
    co_return lost;
  }
  Task<Result<std::optional<Stored>>> replace(Record record, std::string revision,
                                              TimePoint deadline) override {
    if (before_replace) std::exchange(before_replace, nullptr)();
    if (revision != "rkms") {
      co_return co_await ours_.replace(std::move(record), std::move(revision), deadline);
    }
    if (!is_theirs(record.id)) co_return std::nullopt;
    auto put = co_await ours_.put_if_absent(std::move(record), deadline);
    if (!put) co_return fail(put.error());
    co_return std::move(put->winner);
  }
  Task<Result<ListPage>> list(std::string after, size_t limit, TimePoint deadline) override {
    auto page = co_await ours_.list(std::move(after), limit, deadline);
    for (const auto& [id, record] : rkms) {
      if (!is_theirs(id)) continue;
      ListPage::Entry entry;
      entry.id = id;
      entry.current = 1;
      entry.from_rkms = true;
      for (const auto& [region, wrap] : record.versions.at(1).wrapped) {
        entry.masters.emplace(region, wrap.master);
      }
      page->entries.push_back(std::move(entry));
    }
    co_return page;
  }
  Task<StoreCheck> check(TimePoint deadline) override { return ours_.check(deadline); }

 private:
  bool is_theirs(const std::string& id) const { return rkms.contains(id) && !records_->find(id); }

  std::shared_ptr<MemoryRecords> records_;
  MemoryStore ours_;
};

// As RKMS did it: the same key wrapped in each region, bound to nothing, without a check value.
inline Record as_rkms(World& world, Daemon& daemon, const std::string& id,
                      const std::map<size_t, std::string>& key_of_region) {
  Record record;
  record.id = id;
  record.current = 1;
  record.from_rkms = true;
  const char* names[] = {"a", "b", "c"};
  for (const auto& [region, text] : key_of_region) {
    const SecretBytes key = world.arena.copy_of(std::string_view(text)).value();
    const TimePoint until = world.time.loop.now() + 10s;
    const auto wrapped =
        world.time.loop.run_task(daemon.region[region]->wrap(key, {}, until)).value();
    Wrap& wrap = record.versions[1].wrapped[names[region]];
    wrap.master = wrapped.master;  // RKMS did not record it; a local region needs it
    wrap.blob = wrapped.blob;
  }
  return record;
}

}  // namespace keyfs::testing
