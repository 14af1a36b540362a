#include "support/memory_custody.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "base/asymmetric.h"
#include "base/crypto.h"
#include "kms/signing/scheme.h"

namespace keyfs {
namespace {

std::shared_ptr<const SecretBytes> test_private_key(SigningKeyType type) {
  // Never freed: keys of any test may be in it to the end.
  static SecretArena& arena = *new SecretArena;
  static auto& made = *new std::map<SigningKeyType, std::vector<std::shared_ptr<SecretBytes>>>;
  static auto& given = *new std::map<SigningKeyType, size_t>;
  constexpr size_t kOfOneType = 2;
  const bool rsa = type == SigningKeyType::kRsa2048 || type == SigningKeyType::kRsa4096;
  auto& pool = made[type];
  const size_t turn = given[type]++;
  if (rsa && pool.size() == kOfOneType) return pool[turn % kOfOneType];
  auto key = generate_private_key(arena, kind_of(type));
  if (!key) std::abort();
  auto shared = std::make_shared<SecretBytes>(std::move(*key));
  if (rsa) pool.push_back(shared);
  return shared;
}

Error memory_key_gone(const std::string& key) {
  return Error(Code::kRevoked, "the key " + key + " is disabled, pending deletion, or gone");
}

}  // namespace

std::string MemoryKeys::add(SigningKeyType type, std::string description, WallTime created) {
  Key key;
  key.type = type;
  key.pkcs8 = test_private_key(type);
  const auto der = public_half(key.pkcs8->reveal());
  auto parsed = PublicKey::parse(bytes_of(der.value()));
  key.public_key = parsed.value();
  key.description = std::move(description);
  key.created = created;
  const std::string reference =
      "arn:aws:kms:us-east-1:111122223333:key/key-" + std::to_string(++last_);
  keys.emplace(reference, std::move(key));
  return reference;
}

std::vector<std::string> MemoryKeys::live() const {
  std::vector<std::string> found;
  for (const auto& [reference, key] : keys) {
    if (!key.deletion) found.push_back(reference);
  }
  return found;
}

std::vector<std::string> MemoryKeys::orphans() const {
  std::vector<std::string> found = live();
  std::erase_if(found, [&](const std::string& key) {
    return std::any_of(names.begin(), names.end(),
                       [&](const auto& name) { return name.second.key == key; });
  });
  return found;
}

// One call under way.
struct MemoryCustody::Call {
  Call(MemoryCustody& the_custody, std::string the_name)
      : custody(the_custody), name(std::move(the_name)) {
    custody.log_.push_back(name);
    const size_t now = ++custody.running_[name];
    custody.most_[name] = std::max(custody.most_[name], now);
    for (auto at = custody.faults_.begin(); at != custody.faults_.end();) {
      if (at->call == name && --at->left == 0) {
        fault = std::move(*at);
        at = custody.faults_.erase(at);
      } else {
        ++at;
      }
    }
  }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;
  ~Call() { --custody.running_[name]; }

  bool fails(When when) const { return fault && fault->when == when; }

