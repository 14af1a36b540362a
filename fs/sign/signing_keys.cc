#include "fs/sign/signing_keys.h"

#include <algorithm>
#include <utility>

#include "fs/sign/signing_impl.h"
#include "fs/sign/state_files.h"

namespace keyfs {
namespace {

// That an id does not exist is believed for so long; what others write appears within it.
constexpr Duration kAbsentFor = std::chrono::seconds(1);
constexpr size_t kMostAbsent = 4096;
// Ids that are not known and may be looked for: whoever may use ids that match a glob can name any
// number of them.
constexpr double kUnknownPerSecond = 20;
constexpr double kUnknownBurst = 40;
// What is doubted is asked for first, but not again and again while nobody answers.
constexpr Duration kDoubtPause = std::chrono::seconds(1);

std::string about_key(std::string_view id) { return "signing key " + std::string(id); }

}  // namespace

SigningKeys::Impl::Impl(Parts parts, SigningOptions o)
    : loop(parts.loop),
      log(parts.log),
      random(std::move(parts.random)),
      custodies(std::move(parts.custodies)),
      options(std::move(o)),
      unknown_tokens(kUnknownBurst),
      unknown_at(loop.now()),
      worker(loop, "keyfs-sign"),
      journal(options.directory + "/begun"),
      cap(options.directory + "/made", options.keys_per_hour),
      doomed(loop, log, random, worker, options.directory + "/doomed",
             std::max<Duration>(options.grace, std::chrono::hours(1))),
      public_keys(worker, options.directory + "/public"),
      known_names(worker, options.directory + "/names"),
      keeper(NameKeeper::Parts{loop, log, random, worker, turns, custodies,
                               [this]() -> std::optional<std::vector<SigningKeyPtr>> {
                                 if (!loaded) return std::nullopt;
                                 return all();
                               },
                               [this](std::string id) { return name_moved(std::move(id)); },
                               [this] { return concerned(); }},
             options),
      list_wake(loop),
      tidy_wake(loop),
      turns(loop),
      looks(loop),
      changes_running(loop),
      behind(loop) {}

SigningKeyPtr SigningKeys::Impl::find(std::string_view id) const {
  const std::lock_guard lock(mutex);
  const auto place = keys.find(id);
  return place == keys.end() ? nullptr : place->second;
}

std::vector<SigningKeyPtr> SigningKeys::Impl::all() const {
  const std::lock_guard lock(mutex);
  std::vector<SigningKeyPtr> found;
  found.reserve(keys.size());
  for (const auto& [id, key] : keys) found.push_back(key);
  return found;
}

void SigningKeys::Impl::publish(SigningKeyPtr key) {
  absent.erase(key->id);
  const std::lock_guard lock(mutex);
  keys[key->id] = std::move(key);
}

void SigningKeys::Impl::forget(const std::string& id) {
  const std::lock_guard lock(mutex);
  keys.erase(id);
}

void SigningKeys::Impl::doubt(std::string_view id) {
  const auto place = absent.find(id);
  if (place != absent.end()) absent.erase(place);
  const SigningKeyPtr known = find(id);
  if (known == nullptr) return;
  notes[known->id].doubted = ++changes;
  auto doubted = std::make_shared<SigningKey>(*known);
  doubted->confirmed = TimePoint{};
  publish(std::move(doubted));
}

bool SigningKeys::Impl::fresh(const SigningKey& key) const {
  return key.confirmed != TimePoint{} && loop.now() - key.confirmed < options.fresh_for;
}

Custody* SigningKeys::Impl::custody_of(std::string_view kind) const {
  for (Custody* custody : custodies) {
    if (custody->kind() == kind) return custody;
  }
  return nullptr;
}

Error SigningKeys::Impl::failed(Error error) {
  const std::lock_guard lock(mutex);
  counts.last_error = error.message;
  return error;
}

Result<void> SigningKeys::Impl::may_ask_for_unknown(const std::string& id) {
  const double passed = std::chrono::duration<double>(loop.now() - unknown_at).count();
  unknown_at = loop.now();
  unknown_tokens = std::min(kUnknownBurst, unknown_tokens + passed * kUnknownPerSecond);
  if (unknown_tokens < 1) {
    return fail(Code::kThrottled, about_key(id) +
                                      ": too many signing keys that are not known were asked for "
                                      "within a second");
  }
  unknown_tokens -= 1;
  return {};
}

Task<Result<SigningKeyPtr>> SigningKeys::Impl::resolve(std::string id, TimePoint deadline) {
  const SigningKeyPtr known = find(id);
  if (known != nullptr && fresh(*known)) co_return known;
  if (known == nullptr) {
    const auto place = absent.find(id);
    if (place != absent.end() && loop.now() < place->second) co_return SigningKeyPtr();
  }
  auto found = co_await look(id, deadline, Asks::kForAnyId);
  if (found && *found == nullptr) {
    if (absent.size() >= kMostAbsent) absent.clear();
    absent[id] = loop.now() + kAbsentFor;
  }
  co_return found;
}

// Behind a signature: nobody waits for it.
Task<void> SigningKeys::Impl::renew(std::string id) {
  (void)co_await look(id, loop.now() + options.step);
}

// A key that may not be current any longer. What was told to be doubtful is asked for first; what
// is only old serves on, and is asked for behind.
Task<Result<SigningKeyPtr>> SigningKeys::Impl::look_if_doubted(SigningKeyPtr key,
                                                               TimePoint deadline) {
  const std::string id = key->id;
  const auto doubtful = [this, &id](const SigningKey& one) {
    const Notes& note = notes[id];
    const bool asked_since = note.asked_since >= note.doubted && note.asked != TimePoint{} &&
                             loop.now() - note.asked < kDoubtPause;
    return one.confirmed == TimePoint{} && !asked_since;
  };
  // Twice if it joined an answer that was on its way before the doubt.
  for (int tries = 0; tries < 2 && doubtful(*key); ++tries) {
    auto found = co_await look(id, deadline);
    if (!found) break;  // nobody knows better
    key = std::move(*found);
    if (key == nullptr) co_return key;
  }
  if (fresh(*key)) co_return key;
  Notes& note = notes[id];
  const Duration pause = key->confirmed == TimePoint{} ? kDoubtPause : options.fresh_for;
  const bool renewed = note.asked != TimePoint{} && loop.now() - note.asked < pause;
  if (!renewed && !looks.in_flight(id)) {
    note.asked = loop.now();
    behind.start(renew(id));
  }
  co_return key;
}

Task<Result<SigningKeys::SignOutcome>> SigningKeys::Impl::sign(DigestRequest request) {
  const std::string id = request.id;
  auto outcome = co_await sign_now(std::move(request));
  if (!outcome) {
    {
      const std::lock_guard lock(mutex);
      ++counts.failures;
    }
    co_return fail(failed(outcome.error().within(about_key(id))));
  }
  if (outcome->done) {
    const std::lock_guard lock(mutex);
    ++counts.signatures;
  }
  co_return outcome;
}

Task<Result<SigningKeys::SignOutcome>> SigningKeys::Impl::sign_now(DigestRequest request) {
  SigningKeyPtr key = find(request.id);
  if (key == nullptr) {
    auto found = co_await resolve(request.id, request.deadline);
    if (!found) co_return fail(std::move(found.error()));
    key = std::move(*found);
  } else if (!fresh(*key)) {
    auto found = co_await look_if_doubted(key, request.deadline);
    if (!found) co_return fail(std::move(found.error()));
    key = std::move(*found);
  }
  // Once more with the key that the id refers to by now, if this one does not do.
  for (bool looked = false;; looked = true) {
    SignOutcome outcome;
    if (key == nullptr) co_return outcome;
    const bool pinned_away = !request.pinned.empty() && key->public_key != nullptr &&
                             request.pinned != key->public_key->fingerprint();
    const bool usable = key->public_key != nullptr && !key->disabled && !pinned_away;
    if (!usable) {
      if (!looked && !fresh(*key)) {
        auto found = co_await look(request.id, request.deadline);
        if (!found) co_return fail(std::move(found.error()));
        key = std::move(*found);
        continue;
      }
      if (pinned_away) {
        outcome.stale = true;
        co_return outcome;
      }
      if (key->disabled) co_return fail(Code::kRevoked, "it is disabled or pending deletion");
      co_return fail(key->damaged ? Code::kCorrupt : Code::kUnavailable, key->problem);
    }
    if (!signs_with(key->public_key->type(), request.algorithm) ||
        request.digest.size() != digest_bytes(request.algorithm)) {
      co_return fail(Code::kInvalid, "it does not sign such a digest");
    }
    Custody* custody = custody_of(key->custody);
    if (custody == nullptr) co_return fail(Code::kInvalid, "its custody is not configured");
    SignRequest one(key->key, key->public_key, request.algorithm, request.digest);
    auto signature = co_await custody->sign(std::move(one), request.deadline);
    if (signature) {
      outcome.done.emplace();
      outcome.done->signature = std::move(*signature);
      outcome.done->by = key;
      co_return outcome;
    }
    if (signature.error().code != Code::kRevoked) co_return fail(std::move(signature.error()));
    // The name may refer to a new key, of which this process has not heard.
    SigningKeyPtr now = key;
    if (!looked) {
      auto found = co_await look(request.id, request.deadline);
      if (found) now = std::move(*found);
    }
    const bool moved = now == nullptr || now->key != key->key || now->custody != key->custody;
    if (!moved) {
      const SigningKeyPtr latest = find(request.id);
      if (latest != nullptr && latest->key == key->key && !latest->disabled) {
        auto disabled = std::make_shared<SigningKey>(*latest);
        disabled->disabled = true;
        disabled->problem = signature.error().message;
        publish(std::move(disabled));
      }
      co_return fail(std::move(signature.error()));
    }
    if (!request.pinned.empty() && now != nullptr) {
      outcome.stale = true;
      co_return outcome;
    }
    if (looked) co_return fail(std::move(signature.error()));
    key = std::move(now);
  }
}

SigningKeys::SigningKeys(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
SigningKeys::~SigningKeys() = default;

Result<std::unique_ptr<SigningKeys>> SigningKeys::open(Parts parts, SigningOptions options) {
  if (parts.custodies.empty()) return fail(Code::kInvalid, "there is no custody of signing keys");
  if (auto ok = make_state_directory(options.directory); !ok) return fail(std::move(ok.error()));
  auto keys = std::unique_ptr<SigningKeys>(
      new SigningKeys(std::make_unique<Impl>(std::move(parts), std::move(options))));
  // On a full or read-only disk signing goes on; what was kept there must be readable all the same.
  for (const char* part : {"/begun", "/doomed", "/public"}) {
    const std::string path = keys->impl_->options.directory + part;
    auto ok = make_state_directory(path);
    if (ok) continue;
    auto there = state_files_in(path, "");
    const bool unsafe = ok.error().code == Code::kDenied && there && !there->empty();
    if (!there || unsafe) return fail(std::move(ok.error()));
    keys->impl_->log.warn("signing keys are used, and none can be created",
                          {{"reason", ok.error().message}});
  }
  return keys;
}

SigningKeyPtr SigningKeys::find(std::string_view id) const { return impl_->find(id); }
std::vector<SigningKeyPtr> SigningKeys::all() const { return impl_->all(); }

Task<Result<void>> SigningKeys::load(TimePoint deadline) { return impl_->load(deadline); }

Task<Result<SigningKeyPtr>> SigningKeys::resolve(std::string id, TimePoint deadline) {
  auto found = co_await impl_->resolve(id, deadline);
  if (!found) co_return fail(found.error().within(about_key(id)));
  co_return found;
}

Task<Result<SigningKeys::SignOutcome>> SigningKeys::sign(DigestRequest request) {
  return impl_->sign(std::move(request));
}

Task<Result<SigningKeyPtr>> SigningKeys::generate(GenerateRequest request) {
  return impl_->to_the_end(
      [impl = impl_.get(), request = std::move(request)] { return impl->generate(request); });
}

Task<Result<SigningKeyPtr>> SigningKeys::set_enabled(std::string id, bool enabled,
                                                     TimePoint deadline) {
  return impl_->to_the_end([impl = impl_.get(), id = std::move(id), enabled, deadline] {
    return impl->set_enabled(id, enabled, deadline);
  });
}

Task<Result<bool>> SigningKeys::remove(std::string id, TimePoint deadline) {
  // Named, both: g++ 12 destroys a temporary within a co_await twice.
  auto work = [impl = impl_.get(), id = std::move(id), deadline] {
    return impl->remove(id, deadline);
  };
  auto removing = impl_->to_the_end(std::move(work));
  auto removed = co_await std::move(removing);
  if (!removed) co_return fail(std::move(removed.error()));
  co_return *removed != nullptr;
}

Task<void> SigningKeys::run() { return impl_->run(); }

void SigningKeys::wake() {
  impl_->list_wake.set();
  impl_->tidy_wake.set();
}

Task<bool> SigningKeys::settle(TimePoint deadline) { return impl_->tidy(deadline); }

void SigningKeys::doubt(std::string_view id) { impl_->doubt(id); }

size_t SigningKeys::at_the_disk() const { return impl_->worker.under_way(); }

SigningStatus SigningKeys::status() const {
  SigningStatus status;
  {
    const std::lock_guard lock(impl_->mutex);
    status = impl_->counts;
  }
  DeletionQueue::Summary deletions = impl_->doomed.summary();
  status.queued_deletions = deletions.waiting;
  status.deletion_trouble = std::move(deletions.trouble);
  status.deleted = deletions.deleted;
  status.unfinished = impl_->left_unfinished + impl_->births;
  status.disposed = impl_->keeper.disposed();
  for (const SigningKeyPtr& key : impl_->all()) {
    SigningStatus::Key& one = status.keys.emplace_back();
    one.id = key->id;
    one.custody = key->custody;
    one.key = key->key;
    one.problem = key->problem;
    one.state = key->disabled ? "disabled" : key->public_key == nullptr ? "unusable" : "enabled";
    if (key->public_key != nullptr) {
      one.type = to_string(key->public_key->type());
      one.fingerprint = key->public_key->fingerprint();
    }
  }
  return status;
}

}  // namespace keyfs
