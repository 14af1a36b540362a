// Which keys the names refer to.
#include <algorithm>
#include <utility>

#include "fs/sign/signing_impl.h"

namespace keyfs {
namespace {

// After this process has moved a name, an answer with the key before may be older than the move:
// KMS makes changes of aliases visible after some time.
constexpr Duration kMoveSettles = std::chrono::minutes(1);

}  // namespace

void SigningKeys::Impl::changed(const std::string& id, std::string left) {
  Notes& note = notes[id];
  note.changed = ++changes;
  note.changed_at = loop.now();
  if (!left.empty()) note.left = std::move(left);
}

bool SigningKeys::Impl::changed_since(const std::string& id, uint64_t since) const {
  const auto place = notes.find(id);
  return place != notes.end() && place->second.changed > since;
}

bool SigningKeys::Impl::just_changed(const std::string& id) const {
  const auto place = notes.find(id);
  return place != notes.end() && place->second.changed > 0 &&
         loop.now() - place->second.changed_at < kMoveSettles;
}

bool SigningKeys::Impl::just_left(const std::string& id, const std::string& key) const {
  return just_changed(id) && notes.at(id).left == key;
}

Task<Result<SigningKeyPtr>> SigningKeys::Impl::look(std::string id, TimePoint deadline, Asks asks) {
  // The flight has a deadline of its own: who joins it may have more time than who began it.
  Flights::Work work = [this, id, asks](Flights::Flight&) {
    return ask(id, loop.now() + options.step, asks);
  };
  auto flight = looks.join(id, std::move(work));
  co_return co_await before(loop, deadline, "which key it is could not be asked",
                            std::move(flight));
}

Task<Result<SigningKeyPtr>> SigningKeys::Impl::ask(std::string id, TimePoint deadline, Asks asks) {
  const TimePoint begun = loop.now();
  const uint64_t since = changes;
  const SigningKeyPtr known = find(id);
  if (known == nullptr && asks == Asks::kForAnyId) {
    if (auto may = may_ask_for_unknown(id); !may) co_return fail(std::move(may.error()));
  }
  if (known != nullptr) {
    notes[id].asked = begun;
    notes[id].asked_since = since;
  }
  std::optional<Error> error;
  for (Custody* custody : custodies) {
    if (!custody->check_name(id)) continue;
    auto found = co_await custody->find(id, deadline);
    if (!found) {
      if (found.error().code == Code::kCorrupt) told_damage(id, custody->kind(), found.error());
      if (!error) error = std::move(found.error());
      continue;
    }
    if (!*found) continue;
    // A custody before this one did not answer; it may have the name, unless it had not before.
    if (error && (known == nullptr || known->custody != custody->kind())) continue;
    co_return co_await take_over(id, custody, std::move(**found), begun, since, deadline);
  }
  if (changed_since(id, since)) co_return find(id);
  if (error) co_return fail(std::move(*error));
  if (known != nullptr && just_changed(id)) co_return known;  // an answer from before that
  if (known != nullptr) {
    log.info("a signing key's name was removed by another process", {{"id", id}});
    forget(id);
    co_await known_names.drop(known->custody, id);
  }
  co_return SigningKeyPtr();
}

// The key that is known stays in use as long as its custody lets it; status tells.
void SigningKeys::Impl::told_damage(const std::string& id, std::string_view kind,
                                    const Error& error) {
  const SigningKeyPtr known = find(id);
  if (known == nullptr || known->custody != kind || known->problem == error.message) return;
  log.warn("a signing key can't be used", {{"id", id}, {"reason", error.message}});
  auto damaged = std::make_shared<SigningKey>(*known);
  damaged->problem = error.message;
  damaged->damaged = true;
  publish(std::move(damaged));
}

Task<Result<SigningKeyPtr>> SigningKeys::Impl::take_over(std::string id, Custody* custody,
                                                         NamedKey named, TimePoint begun,
                                                         uint64_t since, TimePoint deadline) {
  const std::string kind(custody->kind());
  if (changed_since(id, since) || just_left(id, named.key)) co_return find(id);
  if (named.refreshed) keeper.refreshed(id, *named.refreshed);
  const SigningKeyPtr known = find(id);
  const bool same = known != nullptr && known->key == named.key && known->custody == kind;
  auto key = std::make_shared<SigningKey>();
  key->id = id;
  key->custody = kind;
  key->key = named.key;
  key->disabled = named.disabled;
  key->confirmed = begun;
  if (named.disabled) key->problem = "it is disabled";
  // A key that was disabled may not be so any longer: that only the custody tells.
  const bool doubtful = same && known->disabled && !named.disabled;
  if (same) key->public_key = known->public_key;
  if (key->public_key == nullptr && !doubtful) {
    key->public_key = co_await public_keys.get(kind, named.key);
  }
  if (key->public_key == nullptr || doubtful) {
    auto answer = co_await custody->public_key(named.key, deadline);
    if (answer) {
      key->public_key = std::move(*answer);
      co_await public_keys.put(kind, named.key, key->public_key);
    } else if (answer.error().code == Code::kRevoked) {
      key->disabled = true;
      key->problem = answer.error().message;
    } else if (known != nullptr && known->public_key != nullptr) {
      co_return fail(std::move(answer.error()));  // the key that was known stays for now
    } else {
      key->problem = answer.error().message;
      key->damaged = answer.error().code == Code::kCorrupt;
    }
  }
  if (changed_since(id, since)) co_return find(id);
  if (const auto note = notes.find(id); note != notes.end() && note->second.doubted > since) {
    key->confirmed = TimePoint{};  // the answer may be from before the doubt
  }
  if (known != nullptr && !same && !turns.busy(id)) {
    log.warn("a signing key's name was moved to another key by another process",
             {{"id", id}, {"key", key->key}});
  }
  if (!key->problem.empty() && (known == nullptr || known->problem != key->problem)) {
    log.warn("a signing key can't be used", {{"id", id}, {"reason", key->problem}});
  }
  publish(key);
  co_await note_name(*custody, key->id, key->key);
  co_return SigningKeyPtr(std::move(key));
}

// Only where a region may say otherwise after a restart.
Task<void> SigningKeys::Impl::note_name(const Custody& custody, std::string id, std::string key) {
  if (!custody.leaves_strays()) co_return;
  co_await known_names.put(std::string(custody.kind()), std::move(id), std::move(key));
}

// Takes what a list says of a name. What it says against what is known is asked for by itself:
// lists may be older than that.
Task<bool> SigningKeys::Impl::take_over_listed(NamedKey named, Custody* custody, TimePoint begun,
                                               uint64_t since, TimePoint deadline) {
  const std::string id = named.name;
  const SigningKeyPtr known = find(id);
  const bool against =
      known != nullptr && (known->key != named.key || known->custody != custody->kind());
  if (against) {
    auto found = co_await look(id, deadline);
    co_return found.has_value();
  }
  auto taken = co_await take_over(id, custody, std::move(named), begun, since, deadline);
  co_return taken.has_value();
}

// What this host knows and a region may not know yet comes first: that region may be the only one
// that answers.
Task<Result<void>> SigningKeys::Impl::load(TimePoint deadline) {
  if (const auto known = co_await known_names.load()) remember_all(*known, custodies);
  co_return co_await list(deadline);
}

Task<Result<void>> SigningKeys::Impl::list(TimePoint deadline) {
  const TimePoint begun = loop.now();
  const uint64_t since = changes;
  std::optional<Error> error;
  std::vector<Custody*> silent;
  std::map<std::string, std::pair<Custody*, NamedKey>> listed;
  for (Custody* custody : custodies) {
    auto names = co_await custody->list(deadline);
    if (!names) {
      silent.push_back(custody);
      log.warn("the names of signing keys could not be read; what is known stays in use",
               {{"custody", custody->kind()}, {"reason", names.error().message}});
      if (!error) error = failed(std::move(names.error()));
      continue;
    }
    for (NamedKey& named : *names) {
      const std::string id = named.name;
      listed.try_emplace(id, custody, std::move(named));
    }
  }
  if (silent.size() == custodies.size()) {
    co_return fail(error->within("the names of signing keys could not be read"));
  }
  const auto is_silent = [&silent](std::string_view kind) {
    return std::any_of(silent.begin(), silent.end(),
                       [kind](Custody* custody) { return custody->kind() == kind; });
  };
  TaskGroup<bool> group(loop);
  for (auto& [id, what] : listed) {
    const SigningKeyPtr known = find(id);
    // The custody that it is in did not answer; another one has an older key under its name.
    if (known != nullptr && known->custody != what.first->kind() && is_silent(known->custody)) {
      continue;
    }
    while (group.size() >= std::max<size_t>(options.starts_at_once, 1)) (void)co_await group.next();
    group.start(take_over_listed(std::move(what.second), what.first, begun, since, deadline));
  }
  while (!group.empty()) (void)co_await group.next();
  loaded = true;
  for (const SigningKeyPtr& known : all()) {
    if (listed.contains(known->id) || is_silent(known->custody)) continue;
    if (changed_since(known->id, since) || known->confirmed >= begun) continue;
    (void)co_await look(known->id, deadline);
  }
  co_return Result<void>();
}

}  // namespace keyfs
