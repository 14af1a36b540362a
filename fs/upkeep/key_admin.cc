#include "fs/upkeep/key_admin.h"

#include <algorithm>
#include <utility>

#include "fs/keys/creation_gate.h"
#include "fs/keys/in_keeping.h"
#include "fs/keys/key_check.h"
#include "fs/keys/key_maker.h"
#include "fs/policy/key_id.h"

namespace keyfs {
namespace {

// How often a change is retried because another process changed the record.
constexpr int kTries = 5;
// How long a change that was made at the end of its time still waits until it is noted.
constexpr Duration kNotePatience = std::chrono::seconds(1);
// How long a command that only looks waits for it: the answer does not depend on it.
constexpr Duration kSeePatience = std::chrono::milliseconds(500);

Result<void> check_id(const std::string& id) {
  if (is_key_id(id)) return {};
  return fail(Code::kInvalid, "this is not a valid key id: " + std::string(kKeyIdRule));
}

std::string_view verb_of(KeyState state) {
  switch (state) {
    case KeyState::kEnabled:
      return "enable";
    case KeyState::kDisabled:
      return "disable";
    case KeyState::kDeleted:
      break;
  }
  return "delete";
}

AdminCreated existing(const Record& record) {
  AdminCreated found;
  found.version = record.current;
  found.state = record.state;
  const auto current = record.versions.find(record.current);
  if (current == record.versions.end()) return found;
  for (const auto& [region, wrap] : current->second.wrapped) found.regions.push_back(region);
  return found;
}

// What the healer would fill in of a key that is there.
Task<std::vector<RegionFailure>> lacking_in(Regions& regions, const Record& record) {
  std::vector<RegionFailure> missing;
  const auto current = record.versions.find(record.current);
  if (current == record.versions.end() || record.from_rkms || record.state == KeyState::kDeleted) {
    co_return missing;
  }
  const WrappedKeys wraps = wraps_of(current->second);
  // Which master stands in for another is known once the masters are.
  if (!regions.lacking(wraps).empty()) co_await regions.keep_warm();
  for (auto& region : regions.lacking(wraps)) {
    missing.push_back({region, Error(Code::kUnavailable,
                                     "it is not wrapped there; run: keyfs heal " + record.id)});
  }
  co_return missing;
}

bool is_tombstone(const Record& record) {
  return record.state == KeyState::kDeleted &&
         std::all_of(record.versions.begin(), record.versions.end(),
                     [](const auto& version) { return version.second.wrapped.empty(); });
}

// What identifies the versions stays, but nothing that gives a key.
void make_tombstone(Record& record, const std::string& now) {
  record.pending = 0;
  for (auto& [number, version] : record.versions) {
    version.wrapped.clear();
    if (version.destroyed.empty()) version.destroyed = now;
  }
}

}  // namespace

Error no_such_key(const std::string& id) { return {Code::kInvalid, "there is no key " + id}; }

std::string_view word_of(const Error& error, const std::string& id) {
  return error.message == no_such_key(id).message ? "absent" : to_string(error.code);
}

bool KeyDescription::degraded() const {
  return std::any_of(versions.begin(), versions.end(), [this](const VersionInfo& info) {
    return info.version == current && state != KeyState::kDeleted &&
           !(info.missing.empty() && info.other_master.empty());
  });
}

KeyAdmin::KeyAdmin(Loop& loop, Store& store, Regions& regions, HostMemory& memory,
                   Notebook& notebook, std::string creator)
    : loop_(loop),
      store_(store),
      regions_(regions),
      memory_(memory),
      notebook_(notebook),
      creator_(std::move(creator)) {}

Task<Result<AdminCreated>> KeyAdmin::create(std::string id, uint32_t bytes, TimePoint deadline) {
  if (auto ok = check_id(id); !ok) co_return fail(std::move(ok.error()));
  auto found = co_await store_.get(id, Read::kAny, deadline);
  if (!found) {
    if (found.error().code == Code::kCorrupt) co_await see(id, sighting_of(found.error()));
    co_return fail(found.error().within("could not create key " + id));
  }
  if (*found) co_return co_await already_there(std::move(**found), found->strong, deadline);

  const auto pass = co_await ask_to_create(loop_, memory_, id, deadline);
  if (!pass && pass.error().code == Code::kCorrupt) {
    // Lost; or another command has made it, and noted that, since the store was asked.
    found = co_await store_.get(id, Read::kStrong, deadline);
    if (found && *found) co_return co_await already_there(std::move(**found), true, deadline);
  }
  if (!pass) co_return fail(pass.error());
  // Before anything is created: a key that this host can't remember could be created twice.
  auto proving = notebook_.prove();
  if (const auto why_not = co_await done_by(loop_, std::move(proving), deadline)) {
    co_return fail(
        Code::kUnavailable,
        "key " + id + " is not created: this host could not remember it: " + why_not->message);
  }
  MakeRequest wish(*pass, bytes, creator_, deadline);
  auto made = co_await make_key(loop_, store_, regions_, std::move(wish));
  if (!made) co_return fail(std::move(made.error()));
  AdminCreated created = existing(made->stored.record);
  created.created = made->ours;
  created.missing = std::move(made->missing);
  created.not_noted = co_await note(std::move(made->stored), true, deadline);
  co_return created;
}

Task<Result<AdminCreated>> KeyAdmin::already_there(Stored found, bool strong, TimePoint deadline) {
  const std::string id = found.record.id;
  const std::string revision = found.revision;
  auto right = co_await in_keeping(loop_, store_, memory_, std::move(found), deadline);
  // A key that reading it would refuse is no key that exists.
  if (!right) co_return fail(right.error().within("could not create key " + id));
  if (!*right) {
    co_return fail(Code::kUnavailable,
                   "could not create key " + id + ": its record was removed just now; try again");
  }
  Stored& stored = **right;
  AdminCreated there = existing(stored.record);
  there.missing = co_await lacking_in(regions_, stored.record);
  strong = strong || stored.revision != revision;  // asked once more
  there.not_noted = co_await note(std::move(stored), strong, deadline);
  co_return there;
}

Task<Result<StateChange>> KeyAdmin::set_state(std::string id, KeyState state, TimePoint deadline) {
  if (auto ok = check_id(id); !ok) co_return fail(std::move(ok.error()));
  const std::string what = "could not " + std::string(verb_of(state)) + " key " + id;
  for (int attempt = 0; attempt < kTries; ++attempt) {
    auto found = co_await look_up(id, what, deadline);
    if (!found) co_return fail(std::move(found.error()));
    Stored stored = std::move(*found);
    StateChange change{stored.record.state, state, std::nullopt};
    // An older keyfs left the wraps in the records of deleted keys.
    const bool done =
        state == KeyState::kDeleted ? is_tombstone(stored.record) : change.before == state;
    if (done) {
      change.not_noted = co_await note(std::move(stored), true, deadline);
      co_return change;
    }
    if (change.before == KeyState::kDeleted && state != KeyState::kDeleted) {
      co_return fail(Code::kInvalid, what + ": it was deleted, which is permanent");
    }
    if (stored.record.from_rkms) {
      co_return fail(Code::kInvalid, what +
                                         ": RKMS wrote its record, which has no state; adopt it "
                                         "first (keyfs heal --adopt)");
    }
    stored.record.state = state;
    ++stored.record.serial;
    if (state == KeyState::kDeleted) {
      make_tombstone(stored.record, to_rfc3339(loop_.clock().wall()));
    }
    auto replaced = co_await store_.replace(std::move(stored.record), stored.revision, deadline);
    if (!replaced) co_return fail(replaced.error().within(what));
    if (*replaced) {
      change.not_noted = co_await note(std::move(**replaced), true, deadline);
      co_return change;
    }
  }
  co_return fail(Code::kUnavailable, what + ": others keep changing its record; try again");
}

Task<Result<Stored>> KeyAdmin::look_up(std::string id, std::string what, TimePoint deadline) {
  auto found = co_await store_.get(id, Read::kStrong, deadline);
  if (!found) {
    if (found.error().code == Code::kCorrupt) co_await see(id, sighting_of(found.error()));
    co_return fail(found.error().within(what));
  }
  if (!*found) co_return fail(no_such_key(id));
  auto right = co_await in_keeping(loop_, store_, memory_, std::move(**found), deadline);
  if (!right) co_return fail(std::move(right.error()));
  if (!*right) co_return fail(no_such_key(id));
  co_return std::move(**right);
}

Task<std::optional<Error>> KeyAdmin::note(Stored stored, bool strong, TimePoint deadline) {
  auto noting = notebook_.write_down(std::move(stored), strong);
  const TimePoint until = std::max(deadline, loop_.now() + kNotePatience);
  co_return co_await done_by(loop_, std::move(noting), until);
}

Task<std::optional<Error>> KeyAdmin::see(std::string id, Sighting what) {
  if (unheard_) co_return unheard_;
  std::vector<SeenKey> seen(1, SeenKey{std::move(id), what});
  auto noting = notebook_.write_seen(std::move(seen));
  auto why_not = co_await done_by(loop_, std::move(noting), loop_.now() + kSeePatience);
  if (why_not && why_not->code == Code::kTimeout) unheard_ = why_not;
  co_return why_not;
}

Task<Result<KeyDescription>> KeyAdmin::describe(std::string id, TimePoint deadline) {
  if (auto ok = check_id(id); !ok) co_return fail(std::move(ok.error()));
  // Do not describe a key that would not be served as if it were good.
  std::string what = "could not describe key " + id;
  const auto found = co_await look_up(id, std::move(what), deadline);
  if (!found) co_return fail(found.error());
  const Record& record = found->record;

  KeyDescription told;
  // Its key was not unwrapped, so nothing else of the record is taken for true.
  told.not_noted = co_await see(id, sighting_of(record));
  told.id = record.id;
  told.state = record.state;
  told.current = record.current;
  told.from_rkms = record.from_rkms;
  for (const auto& [number, version] : record.versions) {
    KeyDescription::VersionInfo info;
    info.version = number;
    info.created = version.created;
    info.creator = version.creator;
    info.bytes = version.bytes;
    info.has_check = version.check.has_value();
    for (const auto& [region, wrap] : version.wrapped) {
      info.wrapped.push_back({region, wrap.master, wrap.at});
    }
    if (record.state != KeyState::kDeleted) {  // a deleted key is to be wrapped nowhere
      const WrappedKeys wraps = wraps_of(version);
      info.missing = regions_.lacking(wraps);
      info.other_master = regions_.under_other_masters(wraps);
    }
    told.versions.push_back(std::move(info));
  }
  co_return told;
}

}  // namespace keyfs
