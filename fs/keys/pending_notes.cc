#include "fs/keys/pending_notes.h"

#include <utility>

#include "fs/keys/record_memory.h"

namespace keyfs {
namespace {

// A disk that hangs must not fill the memory with what it is to do.
constexpr size_t kMost = 20'000;

bool takes_back(const ReplicaDb::Write& before, const ReplicaDb::Write& now) {
  if (before.json.empty() || before.json == now.json) return false;
  const auto old_record = record_of_row(before.json, before.id);
  const auto new_record = record_of_row(now.json, now.id);
  return old_record && new_record && goes_back(*old_record, *new_record);
}

}  // namespace

bool PendingNotes::add(Write write) {
  const auto known = notes_.find(write.id);
  if (known == notes_.end()) {
    if (notes_.size() >= kMost) return false;
    std::string id = write.id;
    notes_.emplace(std::move(id), std::move(write));
    return true;
  }
  Write& before = known->second;
  if (write.json.empty()) {
    before.doubted = true;
    if (before.json.empty()) before.confirmed = write.confirmed;
    return true;
  }
  if (only_seen(write.json)) {
    // Says nothing new where something is known, and a doubt about that stays.
    if (!before.json.empty() && !tells_more(before.json, write.json)) return true;
    before.json = std::move(write.json);
    before.revision = std::move(write.revision);
    before.strong = false;
    return true;
  }
  if (takes_back(before, write)) return true;
  if (!write.strong) {
    // It may be what was current before the change that the doubt announced.
    write.confirmed = before.confirmed;
    write.strong = before.strong && before.json == write.json;
    write.doubted = before.doubted;
  }
  before = std::move(write);
  return true;
}

const PendingNotes::Write* PendingNotes::find(const std::string& id) const {
  const auto found = notes_.find(id);
  return found == notes_.end() ? nullptr : &found->second;
}

std::vector<PendingNotes::Write> PendingNotes::all() const {
  std::vector<Write> all;
  all.reserve(notes_.size());
  for (const auto& [id, write] : notes_) all.push_back(write);
  return all;
}

void PendingNotes::written(const std::vector<Write>& writes) {
  for (const Write& write : writes) {
    const auto now = notes_.find(write.id);
    if (now != notes_.end() && now->second == write) notes_.erase(now);
  }
}

}  // namespace keyfs
