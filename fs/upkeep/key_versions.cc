#include "fs/upkeep/key_versions.h"

#include <algorithm>
#include <limits>

#include "base/race.h"
#include "fs/keys/key_check.h"
#include "fs/keys/record_memory.h"
#include "fs/keys/version_maker.h"
#include "fs/policy/key_id.h"
#include "fs/upkeep/wrap_tests.h"
#include "store/record_versions.h"

namespace keyfs {
namespace {

// Left for what is still to come to a record: regions that are missing, states, times.
constexpr size_t kReserve = size_t{8} << 10;

std::string numbered(uint32_t version) { return "version " + std::to_string(version); }

// A destroyed version keeps its check value and its numbers, so that a record ends after some
// thousand of them.
std::string how_to_make_room(const Record& record) {
  const std::string& id = record.id;
  const auto live = std::count_if(record.versions.begin(), record.versions.end(),
                                  [](const auto& one) { return one.second.destroyed.empty(); });
  if (live < 2) return "; all its old versions are destroyed already, so use a key of another id";
  return "; retire and destroy versions that nothing needs any more (keyfs retire " + id +
         " --below N, then keyfs destroy " + id + " N... --yes)";
}

// Why no version may be added to it.
Result<void> check_may_rotate(const Record& record) {
  if (auto ok = check_may_change(record); !ok) return ok;
  if (record.state == KeyState::kDisabled) {
    return fail(Code::kInvalid, "it is disabled; enable it first (keyfs enable " + record.id + ")");
  }
  const auto live =
      std::count_if(record.versions.begin(), record.versions.end(),
                    [](const auto& version) { return version.second.destroyed.empty(); });
  if (static_cast<size_t>(live) >= kMaxLiveVersions) {
    return fail(Code::kInvalid, "it has " + std::to_string(live) +
                                    " versions, and a record holds no more" +
                                    how_to_make_room(record));
  }
  if (last_version(record) == std::numeric_limits<uint32_t>::max()) {
    return fail(Code::kInvalid, "its version numbers are used up");
  }
  return {};
}

Result<void> check_fits(const Record& record) {
  const auto text = to_json_unchecked(record);
  if (!text) return fail(text.error());
  if (text->size() + kReserve <= kMaxRecordBytes) return {};
  return fail(Code::kInvalid, "its record would be larger than " +
                                  std::to_string(kMaxRecordBytes >> 10) + " KiB" +
                                  how_to_make_room(record));
}

// Why a version can't be made current.
Result<void> check_may_promote(const Record& record, uint32_t number) {
  if (auto ok = check_may_change(record); !ok) return ok;
  const std::string what = numbered(number);
  switch (version_state(record, number)) {
    case VersionState::kNever:
      return fail(Code::kInvalid, what + " was never made");
    case VersionState::kDestroyed:
      return fail(Code::kInvalid, what + " was destroyed, which is permanent");
    case VersionState::kRetired:
      return fail(Code::kInvalid, what + " is retired; permit it first (keyfs retire " + record.id +
                                      " --below " + std::to_string(number) + ")");
    case VersionState::kPending:
    case VersionState::kReadable:
      break;
  }
  return {};
}

std::string reasons(const std::vector<RegionFailure>& failures) {
  std::string text;
  for (const auto& failure : failures) {
    text += (text.empty() ? "" : "; ") + failure.region + ": " + failure.error.message;
  }
  return text;
}

void make_current(Record& record, uint32_t number, const std::string& now) {
  record.current = number;
  ++record.serial;
  record.versions.at(number).promoted = now;
  if (record.pending == number) record.pending = 0;
}

}  // namespace

bool is_rotation_token(std::string_view text) { return is_key_id(text); }

KeyVersions::KeyVersions(Loop& loop, Store& store, Regions& regions, HostMemory& memory,
                         Notebook& notebook, std::string creator, Duration step)
    : loop_(loop),
      store_(store),
      regions_(regions),
      memory_(memory),
      notebook_(notebook),
      creator_(std::move(creator)),
      step_(step),
      records_(loop, store, memory, notebook) {}

Task<Result<Promotion>> KeyVersions::rotate(RotateRequest request) {
  if (auto ok = check_id(request.id); !ok) co_return fail(std::move(ok.error()));
  if (!is_rotation_token(request.token)) {
    co_return fail(Code::kInvalid,
                   "a rotation's token is like a key id: " + std::string(kKeyIdRule));
  }
  const Way way = request.hold ? Way::kHold : Way::kRotate;
  const std::string what = "could not rotate key " + request.id;
  const std::string id = request.id;
  auto added = co_await add(std::move(request), what);
  if (!added) {
    const bool absent = added.error().message == no_such_key(id).message;
    co_return fail(absent ? no_such_key_yet(id) : std::move(added.error()));
  }
  co_return co_await bring_up(std::move(*added), way, what);
}

Task<Result<KeyVersions::Added>> KeyVersions::add(RotateRequest request, std::string what) {
  const std::string& id = request.id;
  Added added;
  std::optional<MadeVersion> made;
  Tries tries(loop_);
  while (co_await tries.next()) {
    auto found = co_await records_.look_up(id, what, until());
    if (!found) co_return fail(std::move(found.error()));
    Record& record = found->record;
    if (const uint32_t number = version_of_token(record, request.token); number != 0) {
      // Ours, if the store took a write of ours that it told us was lost.
      added.made = made && number == added.number;
      added.number = number;
      added.stored = std::move(*found);
      co_return added;
    }
    if (auto ok = check_may_rotate(record); !ok) co_return fail(ok.error().within(what));
    auto permitted = co_await may_make(record, what);
    if (!permitted) co_return fail(std::move(permitted.error()));
    if (!*permitted) continue;

    const uint32_t number = last_version(record) + 1;
    // What was made for a number that another rotation took is bound to it, and is of no use.
    if (!made || added.number != number) {
      added.number = number;
      const uint32_t bytes = record.versions.at(record.current).bytes;
      VersionWish wish{id, number, bytes, record.origin, creator_};
      auto making = co_await make_version(loop_, regions_, std::move(wish), until());
      if (!making) co_return fail(making.error().within(what));
      made = std::move(*making);
      made->key = SecretBytes();  // its check value is enough from here on
      made->version.token = request.token;
    }
    record.versions[number] = made->version;
    record.last = record.pending = number;
    if (auto ok = check_fits(record); !ok) co_return fail(ok.error().within(what));
    auto replaced = co_await store_.replace(std::move(record), found->revision, until());
    if (!replaced) co_return fail(replaced.error().within(what));
    if (!*replaced) continue;
    added.made = true;
    added.missing = std::move(made->missing);
    added.stored = std::move(**replaced);
    Stored copy = added.stored;
    added.not_noted = co_await records_.note(std::move(copy), true, until());
    co_return added;
  }
  co_return fail(Tries::others(what));
}

Task<Result<bool>> KeyVersions::may_make(const Record& record, std::string what) {
  TaskGroup<Recall> asked(loop_);
  asked.start(memory_.recall(record.id));
  const auto told = co_await asked.next(until());
  const Recall recall = told ? told->value : Recall();
  // What was only looked at binds nothing; what is damaged might have.
  const bool lost = recall.what == Recall::What::kKnown && !recall.stored && recall.why &&
                    recall.why->message != seen_unproven(record.id).message;
  if (recall.what == Recall::What::kUnknown || lost) {
    const std::string why = recall.why ? recall.why->message : "it did not answer in time";
    co_return fail(Code::kUnavailable,
                   what +
                       ": this host can't tell now whether the record went back to an older one, "
                       "and a new version might take the number of one that is lost: " +
                       why);
  }
  // It was in keeping just now; if it still is not, the next look says so.
  if (recall.stored && goes_back(recall.stored->record, record)) co_return false;
  auto proving = notebook_.prove();
  if (const auto why_not = co_await done_by(loop_, std::move(proving), until())) {
    co_return fail(Code::kUnavailable,
                   what + ": this host could not remember a new version: " + why_not->message);
  }
  co_return true;
}

Task<Result<Promotion>> KeyVersions::promote(std::string id, uint32_t version,
                                             std::optional<uint32_t> only_from) {
  if (auto ok = check_id(id); !ok) co_return fail(std::move(ok.error()));
  const std::string what = "could not promote " + numbered(version) + " of key " + id;
  auto found = co_await records_.look_up(id, what, until());
  if (!found) co_return fail(std::move(found.error()));
  Added there;
  there.stored = std::move(*found);
  there.number = version;
  there.only_from = only_from;
  co_return co_await bring_up(std::move(there), Way::kPromote, what);
}

Task<Result<Promotion>> KeyVersions::bring_up(Added added, Way way, std::string what) {
  using Outcome = Promotion::Outcome;
  const uint32_t number = added.number;
  const std::string id = added.stored.record.id;
  Promotion told;
  told.version = number;
  told.made = added.made;
  told.not_noted = std::move(added.not_noted);
  WrapTests tests(regions_);
  Tries tries(loop_);
  for (bool first = true; co_await tries.next(); first = false) {
    if (!first) {
      auto found = co_await records_.look_up(id, what, until());
      if (!found) co_return fail(std::move(found.error()));
      added.stored = std::move(*found);
    }
    Stored& stored = added.stored;
    Record& record = stored.record;
    told.before = told.current = record.current;
    const auto version = record.versions.find(number);
    const bool is_over = record.state == KeyState::kDeleted ||
                         version_state(record, number) == VersionState::kDestroyed;
    const bool was_current =
        record.current == number || (way != Way::kPromote && version != record.versions.end() &&
                                     !version->second.promoted.empty());
    if (was_current && record.state != KeyState::kDeleted) {
      told.outcome = Outcome::kAlready;
    } else if ((way == Way::kRotate && newest_promoted(record) > number && !is_over) ||
               (added.only_from && record.current != *added.only_from &&
                record.state != KeyState::kDeleted)) {
      told.outcome = Outcome::kSuperseded;
    } else {
      auto may = check_may_promote(record, number);
      if (may && way != Way::kPromote && record.state == KeyState::kDisabled) {
        may = fail(Code::kInvalid, "the key was disabled");
      }
      if (!may) {
        if (way == Way::kPromote) co_return fail(may.error().within(what));
        told.not_promoted = std::move(may.error());
        co_return told;
      }
      const Record before = record;
      const bool pending = version_state(record, number) == VersionState::kPending;
      co_await tests.run(record, number, until());
      if (pending && !tests.enough() && !tests.good().empty()) {
        co_await fill_in(record, number, tests);
      }
      told.regions = tests.good();
      told.missing = tests.missing(record, number, added.missing);
      if (!tests.enough()) {
        told.not_promoted.emplace(Code::kUnavailable,
                                  "tested in " + std::to_string(tests.good().size()) + " of " +
                                      std::to_string(regions_.create_min_regions()) +
                                      " required regions (" + reasons(told.missing) + ")");
        co_return told;
      }
      if (pending) {
        // A version that was served keeps what it has: another master may fit.
        for (const auto& wrong : tests.wrong()) {
          record.versions.at(number).wrapped.erase(wrong.region);
        }
      }
      if (way == Way::kHold) {
        told.outcome = Outcome::kHeld;
      } else {
        told.outcome = Outcome::kPromoted;
        make_current(record, number, now());
      }
      if (record != before) {
        told.current = record.current;
        auto replaced = co_await store_.replace(std::move(record), stored.revision, until());
        if (!replaced) co_return fail(replaced.error().within(what));
        if (!*replaced) continue;
        stored = std::move(**replaced);
      }
    }
    if (told.outcome == Outcome::kAlready || told.outcome == Outcome::kSuperseded) {
      told.before = previous_current(record);
      // What was not tested now: where the version that is current is not wrapped.
      told.missing = WrapTests(regions_).missing(record, record.current, {});
    }
    auto untold = co_await records_.note(std::move(stored), true, until());
    told.not_noted = std::move(untold);
    co_return told;
  }
  co_return fail(Tries::others(what));
}

// Once more in the regions that are missing, since too few are left, and tests what was made.
Task<void> KeyVersions::fill_in(Record& record, uint32_t number, WrapTests& tests) {
  Version& version = record.versions.at(number);
  WrappedKeys wraps = wraps_of(version);
  std::vector<std::string> wanted = regions_.lacking(wraps);
  for (const auto& wrong : tests.wrong()) wanted.push_back(wrong.region);
  if (wanted.empty()) co_return;
  std::erase_if(wraps, [&](const auto& wrap) {
    return std::find(tests.good().begin(), tests.good().end(), wrap.first) == tests.good().end();
  });
  EncryptionContext context = context_of(record, number);
  KeyVerifier verifier = verifier_of(record, number);
  const TimePoint deadline = until();
  auto key = co_await regions_.unwrap(std::move(wraps), context, std::move(verifier), deadline);
  if (!key) co_return;
  auto more =
      co_await regions_.wrap_missing(key->key, std::move(context), std::move(wanted), deadline);
  const std::string at = now();
  for (auto& [region, wrapped] : more.wrapped) {
    version.wrapped.insert_or_assign(region, to_wrap(std::move(wrapped), at));
  }
  co_await tests.run(record, number, until());
}

}  // namespace keyfs
