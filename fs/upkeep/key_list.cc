#include "fs/upkeep/key_list.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/race.h"
#include "fs/policy/key_id.h"

namespace keyfs {
namespace {

// With less time than this left, a page that failed on another caller's deadline is not retried.
constexpr Duration kWorthATry = std::chrono::milliseconds(100);

// How many sizes are examined before the loop runs others.
constexpr size_t kSlice = 2'000;

constexpr const char* kWhat = "could not list the keys";

}  // namespace

KeyPage::KeyPage(std::span<const ListedKey> keys, bool last) : last_(last) {
  size_t length = 0;
  for (const ListedKey& key : keys) length += key.id.size();
  text_.reserve(length);
  keys_.reserve(keys.size());
  for (const ListedKey& key : keys) {
    keys_.push_back({static_cast<uint32_t>(text_.size()), key.bytes,
                     static_cast<uint8_t>(key.id.size()), key.state, key.corrupt});
    text_ += key.id;
  }
}

ListedKey KeyPage::operator[](size_t index) const {
  const Key& key = keys_[index];
  return {std::string_view(text_).substr(key.place, key.length), key.state, key.bytes, key.corrupt};
}

// A page being read belongs to the pass, not to its waiters: they may come back for it (an
// interrupted READDIR is sent again). It ends at its deadline, or with the pass.
class KeyList::Pass final : public KeyListing, public std::enable_shared_from_this<Pass> {
 public:
  explicit Pass(KeyList& list)
      : list_(list),
        number_(++list.passes_),
        changes_(list.changes_),
        began_(list.loop_.now()),
        flights_(list.loop_) {}

  Task<Result<KeyPageRef>> page(size_t number, TimePoint deadline) override {
    const auto self = shared_from_this();
    Loop& loop = list_.loop_;
    while (number >= pages_.size()) {
      // Named, since g++ 12 may destroy a temporary in a co_await twice.
      Flights::Work work = [this, deadline](Flights::Flight& flight) {
        flight.pin();
        return before(list_.loop_, deadline, kWhat, read(deadline));
      };
      auto joined = flights_.join("next", std::move(work));
      const auto next = co_await before(loop, deadline, kWhat, std::move(joined));
      if (next) continue;
      // It had its first caller's deadline; ours may be later.
      const bool again = next.error().code == Code::kTimeout && deadline - loop.now() >= kWorthATry;
      if (!again) co_return fail(next.error());
    }
    co_return pages_[number];
  }

  KeyPageRef known(size_t number) const override {
    return number < pages_.size() ? pages_[number] : nullptr;
  }

  // The current waiters.
  bool may_join() const {
    // A pass that began before the last change may lack it.
    if (changes_ != list_.changes_ || complete()) return false;
    return pages_.empty() || list_.loop_.now() - began_ < std::max(list_.reuse_for_, kJoin);
  }
  bool complete() const { return !pages_.empty() && pages_.back()->last(); }
  TimePoint began() const { return began_; }

 private:
  using Flights = SingleFlight<Result<KeyPageRef>>;

  Task<Result<KeyPageRef>> read(TimePoint deadline) {
    if (pages_.empty()) {
      began_ = list_.loop_.now();
      list_.begin_names(usual_);
    }
    const auto listed = co_await list_.store_.list(after_, list_.page_, deadline);
    if (!listed) co_return fail(as_outage(listed.error()).within(kWhat));
    std::vector<ListedKey> keys;
    keys.reserve(listed->entries.size());
    for (const auto& entry : listed->entries) {
      if (entry.state == KeyState::kDeleted || !is_key_id(entry.id)) continue;
      keys.push_back({entry.id, entry.state, entry.bytes, entry.corrupt});
    }
    const bool last = !listed->next;
    auto page = std::make_shared<const KeyPage>(keys, last);
    list_.note_sizes(*page, *usual_);
    if (last) list_.keep_names(usual_);
    if (last) co_await list_.forget_sizes(number_);
    if (!last) after_ = *listed->next;
    pages_.push_back(page);
    if (last && changes_ == list_.changes_) list_.keep(shared_from_this());
    co_return page;
  }

