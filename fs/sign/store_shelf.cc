#include "fs/sign/store_shelf.h"

#include <algorithm>
#include <set>
#include <utility>
#include <vector>

#include "base/race.h"
#include "fs/keys/host_memory.h"
#include "fs/keys/in_keeping.h"
#include "fs/keys/notebook.h"
#include "fs/policy/key_id.h"
#include "store/board.h"
#include "store/record_versions.h"

namespace keyfs {
namespace {

constexpr size_t kShelfPage = 500;
// The names that there are, one document each, since a list of all records costs too much where it
// is paid for. Each is written before its record: one without a record stands for no name.
constexpr std::string_view kShelfIndex = "sign/";
constexpr Duration kIndexPatience = std::chrono::seconds(2);
// What a shelf waits for this host's memory, and for a note to be on disk.
constexpr Duration kRecallPatience = std::chrono::milliseconds(500);
constexpr Duration kNotingPatience = std::chrono::seconds(2);
// Versions in a record, destroyed ones included; and what is left for wraps that come later.
constexpr size_t kMostShelved = kMaxLiveVersions;
constexpr size_t kShelfReserve = size_t{16} << 10;

std::string signing_id(const std::string& name) { return std::string(kSigningPrefix) + name; }
std::string index_name(const std::string& name) { return std::string(kShelfIndex) + name; }

Error damaged_on_shelf(const std::string& name, const std::string& why) {
  return {Code::kCorrupt, "the record of signing key " + name + " is corrupt: " + why};
}

Result<Shelved> to_shelved(const std::string& name, const Stored& stored) {
  const Record& record = stored.record;
  if (record.kind != kSigningKind)
    return fail(damaged_on_shelf(name, "it is not one of a signing key"));
  Shelved shelved;
  shelved.name = name;
  shelved.disabled = record.state == KeyState::kDisabled;
  shelved.deleted = record.state == KeyState::kDeleted;
  shelved.current = record.current;
  shelved.origin = record.origin;
  shelved.serial = record.serial;
  shelved.last = last_version(record);
  shelved.revision = stored.revision;
  for (const auto& [number, version] : record.versions) {
    const std::string what = "version " + std::to_string(number);
    const auto type = parse_signing_key_type(version.type);
    if (!type)
      return fail(damaged_on_shelf(name, what + " is of a type that this keyfs does not know"));
    if (!version.check) return fail(damaged_on_shelf(name, what + " has no check value"));
    ShelvedVersion out;
    out.number = number;
    out.type = *type;
    out.public_der = version.public_key;
    out.created = version.created;
    for (const auto& [region, wrap] : version.wrapped) {
      out.wrapped.emplace(region, WrappedKey{wrap.master, wrap.blob});
    }
    out.check = *version.check;
    out.bytes = version.bytes;
    shelved.versions.push_back(std::move(out));
  }
  return shelved;
}

Version to_version(const ShelvedVersion& shelved, const std::string& creator) {
  Version version;
  version.created = shelved.created;
  version.creator = creator;
  version.bytes = shelved.bytes;
  version.check = shelved.check;
  version.type = std::string(to_string(shelved.type));
  version.public_key = shelved.public_der;
  for (const auto& [region, wrapped] : shelved.wrapped) {
    Wrap& wrap = version.wrapped[region];
    wrap.master = wrapped.master;
    wrap.blob = wrapped.blob;
    wrap.at = shelved.created;
  }
  return version;
}

KeyState shelf_state(const Shelved& shelved) {
  if (shelved.deleted) return KeyState::kDeleted;
  return shelved.disabled ? KeyState::kDisabled : KeyState::kEnabled;
}

// Destroyed versions make room for new ones, the oldest first.
Result<void> make_room(Record& record) {
  for (;;) {
    const auto text = to_json_unchecked(record);
    if (!text) return fail(text.error());
    const bool small = text->size() + kShelfReserve <= kMaxRecordBytes;
    if (small && record.versions.size() <= kMostShelved) return {};
    const auto old =
        std::find_if(record.versions.begin(), record.versions.end(), [&](const auto& version) {
          return !version.second.destroyed.empty() && version.first != record.current;
        });
    if (old == record.versions.end()) {
      return fail(Code::kInvalid,
                  "its record is full of keys that are still to be deleted: rotate it less often");
    }
    record.versions.erase(old);
  }
}

// Brings a record to what is to be kept. What a shelf knows nothing of stays.
void bring_to_record(const Shelved& shelved, const std::string& creator, const std::string& now,
                     Record& record) {
  for (const auto& version : shelved.versions) {
    const auto there = record.versions.find(version.number);
    if (there == record.versions.end()) {
      record.versions.emplace(version.number, to_version(version, creator));
    } else if (version.wrapped.empty() && there->second.destroyed.empty()) {
      there->second.wrapped.clear();
      there->second.destroyed = now;
    }
  }
  const KeyState state = shelf_state(shelved);
  if (record.serial == 0 || record.state != state || record.current != shelved.current) {
    ++record.serial;
  }
  if (record.current != shelved.current) record.versions.at(shelved.current).promoted = now;
  record.state = state;
  record.current = shelved.current;
  record.last = std::max(record.last, record.versions.rbegin()->first);
}

class StoreShelf final : public SigningShelf {
 public:
  StoreShelf(Loop& loop, Store& store, std::string creator, ShelfNotes notes)
      : loop_(loop), store_(store), creator_(std::move(creator)), notes_(notes) {}