  MemoryCustody& custody;
  const std::string name;
  std::optional<Fault> fault;
};

MemoryCustody::MemoryCustody(Loop& loop, std::shared_ptr<MemoryKeys> keys,
                             MemoryCustodyOptions options)
    : loop_(loop), keys_(std::move(keys)), options_(std::move(options)) {}

void MemoryCustody::fail(std::string call, unsigned nth, When when, Error error) {
  faults_.push_back(Fault{std::move(call), nth, when, std::move(error)});
}

void MemoryCustody::fail_always(const std::string& call, std::optional<Error> error) {
  always_.erase(call);
  if (error) always_.emplace(call, std::move(*error));
}

size_t MemoryCustody::count(const std::string& call) const {
  return static_cast<size_t>(std::count(log_.begin(), log_.end(), call));
}

size_t MemoryCustody::running(const std::string& call) const {
  const auto found = running_.find(call);
  return found == running_.end() ? 0 : found->second;
}

size_t MemoryCustody::most_at_once(const std::string& call) const {
  const auto found = most_.find(call);
  return found == most_.end() ? 0 : found->second;
}

std::string MemoryCustody::key_of(const std::string& name) const {
  const auto found = keys_->names.find(options_.prefix + name);
  return found == keys_->names.end() ? "" : found->second.key;
}

Task<Result<void>> MemoryCustody::enter(Call& call, TimePoint deadline) {
  co_await loop_.yield();
  if (hook) co_await hook(call.name);
  if (loop_.now() >= deadline) {
    co_return keyfs::fail(Code::kTimeout, call.name + ": timed out");
  }
  const auto always = always_.find(call.name);
  if (always != always_.end()) co_return keyfs::fail(always->second);
  if (call.fails(When::kBefore)) co_return keyfs::fail(call.fault->error);
  co_return Result<void>();
}

NamedKey MemoryCustody::named(const std::string& name, const MemoryKeys::Name& found) const {
  NamedKey out;
  out.name = name;
  out.key = found.key;
  out.refreshed = found.refreshed;
  const auto key = keys_->keys.find(found.key);
  out.disabled = options_.tells_disabled && key != keys_->keys.end() && !key->second.enabled;
  return out;
}

Result<const MemoryKeys::Key*> MemoryCustody::usable(const std::string& key) const {
  const auto found = keys_->keys.find(key);
  if (found == keys_->keys.end() || !found->second.enabled || found->second.deletion) {
    return keyfs::fail(memory_key_gone(key));
  }
  return &found->second;
}

Result<void> MemoryCustody::check_name(const std::string& name) const {
  if (!name.empty() && name.size() <= 200) return {};
  return keyfs::fail(Code::kInvalid, "a name has 1 to 200 characters");
}

Task<Result<std::vector<NamedKey>>> MemoryCustody::list(TimePoint deadline) {
  Call call(*this, "list");
  if (auto in = co_await enter(call, deadline); !in) co_return keyfs::fail(in.error());
  std::vector<NamedKey> found;
  for (const auto& [name, entry] : keys_->names) {
    if (name.starts_with(options_.prefix)) {
      found.push_back(named(name.substr(options_.prefix.size()), entry));
    }
  }
  if (call.fails(When::kAfter)) co_return keyfs::fail(call.fault->error);
  co_return found;
}

Task<Result<std::optional<NamedKey>>> MemoryCustody::find(std::string name, TimePoint deadline) {
  Call call(*this, "find");
  if (auto in = co_await enter(call, deadline); !in) co_return keyfs::fail(in.error());
  if (call.fails(When::kAfter)) co_return keyfs::fail(call.fault->error);
  const auto found = keys_->names.find(options_.prefix + name);
  if (found == keys_->names.end()) co_return std::optional<NamedKey>();
  co_return std::optional<NamedKey>(named(name, found->second));
}

Task<Result<std::string>> MemoryCustody::create(CreateKeyRequest request, TimePoint deadline) {
  if (auto good = check_name(request.name); !good) co_return keyfs::fail(good.error());
  Call call(*this, "create");
  if (auto in = co_await enter(call, deadline); !in) co_return keyfs::fail(in.error());
  const std::string description = description_of(request.name, request.token);
  const std::string key = keys_->add(request.type, description, loop_.clock().wall());
  if (call.fails(When::kAfter)) {
    co_return keyfs::fail(call.fault->error.within("the outcome is unknown"));
  }
  if (request.on_reference) {
    auto told = co_await request.on_reference(key);
    if (!told) co_return keyfs::fail(told.error());
  }
  if (call.fails(When::kAfterReference)) co_return keyfs::fail(call.fault->error);
  co_return key;
}

std::string MemoryCustody::description_of(const std::string& name, const std::string& token) const {
  return options_.description_prefix + name + (token.empty() ? "" : "/" + token);
}

Task<Result<std::optional<std::string>>> MemoryCustody::made(std::string name, std::string token,
                                                             TimePoint deadline) {
  Call call(*this, "made");
  if (auto in = co_await enter(call, deadline); !in) co_return keyfs::fail(in.error());
  if (call.fails(When::kAfter)) co_return keyfs::fail(call.fault->error);
  for (const auto& [reference, key] : keys_->keys) {
    const bool found = !token.empty() && key.description == description_of(name, token);
    if (found) co_return std::optional<std::string>(reference);
  }
  co_return std::optional<std::string>();
}

Task<Result<PublicKeyPtr>> MemoryCustody::public_key(std::string key, TimePoint deadline) {
  Call call(*this, "public_key");
  if (auto in = co_await enter(call, deadline); !in) co_return keyfs::fail(in.error());
  if (call.fails(When::kAfter)) co_return keyfs::fail(call.fault->error);
  const auto found = usable(key);
  if (!found) co_return keyfs::fail(found.error());
  co_return (*found)->public_key;
}

Task<Result<Signature>> MemoryCustody::sign(SignRequest request, TimePoint deadline) {
  const SigningKeyType type = request.public_key->type();
  auto good = check_signing(type, request.algorithm, request.digest.size());
  if (!good) co_return keyfs::fail(good.error());
  Call call(*this, "sign");
  if (auto in = co_await enter(call, deadline); !in) co_return keyfs::fail(in.error());
  const auto key = usable(request.key);
  if (!key) co_return keyfs::fail(key.error());
  auto bytes = sign_digest((*key)->pkcs8->reveal(), scheme_of(request.algorithm),
                           hash_of(request.algorithm), bytes_of(request.digest));
  if (!bytes) co_return keyfs::fail(bytes.error());
  auto verified =
      request.public_key->verify(request.algorithm, bytes_of(request.digest), bytes_of(*bytes));
  if (!verified) co_return keyfs::fail(Code::kCorrupt, verified.error().message);
  if (call.fails(When::kAfter)) co_return keyfs::fail(call.fault->error);
  Signature signature;
  signature.bytes = std::move(*bytes);
  if (options_.kind == "kms") {
    signature.region = "us-east-1";
    signature.request_id = "request-" + std::to_string(count("sign"));
  }
  co_return signature;
}

Task<Result<Pointed>> MemoryCustody::point(std::string name, std::string key,
                                           std::optional<std::string> from, TimePoint deadline) {
  if (auto good = check_name(name); !good) co_return keyfs::fail(good.error());
  Call call(*this, "point");
  if (auto in = co_await enter(call, deadline); !in) co_return keyfs::fail(in.error());
  Pointed out;
  const auto found = keys_->names.find(options_.prefix + name);
  const bool there = found != keys_->names.end();
  if (there && found->second.key == key) {
    out.done = true;
    out.behind = behind;
  } else if (there != from.has_value() || (there && found->second.key != *from)) {
    if (there) out.now = named(name, found->second);
  } else if (const auto target = keys_->keys.find(key);
             target == keys_->keys.end() || target->second.deletion) {
    co_return keyfs::fail(memory_key_gone(key));
  } else {
    keys_->names[options_.prefix + name] = MemoryKeys::Name{key, loop_.clock().wall()};
    out.done = true;
    out.behind = behind;
  }
  if (call.fails(When::kAfter)) {
    co_return keyfs::fail(call.fault->error.within("the outcome is unknown"));
  }
  co_return out;
}

Task<Result<Pointed>> MemoryCustody::keep_alive(std::string name, std::string key,
                                                TimePoint deadline) {
  Call call(*this, "keep_alive");
  if (auto in = co_await enter(call, deadline); !in) co_return keyfs::fail(in.error());
  Pointed out;
  const auto found = keys_->names.find(options_.prefix + name);
  if (found != keys_->names.end() && found->second.key == key) {
    found->second.refreshed = loop_.clock().wall();
    out.done = true;
    out.behind = behind;
  } else if (found != keys_->names.end()) {
    out.now = named(name, found->second);
  }
  if (call.fails(When::kAfter)) co_return keyfs::fail(call.fault->error);
  co_return out;
}

Task<Result<void>> MemoryCustody::remove_name(std::string name, std::string key,
                                              TimePoint deadline) {
  Call call(*this, "remove_name");
  if (auto in = co_await enter(call, deadline); !in) co_return keyfs::fail(in.error());
  const auto found = keys_->names.find(options_.prefix + name);
  if (found != keys_->names.end() && found->second.key == key) keys_->names.erase(found);
  if (call.fails(When::kAfter)) co_return keyfs::fail(call.fault->error);
  co_return Result<void>();
}

Task<Result<Deletion>> MemoryCustody::schedule_deletion(std::string name, std::string key,
                                                        TimePoint deadline) {
  Call call(*this, "schedule_deletion");
  if (auto in = co_await enter(call, deadline); !in) co_return keyfs::fail(in.error());
  const auto found = keys_->keys.find(key);
  Deletion done = Deletion::kDone;
  if (found != keys_->keys.end() && !found->second.deletion) {
    const auto orphans = keys_->orphans();
    const bool nameless = std::find(orphans.begin(), orphans.end(), key) != orphans.end();
    if (nameless && found->second.description.starts_with(description_of(name, ""))) {
      found->second.deletion = loop_.clock().wall();
    } else {
      done = Deletion::kLeftAlone;
    }
  }
  if (call.fails(When::kAfter)) co_return keyfs::fail(call.fault->error);
  co_return done;
}

Task<Result<void>> MemoryCustody::set_enabled(std::string, std::string key, bool enabled,
                                              TimePoint deadline) {
  Call call(*this, "set_enabled");
  if (auto in = co_await enter(call, deadline); !in) co_return keyfs::fail(in.error());
  const auto found = keys_->keys.find(key);
  if (found == keys_->keys.end() || found->second.deletion) {
    co_return keyfs::fail(memory_key_gone(key));
  }
  found->second.enabled = enabled;
  if (call.fails(When::kAfter)) co_return keyfs::fail(call.fault->error);
  co_return Result<void>();
}

Task<Result<std::vector<StrayKey>>> MemoryCustody::stale_siblings(WallTime stale_before,
                                                                  TimePoint deadline) {
  Call call(*this, "stale_siblings");
  if (auto in = co_await enter(call, deadline); !in) co_return keyfs::fail(in.error());
  std::vector<StrayKey> found;
  for (const auto& [name, entry] : keys_->names) {
    if (options_.siblings_prefix.empty() || !name.starts_with(options_.siblings_prefix) ||
        name.starts_with(options_.prefix) || entry.refreshed >= stale_before) {
      continue;
    }
    StrayKey stray;
    stray.key = entry.key;
    stray.alias = name;
    stray.refreshed = entry.refreshed;
    found.push_back(std::move(stray));
  }
  if (call.fails(When::kAfter)) co_return keyfs::fail(call.fault->error);
  co_return found;
}

Task<Result<std::vector<StrayKey>>> MemoryCustody::nameless_keys(WallTime created_before,
                                                                 std::vector<std::string>& known,
                                                                 TimePoint deadline) {
  Call call(*this, "nameless_keys");
  if (auto in = co_await enter(call, deadline); !in) co_return keyfs::fail(in.error());
  std::vector<StrayKey> found;
  for (const std::string& reference : keys_->orphans()) {
    if (std::find(known.begin(), known.end(), reference) != known.end()) continue;
    const MemoryKeys::Key& key = keys_->keys.at(reference);
    if (!key.description.starts_with(options_.description_prefix)) {
      known.push_back(reference);
    } else if (key.enabled && key.created < created_before) {
      StrayKey stray;
      stray.key = reference;
      stray.created = key.created;
      found.push_back(std::move(stray));
    }
  }
  if (call.fails(When::kAfter)) co_return keyfs::fail(call.fault->error);
  co_return found;
}

Task<Result<Deletion>> MemoryCustody::dispose(StrayKey stray, TimePoint deadline) {
  Call call(*this, "dispose");
  if (auto in = co_await enter(call, deadline); !in) co_return keyfs::fail(in.error());
  const auto key = keys_->keys.find(stray.key);
  const auto name = keys_->names.find(stray.alias);
  const auto orphans = keys_->orphans();
  const bool as_found = stray.alias.empty()
                            ? std::find(orphans.begin(), orphans.end(), stray.key) != orphans.end()
                            : name != keys_->names.end() && name->second.key == stray.key &&
                                  stray.refreshed == name->second.refreshed;
  if (as_found && key != keys_->keys.end()) {
    if (!key->second.deletion) key->second.deletion = loop_.clock().wall();
    if (name != keys_->names.end()) keys_->names.erase(name);
  }
  if (call.fails(When::kAfter)) co_return keyfs::fail(call.fault->error);
  co_return as_found ? Deletion::kDone : Deletion::kLeftAlone;
}

Task<std::vector<CheckItem>> MemoryCustody::check(TimePoint deadline) {
  Call call(*this, "check");
  const auto in = co_await enter(call, deadline);
  CheckItem item;
  item.what = "reachable";
  item.ok = in.has_value();
  if (!in) item.detail = in.error().message;
  std::vector<CheckItem> items;
  items.push_back(std::move(item));
  co_return items;
}

}  // namespace keyfs
