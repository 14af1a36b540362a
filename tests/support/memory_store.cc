#include "support/memory_store.h"

#include <algorithm>
#include <utility>

#include "store/known_store.h"
#include "store/list_entry.h"

namespace keyfs {
std::optional<MemoryRecords::Row> MemoryRecords::find(const std::string& id) const {
  std::lock_guard lock(mutex_);
  const auto found = rows_.find(id);
  if (found == rows_.end()) return std::nullopt;
  return found->second;
}

std::pair<MemoryRecords::Row, bool> MemoryRecords::insert(const std::string& id, std::string json) {
  std::lock_guard lock(mutex_);
  const auto [place, inserted] = rows_.try_emplace(id);
  if (inserted) place->second = Row{std::move(json), ++last_revision_};
  return {place->second, inserted};
}

std::optional<uint64_t> MemoryRecords::update(const std::string& id, std::string json,
                                              const std::string& revision) {
  std::lock_guard lock(mutex_);
  const auto found = rows_.find(id);
  if (found == rows_.end() || std::to_string(found->second.revision) != revision) {
    return std::nullopt;
  }
  found->second = Row{std::move(json), ++last_revision_};
  return last_revision_;
}

std::map<std::string, MemoryRecords::Row> MemoryRecords::after(const std::string& id,
                                                               size_t limit) const {
  std::lock_guard lock(mutex_);
  std::map<std::string, Row> page;
  for (auto at = rows_.upper_bound(id); at != rows_.end() && page.size() < limit; ++at) {
    page.insert(*at);
  }
  return page;
}

void MemoryRecords::write_raw(const std::string& id, std::string bytes) {
  std::lock_guard lock(mutex_);
  rows_[id] = Row{std::move(bytes), ++last_revision_};
}

void MemoryRecords::erase(const std::string& id) {
  std::lock_guard lock(mutex_);
  rows_.erase(id);
}

Result<Stored> MemoryStore::to_stored(const MemoryRecords::Row& row, const std::string& id) const {
  auto record = parse_own_record(row.json, id, records_->id());
  if (!record) return fail(std::move(record.error()));
  return Stored{std::move(*record), std::to_string(row.revision), row.json};
}

Task<Result<std::string>> MemoryStore::identity(TimePoint deadline) {
  co_await loop_.yield();
  if (loop_.now() >= deadline) co_return fail(Code::kTimeout, "store: timed out");
  co_return records_->id();
}

Task<Result<Got>> MemoryStore::get(std::string id, Read, TimePoint deadline) {
  co_await loop_.yield();
  if (loop_.now() >= deadline) co_return fail(Code::kTimeout, "store: timed out");
  const auto row = records_->find(id);
  if (!row) co_return Got{std::nullopt, true};
  auto stored = to_stored(*row, id);
  if (!stored) co_return fail(std::move(stored.error()));
  co_return Got{std::move(*stored), true};
}

Task<Result<PutResult>> MemoryStore::put_if_absent(Record record, TimePoint deadline) {
  co_await loop_.yield();
  if (loop_.now() >= deadline) co_return fail(Code::kTimeout, "store: timed out");
  if (auto ok = check_may_write(record, records_->id()); !ok) co_return fail(ok.error());
  auto json = to_json(record);
  if (!json) co_return fail(std::move(json.error()));
  const auto [row, ours] = records_->insert(record.id, std::move(*json));
  auto stored = to_stored(row, record.id);
  if (!stored) co_return fail(std::move(stored.error()));
  co_return PutResult{ours, std::move(*stored)};
}

Task<Result<std::optional<Stored>>> MemoryStore::replace(Record record, std::string revision,
                                                         TimePoint deadline) {
  co_await loop_.yield();
  if (loop_.now() >= deadline) co_return fail(Code::kTimeout, "store: timed out");
  if (auto ok = check_may_write(record, records_->id()); !ok) co_return fail(ok.error());
  auto json = to_json(record);
  if (!json) co_return fail(std::move(json.error()));
  const auto changed = records_->update(record.id, std::move(*json), revision);
  if (!changed) co_return std::nullopt;
  co_return Stored{std::move(record), std::to_string(*changed)};
}

Task<Result<ListPage>> MemoryStore::list(std::string after, size_t limit, TimePoint deadline) {
  co_await loop_.yield();
  if (loop_.now() >= deadline) co_return fail(Code::kTimeout, "store: timed out");
  limit = std::max<size_t>(limit, 1);
  auto rows = records_->after(after, limit + 1);
  ListPage page;
  for (const auto& [id, row] : rows) {
    if (page.entries.size() == limit) {
      page.next = page.entries.back().id;
      break;
    }
    page.entries.push_back(to_list_entry(id, parse_own_record(row.json, id, records_->id())));
  }
  co_return page;
}

Task<StoreCheck> MemoryStore::check(TimePoint) {
  StoreCheck check;
  check.items.push_back({"reachable", true, "in memory, lost when the program ends", ""});
  co_return check;
}

}  // namespace keyfs
