#include "fs/upkeep/key_admin.h"

#include <algorithm>
#include <utility>

#include "fs/keys/creation_gate.h"
#include "fs/keys/in_keeping.h"
#include "fs/keys/key_check.h"
#include "fs/keys/key_maker.h"

namespace keyfs {
namespace {

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

bool KeyDescription::degraded() const {
  if (state == KeyState::kDeleted) return false;
  return std::any_of(versions.begin(), versions.end(), [](const VersionInfo& info) {
    return info.state == VersionState::kReadable &&
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
      creator_(std::move(creator)),
      records_(loop, store, memory, notebook) {}

Task<Result<AdminCreated>> KeyAdmin::create(std::string id, uint32_t bytes, TimePoint deadline) {
  if (auto ok = check_id(id); !ok) co_return fail(std::move(ok.error()));
  auto found = co_await store_.get(id, Read::kAny, deadline);
  if (!found) {
    if (found.error().code == Code::kCorrupt) co_await records_.see(id, sighting_of(found.error()));
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
  created.not_noted = co_await records_.note(std::move(made->stored), true, deadline);
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
  there.not_noted = co_await records_.note(std::move(stored), strong, deadline);
  co_return there;
}

Task<Result<StateChange>> KeyAdmin::set_state(std::string id, KeyState state, TimePoint deadline) {
  if (auto ok = check_id(id); !ok) co_return fail(std::move(ok.error()));
  const std::string what = "could not " + std::string(verb_of(state)) + " key " + id;
  KeyState before = state;
  RecordChanges::Edit edit = [&](Record& record) -> Result<bool> {
    before = record.state;
    // An older keyfs left the wraps in the records of deleted keys.
    if (state == KeyState::kDeleted ? is_tombstone(record) : before == state) return false;
    if (state != KeyState::kDeleted || record.from_rkms) {
      if (auto ok = check_may_change(record); !ok) return fail(std::move(ok.error()));
    }
    record.state = state;
    ++record.serial;
    if (state == KeyState::kDeleted) make_tombstone(record, to_rfc3339(loop_.clock().wall()));
    return true;
  };
  auto changed = co_await records_.change(id, what, std::move(edit), deadline);
  if (!changed) co_return fail(std::move(changed.error()));
  co_return StateChange{before, state, std::move(changed->not_noted)};
}

Task<Result<KeyDescription>> KeyAdmin::describe(std::string id, TimePoint deadline) {
  if (auto ok = check_id(id); !ok) co_return fail(std::move(ok.error()));
  // Do not describe a key that would not be served as if it were good.
  std::string what = "could not describe key " + id;
  const auto found = co_await records_.look_up(id, std::move(what), deadline);
  if (!found) co_return fail(found.error());
  const Record& record = found->record;

  KeyDescription told;
  // Its key was not unwrapped, so nothing else of the record is taken for true.
  told.not_noted = co_await records_.see(id, sighting_of(record));
  told.id = record.id;
  told.state = record.state;
  told.current = record.current;
  told.pending = record.pending;
  told.min = std::max(record.min, 1u);
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
    info.state = version_state(record, number);
    info.promoted = version.promoted;
    info.destroyed = version.destroyed;
    // A deleted key is to be wrapped nowhere, and neither is a destroyed version.
    if (record.state != KeyState::kDeleted && info.state != VersionState::kDestroyed) {
      const WrappedKeys wraps = wraps_of(version);
      info.missing = regions_.lacking(wraps);
      info.other_master = regions_.under_other_masters(wraps);
    }
    told.versions.push_back(std::move(info));
  }
  co_return told;
}

}  // namespace keyfs
