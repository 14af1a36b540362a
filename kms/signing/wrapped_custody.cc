#include "kms/signing/wrapped_custody.h"

#include <algorithm>
#include <utility>

#include "base/asymmetric.h"
#include "base/encoding.h"
#include "kms/signing/scheme.h"
#include "kms/signing/wrapped_custody_impl.h"

namespace keyfs {
namespace {

// Records of a list that are read at once.
constexpr size_t kShelfReads = 8;
// What a name refers to whose record cannot be read: using it tells why.
constexpr const char* kUnreadable = "/0/unreadable";
// To find out whether a write took effect whose time was up.
constexpr Duration kSettlePatience = std::chrono::seconds(2);

// nullopt: there is no such name.
std::optional<NamedKey> named_key(const ShelvedPtr& record) {
  if (record == nullptr || record->deleted) return std::nullopt;
  NamedKey key;
  key.name = record->name;
  key.disabled = record->disabled;
  const ShelvedVersion* current = current_of(*record);
  key.key = current != nullptr ? reference_to(record->name, *current) : record->name + kUnreadable;
  return key;
}

Pointed pointed_elsewhere(std::optional<NamedKey> now) {
  Pointed pointed;
  pointed.now = std::move(now);
  return pointed;
}

Pointed pointed_here() {
  Pointed pointed;
  pointed.done = true;
  return pointed;
}

// Why no version may be added to it.
Result<void> check_may_add(const Shelved& record) {
  if (record.deleted) {
    return fail(Code::kRevoked,
                "signing key " + record.name + " was deleted, which is permanent; use another id");
  }
  if (record.disabled) {
    return fail(Code::kRevoked, "signing key " + record.name +
                                    " is disabled, and gets no new key; enable it first");
  }
  if (record.last == UINT32_MAX) {
    return fail(Code::kInvalid, "the versions of signing key " + record.name + " are used up");
  }
  return {};
}

}  // namespace

const ShelvedVersion* current_of(const Shelved& record) {
  const auto found =
      std::find_if(record.versions.begin(), record.versions.end(),
                   [&](const auto& version) { return version.number == record.current; });
  return found == record.versions.end() ? nullptr : &*found;
}

std::string reference_to(const std::string& name, const ShelvedVersion& version) {
  WrappedReference reference;
  reference.name = name;
  reference.version = version.number;
  const auto print = sha256(bytes_of(version.public_der));
  reference.fingerprint = print ? hex_encode(*print) : "unknown";
  return reference.text();
}

WrappedCustody::WrappedCustody(Loop& loop, SecretArena& arena, Regions& regions,
                               SigningShelf& shelf, WrappedCustodyOptions options)
    : loop_(loop),
      arena_(arena),
      regions_(regions),
      shelf_(shelf),
      options_(std::move(options)),
      memory_(loop, shelf, options_.fresh_for, options_.serve_stale_for),
      keys_(loop, options_.keys_in_memory),
      unwraps_(loop),
      expire_(*this),
      expiry_(loop),
      maker_(loop, "keyfs-make") {}

Result<void> WrappedCustody::check_name(const std::string& name) const {
  return shelf_.check_name(name);
}

Task<Result<std::vector<NamedKey>>> WrappedCustody::list(TimePoint deadline) {
  return before(loop_, deadline, "could not list the wrapped signing keys", list_all(deadline));
}

Task<Result<std::vector<NamedKey>>> WrappedCustody::list_all(TimePoint deadline) {
  auto names = co_await shelf_.names(deadline);
  if (!names) co_return fail(names.error().within("could not list the wrapped signing keys"));
  std::vector<NamedKey> keys;
  TaskGroup<Result<ShelvedPtr>> reads(loop_);
  std::map<size_t, std::string> reading;
  size_t next = 0;
  while (next < names->size() || !reads.empty()) {
    if (next < names->size() && reads.size() < kShelfReads) {
      const std::string& name = (*names)[next++];
      reading.emplace(reads.start(look_up(name, deadline)), name);
      continue;
    }
    auto read = co_await reads.next();
    const std::string name = reading.at(read->number);
    reading.erase(read->number);
    if (read->value) {
      if (auto key = named_key(*read->value)) keys.push_back(std::move(*key));
    } else if (read->value.error().code == Code::kCorrupt) {
      // It is there all the same, and nothing may take its place.
      NamedKey key;
      key.name = name;
      key.key = name + kUnreadable;
      keys.push_back(std::move(key));
    } else {
      co_return fail(read->value.error().within("could not list the wrapped signing keys"));
    }
  }
  std::sort(keys.begin(), keys.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  co_return keys;
}

Task<Result<std::optional<NamedKey>>> WrappedCustody::find(std::string name, TimePoint deadline) {
  if (!check_name(name)) co_return std::optional<NamedKey>();
  auto record = co_await look_up(std::move(name), deadline);
  if (!record) co_return fail(std::move(record.error()));
  co_return named_key(*record);
}

// What was disabled, destroyed or deleted does not stay in memory until somebody asks for it again.
Task<Result<ShelvedPtr>> WrappedCustody::look_up(std::string name, TimePoint deadline) {
  auto found = co_await memory_.look(name, deadline);
  if (!found) co_return found;
  const Shelved* record = found->get();
  if (record == nullptr || record->deleted || record->disabled) {
    keys_.drop_all(name + "/");
    co_return found;
  }
  for (const auto& version : record->versions) {
    if (version.wrapped.empty()) keys_.drop(reference_to(name, version));
  }
  co_return found;
}

Task<Result<std::string>> WrappedCustody::create(CreateKeyRequest request, TimePoint deadline) {
  if (auto good = check_name(request.name); !good) co_return fail(std::move(good.error()));
  const std::string what = "could not create a key for signing key " + request.name;
  auto making = make(std::move(request), deadline);
  auto made = co_await std::move(making);
  if (!made) co_return fail(made.error().within(what));
  std::string reference = made->reference;
  unpointed_.add(std::move(*made), loop_.now());
  watch_unpointed();
  co_return reference;
}

Task<Result<UnpointedKey>> WrappedCustody::make(CreateKeyRequest request, TimePoint deadline) {
  auto found = co_await memory_.look(request.name, deadline);
  if (!found) co_return fail(std::move(found.error()));
  UnpointedKey made;
  made.version.number = 1;
  if (const Shelved* record = found->get()) {
    const auto may = check_may_add(*record);
    // point() tells of a deleted name.
    if (!may && !record->deleted) co_return fail(may.error());
    made.version.number = record->last + 1;
    made.origin = record->origin;
  } else {
    auto origin = co_await shelf_.origin(deadline);
    if (!origin) co_return fail(std::move(origin.error()));
    made.origin = std::move(*origin);
  }
  auto key = co_await generate(request.type, deadline);
  if (!key) co_return fail(std::move(key.error()));
  auto half = public_half(key->reveal());
  if (!half) co_return fail(std::move(half.error()));
  auto parsed = PublicKey::parse(bytes_of(*half));
  if (!parsed) co_return fail(std::move(parsed.error()));
  made.public_key = std::move(*parsed);
  made.version.type = request.type;
  made.version.public_der = std::move(*half);
  made.version.created = to_rfc3339(loop_.clock().wall());
  made.version.bytes = static_cast<uint32_t>(key->size());
  made.reference = reference_to(request.name, made.version);
  if (request.on_reference) {
    auto telling = request.on_reference(made.reference);
    auto told = co_await std::move(telling);
    if (!told) co_return fail(std::move(told.error()));
  }
  const std::string id = shelf_.record_id(request.name);
  const auto check = key_check_value(key->reveal(), id, made.version.number);
  if (!check) co_return fail(check.error());
  made.version.check = *check;
  EncryptionContext context = key_context(id, made.version.number, made.origin);
  auto wrapped = co_await regions_.wrap_new(*key, std::move(context), deadline);
  if (!wrapped) co_return fail(std::move(wrapped.error()));
  made.version.wrapped = std::move(wrapped->wrapped);
  made.degraded = !wrapped->missing.empty();
  made.private_key = std::make_shared<const SecretBytes>(std::move(*key));
  co_return made;
}

Task<Result<SecretBytes>> WrappedCustody::generate(SigningKeyType type, TimePoint deadline) {
  std::function<Result<SecretBytes>()> work = [this, type] {
    auto key = generate_private_key(arena_, kind_of(type));
    wipe_registers();
    return key;
  };
  if (is_quick(type)) co_return work();
  auto running = maker_.run(std::move(work));
  co_return co_await before(loop_, deadline, "could not make it", std::move(running));
}

Task<Result<Pointed>> WrappedCustody::point(std::string name, std::string key,
                                            std::optional<std::string> from, TimePoint deadline) {
  const auto reference = WrappedReference::parse(key);
  if (!reference || reference->name != name) {
    co_return fail(Code::kInvalid, "signing key " + name + " cannot refer to \"" + key + "\"");
  }
  const std::string what = "could not give signing key " + name + " its new key";
  for (int tries = 0; tries < kShelfTries; ++tries) {
    auto found = co_await memory_.look(name, deadline);
    if (!found) co_return fail(found.error().within(what));
    const ShelvedPtr record = *found;
    auto now = named_key(record);
    if (now && now->key == key) {
      took_its_name(key);
      co_return pointed_here();
    }
    const auto is = now ? std::optional(now->key) : std::nullopt;
    if (is != from) {
      unpointed_.drop(key);
      co_return pointed_elsewhere(std::move(now));
    }
    Shelved next;
    if (record != nullptr) {
      if (auto may = check_may_add(*record); !may) co_return fail(std::move(may.error()));
      next = *record;
    }
    if (const UnpointedKey* made = unpointed_.find(key, loop_.now())) {
      if (next.last + 1 != reference->version) {
        // It is bound to a version that is another key's by now.
        unpointed_.drop(key);
        co_return pointed_elsewhere(std::move(now));
      }
      next.name = name;
      next.origin = made->origin;
      next.versions.push_back(made->version);
    } else {
      const auto known =
          std::find_if(next.versions.begin(), next.versions.end(), [&](const auto& version) {
            return !version.wrapped.empty() && reference_to(name, version) == key;
          });
      if (known == next.versions.end()) {
        co_return fail(Code::kRevoked, what +
                                           ": it is not known any more, since it was made by "
                                           "another process, or too long ago; make a new one");
      }
    }
    next.current = reference->version;
    auto saved = co_await memory_.save(std::move(next), deadline);
    if (!saved) co_return co_await settle(name, key, saved.error().within(what), deadline);
    if (*saved == nullptr) continue;
    took_its_name(key);
    co_return pointed_here();
  }
  co_return fail(Code::kUnavailable, what + ": others keep changing its record; try again");
}

// After a write that may have taken effect.
Task<Result<Pointed>> WrappedCustody::settle(std::string name, std::string key, Error unknown,
                                             TimePoint deadline) {
  if (unknown.code == Code::kInvalid || unknown.code == Code::kCorrupt) co_return fail(unknown);
  const TimePoint until = std::max(deadline, loop_.now() + kSettlePatience);
  auto looking = memory_.look(name, until);
  auto found = co_await before(loop_, until, "it was looked at again", std::move(looking));
  if (!found) {
    co_return fail(unknown.code, unknown.message + "; whether it took effect is not known");
  }
  const auto now = named_key(*found);
  if (!now || now->key != key) co_return fail(std::move(unknown));
  took_its_name(key);
  co_return pointed_here();
}

void WrappedCustody::took_its_name(const std::string& reference) {
  const UnpointedKey* made = unpointed_.find(reference, loop_.now());
  if (made == nullptr) return;
  keys_.keep(reference, made->private_key, loop_.now() + options_.keep_for);
  const bool degraded = made->degraded;
  unpointed_.drop(reference);
  const auto parsed = WrappedReference::parse(reference);
  if (degraded && options_.degraded && parsed) options_.degraded(shelf_.record_id(parsed->name));
}

void WrappedCustody::watch_unpointed() {
  unpointed_.forget_old(loop_.now());
  if (!unpointed_.empty()) expiry_.start(unpointed_.next(), expire_);
}

Task<Result<Pointed>> WrappedCustody::keep_alive(std::string name, std::string key,
                                                 TimePoint deadline) {
  auto found = co_await find(std::move(name), deadline);
  if (!found) co_return fail(std::move(found.error()));
  if (*found && (*found)->key == key) co_return pointed_here();
  co_return pointed_elsewhere(std::move(*found));
}

// Regions and the store have checks of their own.
Task<std::vector<CheckItem>> WrappedCustody::check(TimePoint deadline) {
  CheckItem item;
  item.what = "records can be read";
  item.essential = false;
  const auto all = co_await list(deadline);
  if (all) {
    std::string damaged;
    for (const NamedKey& key : *all) {
      if (key.key.ends_with(kUnreadable)) damaged += (damaged.empty() ? "" : ", ") + key.name;
    }
    item.ok = damaged.empty();
    item.detail = item.ok ? std::to_string(all->size()) + " keys" : "not those of " + damaged;
    item.remedy = item.ok ? "" : "keyfs sign describe ID says why; restore the record";
  } else {
    item.detail = all.error().message;
    item.remedy = "see what is said of the store";
  }
  std::vector<CheckItem> items;
  items.push_back(std::move(item));
  co_return items;
}

std::unique_ptr<Custody> make_wrapped_custody(Loop& loop, SecretArena& arena, Random& /*random*/,
                                              Regions& regions, SigningShelf& shelf,
                                              WrappedCustodyOptions options) {
  return std::make_unique<WrappedCustody>(loop, arena, regions, shelf, std::move(options));
}

}  // namespace keyfs