  Task<Result<std::string>> origin(TimePoint deadline) override {
    auto id = co_await store_.identity(deadline);
    if (!id) co_return fail(as_outage(std::move(id.error())));
    co_return id;
  }

  Result<void> check_name(const std::string& name) const override {
    if (is_key_id(name) && name.size() <= kMaxKeyId - kSigningPrefix.size()) return {};
    return fail(Code::kInvalid,
                "this is not a valid id of a signing key: " + std::string(kKeyIdRule) +
                    ", and at most " + std::to_string(kMaxKeyId - kSigningPrefix.size()) +
                    " for one that is wrapped");
  }

  std::string record_id(const std::string& name) const override { return signing_id(name); }

  Task<Result<std::vector<std::string>>> names(TimePoint deadline) override {
    std::set<std::string> names;
    auto same = co_await check_same_store(store_, deadline);
    if (!same) co_return fail(as_outage(std::move(same.error())));
    Result<void> listed = fail(Code::kDenied, "there is no board");
    if (store_.board() != nullptr) listed = co_await listed_names(names, deadline);
    if (!listed && listed.error().code == Code::kDenied) {
      names.clear();
      listed = co_await scanned_names(names, deadline);
    }
    if (!listed) co_return fail(as_outage(std::move(listed.error())));
    co_return std::vector<std::string>(names.begin(), names.end());
  }

  Task<Result<std::optional<Shelved>>> get(std::string name, bool strong,
                                           TimePoint deadline) override {
    auto got = co_await store_.get(signing_id(name), strong ? Read::kStrong : Read::kAny, deadline);
    if (!got) co_return fail(as_outage(std::move(got.error())));
    auto right = co_await remembered(name, std::move(*got), deadline);
    if (!right) co_return fail(std::move(right.error()));
    if (!*right) co_return std::optional<Shelved>();
    // It was made while the board was not there.
    if (listed_ && !indexed_.contains(name)) (void)co_await add_to_index(name, deadline);
    auto shelved = to_shelved(name, **right);
    if (!shelved) co_return fail(std::move(shelved.error()));
    co_return std::optional<Shelved>(std::move(*shelved));
  }

  Task<Result<std::optional<Shelved>>> save(Shelved shelved, TimePoint deadline) override {
    if (auto good = check_name(shelved.name); !good) co_return fail(std::move(good.error()));
    if (shelved.revision.empty()) co_return co_await save_first(std::move(shelved), deadline);
    auto got = co_await store_.get(signing_id(shelved.name), Read::kStrong, deadline);
    if (!got) co_return fail(as_outage(std::move(got.error())));
    if (!*got || (*got)->revision != shelved.revision) co_return std::optional<Shelved>();
    Record record = std::move((*got)->record);
    bring_to_record(shelved, creator_, to_rfc3339(loop_.clock().wall()), record);
    if (auto fits = make_room(record); !fits) co_return fail(std::move(fits.error()));
    auto replaced = co_await store_.replace(std::move(record), shelved.revision, deadline);
    if (!replaced) co_return fail(as_outage(std::move(replaced.error())));
    if (!*replaced) co_return std::optional<Shelved>();
    co_await write_down(**replaced);
    auto saved = to_shelved(shelved.name, **replaced);
    if (!saved) co_return fail(std::move(saved.error()));
    co_return std::optional<Shelved>(std::move(*saved));
  }

 private:
  Task<Result<std::optional<Shelved>>> save_first(Shelved shelved, TimePoint deadline) {
    Record record;
    record.id = signing_id(shelved.name);
    record.kind = std::string(kSigningKind);
    record.origin = shelved.origin;
    bring_to_record(shelved, creator_, to_rfc3339(loop_.clock().wall()), record);
    auto may = co_await may_make(shelved.name, deadline);
    if (!may) co_return fail(std::move(may.error()));
    auto indexed = co_await add_to_index(shelved.name, deadline);
    if (!indexed) co_return fail(indexed.error().within("its name could not be noted"));
    Record copy = record;
    auto put = co_await store_.put_if_absent(std::move(copy), deadline);
    if (!put) co_return fail(as_outage(std::move(put.error())));
    // A write that was sent twice may have lost to its own first attempt.
    if (put->winner.record != record) co_return std::optional<Shelved>();
    co_await write_down(put->winner);
    auto saved = to_shelved(shelved.name, put->winner);
    if (!saved) co_return fail(std::move(saved.error()));
    co_return std::optional<Shelved>(std::move(*saved));
  }

  Task<std::optional<Recall>> recall(std::string name, TimePoint deadline) {
    TaskGroup<Recall> asked(loop_);
    asked.start(notes_.memory->recall(signing_id(name)));
    auto told = co_await asked.next(std::min(deadline, loop_.now() + kRecallPatience));
    if (!told) co_return std::nullopt;
    co_return std::move(told->value);
  }

