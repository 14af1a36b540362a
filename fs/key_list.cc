#include "fs/key_list.h"

#include <chrono>
#include <utility>

#include "fs/key_id.h"

namespace keyfs {
namespace {

constexpr size_t kPage = 1000;

// With less time than this left, a pass that ran out of its time is not begun anew.
constexpr Duration kWorthATry = std::chrono::milliseconds(100);

}  // namespace

KeyList::KeyList(Loop& loop, Store& store, Duration reuse_for, uint32_t usual_bytes)
    : loop_(loop),
      store_(store),
      reuse_for_(reuse_for),
      usual_bytes_(usual_bytes),
      flights_(loop) {}

Task<Result<KeyNames>> KeyList::get(TimePoint deadline) {
  for (;;) {
    if (last_ != nullptr && loop_.now() - last_at_ < reuse_for_) co_return last_;
    // A pass that began before the last change may lack it, so it is not joined by those who came
    // after: the flight's key tells the two apart.
    const uint64_t changes = changes_;
    // Named, since g++ 12 may destroy a temporary in a co_await twice.
    Flights::Work work = [this, deadline, changes](Flights::Flight&) {
      return read(deadline, changes);
    };
    auto joined = flights_.join(std::to_string(changes), std::move(work));
    auto names = co_await before(loop_, deadline, "could not list the keys", std::move(joined));
    // The pass had the deadline of whoever was first; ours may be later.
    const bool again =
        !names && names.error().code == Code::kTimeout && deadline - loop_.now() >= kWorthATry;
    if (!again) co_return names;
  }
}

std::optional<uint32_t> KeyList::listed_bytes(std::string_view id) const {
  std::lock_guard lock(sizes_mutex_);
  const auto found = sizes_.find(id);
  if (found == sizes_.end()) return std::nullopt;
  return found->second;
}

void KeyList::changed() {
  ++changes_;
  last_ = nullptr;
}

Task<Result<KeyNames>> KeyList::read(TimePoint deadline, uint64_t changes) {
  const TimePoint begin = loop_.now();
  auto names = std::make_shared<std::vector<ListedKey>>();
  std::string after;
  for (;;) {
    auto page = co_await store_.list(after, kPage, deadline);
    if (!page) co_return fail(page.error().within("could not list the keys"));
    for (auto& entry : page->entries) {
      if (entry.state == KeyState::kDeleted || !is_key_id(entry.id)) continue;
      names->push_back({std::move(entry.id), entry.state, entry.bytes, entry.corrupt});
    }
    if (!page->next) break;
    after = std::move(*page->next);
  }
  Sizes sizes;
  for (const auto& key : *names) {
    if (!key.corrupt && key.bytes != usual_bytes_) sizes.emplace(key.id, key.bytes);
  }
  {
    std::lock_guard lock(sizes_mutex_);
    sizes_.swap(sizes);
  }
  if (changes == changes_) {
    last_ = names;
    last_at_ = begin;
  }
  co_return KeyNames(std::move(names));
}

}  // namespace keyfs