  KeyList& list_;
  const uint64_t number_;
  const uint64_t changes_;  // changes that it certainly shows
  TimePoint began_;
  std::string after_;
  const std::shared_ptr<ListedNames> usual_ =
      std::make_shared<ListedNames>(list_.sizes_.hash_function());
  std::vector<KeyPageRef> pages_;
  Flights flights_;  // one at most, pinned
};

KeyList::Expire::Expire(KeyList& owner)
    : Ready([](Ready& self) { static_cast<Expire&>(self).list.expire(); }), list(owner) {}

KeyList::KeyList(Loop& loop, Store& store, Duration reuse_for, uint32_t usual_bytes,
                 const SipHash& hash, size_t page)
    : loop_(loop),
      store_(store),
      reuse_for_(reuse_for),
      usual_bytes_(usual_bytes),
      page_(page),
      expire_(*this),
      expiry_(loop),
      sizes_(0, hash) {}

KeyList::~KeyList() = default;

std::shared_ptr<KeyListing> KeyList::open() {
  if (last_ != nullptr && may_reuse(*last_)) return last_;
  auto pass = newest_.lock();
  if (pass == nullptr || !pass->may_join()) {
    pass = std::make_shared<Pass>(*this);
    newest_ = pass;
  }
  return pass;
}

void KeyList::changed() {
  ++changes_;
  last_ = nullptr;
}

void KeyList::keep(std::shared_ptr<Pass> complete) {
  if (!may_reuse(*complete)) return;
  if (last_ != nullptr && last_->began() > complete->began()) return;
  last_ = std::move(complete);
  expiry_.start(last_->began() + reuse_for_, expire_);
}

bool KeyList::may_reuse(const Pass& complete) const {
  return loop_.now() - complete.began() < reuse_for_;
}

void KeyList::expire() {
  if (last_ != nullptr && !may_reuse(*last_)) last_ = nullptr;
}

std::optional<uint32_t> KeyList::listed_bytes(std::string_view id) const {
  std::lock_guard lock(sizes_mutex_);
  if (const auto found = sizes_.find(id); found != sizes_.end()) return found->second.bytes;
  for (const auto* names : {growing_.get(), complete_.get()}) {
    if (names != nullptr && names->contains(id)) return usual_bytes_;
  }
  return std::nullopt;
}

void KeyList::begin_names(const std::shared_ptr<ListedNames>& usual) {
  std::lock_guard lock(sizes_mutex_);
  growing_ = usual;
}

void KeyList::keep_names(const std::shared_ptr<ListedNames>& usual) {
  std::lock_guard lock(sizes_mutex_);
  complete_ = usual;
  if (growing_ == usual) growing_ = nullptr;
}

void KeyList::note_sizes(const KeyPage& page, ListedNames& usual) {
  std::lock_guard lock(sizes_mutex_);
  for (size_t i = 0; i < page.size(); ++i) {
    const ListedKey key = page[i];
    if (key.corrupt) continue;
    if (key.bytes != usual_bytes_) {
      sizes_.insert_or_assign(std::string(key.id), Size{key.bytes, passes_});
      continue;
    }
    if (const auto other = sizes_.find(key.id); other != sizes_.end()) sizes_.erase(other);
    usual.add(key.id);
  }
}

// In slices. If the table grows in the meantime, some entries are examined twice or not at all; the
// next pass handles those.
Task<void> KeyList::forget_sizes(uint64_t pass) {
  std::vector<std::string> gone;
  for (size_t bucket = 0;;) {
    {
      std::lock_guard lock(sizes_mutex_);
      const size_t end = std::min(bucket + kSlice, sizes_.bucket_count());
      for (; bucket < end; ++bucket) {
        for (auto size = sizes_.begin(bucket); size != sizes_.end(bucket); ++size) {
          if (size->second.seen < pass) gone.push_back(size->first);
        }
      }
      for (const std::string& id : gone) sizes_.erase(id);
      if (bucket >= sizes_.bucket_count()) co_return;
    }
    gone.clear();
    co_await loop_.yield();
  }
}

}  // namespace keyfs