  // What the store says, held against this host's memory, and noted there. nullopt: there is no
  // record, and this host has not seen one.
  Task<Result<std::optional<Stored>>> remembered(std::string name, Got got, TimePoint deadline) {
    if (notes_.memory == nullptr) co_return std::move(got.stored);
    std::optional<Stored> found = std::move(got.stored);
    if (found) {
      auto right = co_await in_keeping(loop_, store_, *notes_.memory, std::move(*found), deadline);
      if (!right) co_return fail(as_outage(std::move(right.error())));
      found = std::move(*right);
    }
    if (found) {
      notes_.memory->note(*found, got.strong);
      co_return found;
    }
    const auto told = co_await recall(name, deadline);
    if (told && (told->what == Recall::What::kKnown || told->stored)) {
      co_return fail(lost_by_store(name));
    }
    co_return std::optional<Stored>();
  }

  Error lost_by_store(const std::string& name) const {
    return {Code::kCorrupt,
            "the store no longer has the record of signing key " + name +
                ", which this host has seen; restore the store, or, if the loss is intended, " +
                notes_.memory->forget()};
  }

  // Unknown counts as seen: a second key for an id is worse than none.
  Task<Result<void>> may_make(std::string name, TimePoint deadline) {
    if (notes_.memory == nullptr) co_return Result<void>();
    const std::string what = "no signing key is made, because this host could not remember it: ";
    if (std::string trouble = notes_.memory->trouble(); !trouble.empty()) {
      co_return fail(Code::kUnavailable, what + trouble);
    }
    const auto told = co_await recall(name, deadline);
    if (!told || told->what == Recall::What::kUnknown) {
      co_return fail(Code::kUnavailable,
                     "no signing key is made, because this host cannot tell whether it has seen " +
                         name + (told && told->why ? ": " + told->why->message : ""));
    }
    if (told->what == Recall::What::kKnown) co_return fail(lost_by_store(name));
    auto proving = notes_.notebook->prove();
    auto why_not = co_await done_by(loop_, std::move(proving),
                                    std::min(deadline, loop_.now() + kNotingPatience));
    if (why_not) co_return fail(Code::kUnavailable, what + why_not->message);
    co_return Result<void>();
  }

  // Of a change that has happened: it stays so if it cannot be noted.
  Task<void> write_down(Stored stored) {
    if (notes_.notebook == nullptr) co_return;
    auto noting = notes_.notebook->write_down(std::move(stored), true);
    (void)co_await done_by(loop_, std::move(noting), loop_.now() + kNotingPatience);
  }

  Task<Result<void>> listed_names(std::set<std::string>& names, TimePoint deadline) {
    std::string after;
    for (;;) {
      auto page =
          co_await store_.board()->list(std::string(kShelfIndex), after, kMaxBoardPage, deadline);
      if (!page) co_return fail(std::move(page.error()));
      for (const auto& document : page->documents) note(document.name, names);
      for (const auto& name : page->corrupt) note(name, names);
      if (!page->next) break;
      after = std::move(*page->next);
    }
    indexed_ = names;
    listed_ = true;
    co_return Result<void>();
  }

  static void note(std::string_view document, std::set<std::string>& names) {
    if (!document.starts_with(kShelfIndex)) return;
    document.remove_prefix(kShelfIndex.size());
    if (is_key_id(document)) names.insert(std::string(document));
  }

  // Where there is no board.
  Task<Result<void>> scanned_names(std::set<std::string>& names, TimePoint deadline) {
    std::string after;
    for (;;) {
      auto page = co_await store_.list(after, kShelfPage, deadline);
      if (!page) co_return fail(std::move(page.error()));
      for (const auto& entry : page->entries) {
        if (entry.state == KeyState::kDeleted || !is_signing_record_id(entry.id)) continue;
        names.insert(entry.id.substr(kSigningPrefix.size()));
      }
      if (!page->next) break;
      after = std::move(*page->next);
    }
    co_return Result<void>();
  }

  Task<Result<void>> add_to_index(std::string name, TimePoint deadline) {
    if (store_.board() == nullptr || indexed_.contains(name)) co_return Result<void>();
    const TimePoint until = std::min(deadline, loop_.now() + kIndexPatience);
    auto putting = store_.board()->put_if_absent(index_name(name), "{}", until);
    auto put = co_await before(loop_, until, "the board did not answer", std::move(putting));
    // No board at all: names are found by going through the records.
    if (!put && put.error().code != Code::kDenied) co_return fail(std::move(put.error()));
    if (put) indexed_.insert(std::move(name));
    co_return Result<void>();
  }

  Loop& loop_;
  Store& store_;
  const std::string creator_;
  const ShelfNotes notes_;
  bool listed_ = false;            // the board's list was read
  std::set<std::string> indexed_;  // names that have their document
};

}  // namespace

std::unique_ptr<SigningShelf> make_store_shelf(Loop& loop, Store& store, std::string creator,
                                               ShelfNotes notes) {
  return std::make_unique<StoreShelf>(loop, store, std::move(creator), notes);
}

}  // namespace keyfs
