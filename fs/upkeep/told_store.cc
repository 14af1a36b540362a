#include "fs/upkeep/told_store.h"

#include "store/pulse.h"

namespace keyfs {

ToldStore::Served ToldStore::served(const Record& record) {
  Served told{record.state, record.current, record.min, {}};
  for (const auto& [number, version] : record.versions) {
    if (!version.destroyed.empty()) told.destroyed.insert(number);
  }
  return told;
}

void ToldStore::see(const Stored& stored) {
  seen_[stored.record.id] = {stored.revision, served(stored.record)};
}

Task<Result<Got>> ToldStore::get(std::string id, Read read, TimePoint deadline) {
  auto got = co_await store_.get(std::move(id), read, deadline);
  if (got && *got) see(**got);
  co_return got;
}

Task<Result<PutResult>> ToldStore::put_if_absent(Record record, TimePoint deadline) {
  auto put = co_await store_.put_if_absent(std::move(record), deadline);
  if (put) see(put->winner);
  co_return put;
}

Task<Result<std::optional<Stored>>> ToldStore::replace(Record record, std::string revision,
                                                       TimePoint deadline) {
  const std::string id = record.id;
  const auto before = seen_.find(id);
  const bool same = before != seen_.end() && before->second.first == revision &&
                    before->second.second == served(record);
  auto replaced = co_await store_.replace(std::move(record), std::move(revision), deadline);
  if (replaced && *replaced) see(**replaced);
  // A conflict may be our own write, whose answer was lost.
  const bool refused = !replaced && replaced.error().code == Code::kInvalid;
  if (!same && !refused) changed_.insert(id);
  co_return replaced;
}

Task<Result<void>> ToldStore::tell(TimePoint deadline) {
  const std::set<std::string> telling = changed_;
  Board* board = can_watch() ? nullptr : store_.board();
  if (board != nullptr && !telling.empty()) {
    PulseNews news;
    news.changed.assign(telling.begin(), telling.end());
    auto told = co_await tell_pulse(*board, loop_, random_, std::move(news), shards_, deadline);
    if (!told) co_return told;
  }
  for (const std::string& id : telling) changed_.erase(id);
  co_return Result<void>();
}

}  // namespace keyfs
