// Changes: new keys, and the end of names.
#include <algorithm>
#include <utility>

#include "base/crypto.h"
#include "fs/sign/signing_impl.h"

namespace keyfs {
namespace {

constexpr std::string_view kTestText = "keyfs: the first signature of a new key";

// Any digest of the right length.
Result<std::string> test_digest(SigningAlgorithm algorithm) {
  auto hash = sha256(bytes_of(kTestText));
  if (!hash) return fail(std::move(hash.error()));
  std::string digest(hash->begin(), hash->end());
  while (digest.size() < digest_bytes(algorithm)) digest += digest;
  digest.resize(digest_bytes(algorithm));
  return digest;
}

// Whether a failed call may have taken effect, or may still do so.
bool may_have_happened(Code code) { return code == Code::kTimeout || code == Code::kUnavailable; }

// What can be kept on disk, and shown.
bool is_plain_id(std::string_view id) {
  return !id.empty() && id.size() <= 255 &&
         std::all_of(id.begin(), id.end(), [](char c) { return c > ' ' && c <= '~'; });
}

}  // namespace

// A key on its way to its name.
struct SigningKeys::Impl::Birth {
  Birth(GenerateRequest r, std::atomic<size_t>& number) : request(std::move(r)), births(number) {
    ++births;
  }
  Birth(const Birth&) = delete;
  Birth& operator=(const Birth&) = delete;
  ~Birth() { --births; }

  const GenerateRequest request;
  std::atomic<size_t>& births;
  Custody* custody = nullptr;
  SigningKeyType type = SigningKeyType::kEcP256;
  SigningKeyPtr present;
  BegunEntryPtr entry;
  WallTime counted{};
  std::string key;  // its reference; empty: not known
};

Task<Result<BegunEntryPtr>> SigningKeys::Impl::begin(Begun what) {
  std::function<Result<BegunEntryPtr>()> work = [journal = journal, what] {
    return journal.begin(what);
  };
  co_return co_await worker.run(std::move(work));
}

Task<void> SigningKeys::Impl::finish(BegunEntryPtr entry) {
  std::function<Result<void>()> work = [entry] { return entry->finish(); };
  auto done = co_await worker.run(std::move(work));
  // Whoever finds it finds nothing left to do.
  if (!done) log.warn("what was finished could not be removed", {{"reason", done.error().message}});
}

Task<Result<void>> SigningKeys::Impl::doom(Doomed one) {
  auto kept = co_await doomed.add(std::move(one));
  tidy_wake.set();
  co_return kept;
}

Task<Result<SigningKeyPtr>> SigningKeys::Impl::generate(GenerateRequest request) {
  using Mode = GenerateRequest::Mode;
  const std::string id = request.id;
  const std::string what = "signing key " + id;
  if (!is_plain_id(id)) co_return fail(Code::kInvalid, "this is no id of a signing key");
  const IdTurns::Turn turn = co_await turns.take(id);
  Birth birth(std::move(request), births);
  const GenerateRequest& wanted = birth.request;
  auto present = co_await look(id, wanted.deadline);
  if (!present) co_return fail(failed(present.error().within(what)));
  birth.present = *present;
  if (birth.present != nullptr && wanted.mode == Mode::kCreate) {
    co_return fail(Code::kInvalid, what + " exists");
  }
  if (birth.present == nullptr && wanted.mode == Mode::kRotate) {
    co_return fail(Code::kInvalid, what + " does not exist");
  }
  const std::string kind = !wanted.custody.empty()    ? wanted.custody
                           : birth.present != nullptr ? birth.present->custody
                                                      : std::string(custodies.front()->kind());
  birth.custody = custody_of(kind);
  if (birth.custody == nullptr) {
    co_return fail(Code::kInvalid, what + ": there is no custody " + kind + " here");
  }
  if (birth.present != nullptr && birth.present->custody != kind) {
    co_return fail(Code::kInvalid,
                   what + " is in custody " + birth.present->custody + "; delete it there first");
  }
  if (auto ok = birth.custody->check_name(id); !ok) co_return fail(ok.error().within(what));
  if (wanted.type) {
    birth.type = *wanted.type;
  } else if (birth.present != nullptr && birth.present->public_key != nullptr) {
    birth.type = birth.present->public_key->type();
  } else {
    co_return fail(Code::kInvalid, what + ": of which type?");
  }

  auto token = new_token();
  if (!token) co_return fail(failed(token.error().within(what)));
  // Both on disk before anything is created.
  birth.counted = loop.clock().wall();
  std::function<Result<void>()> count = [cap = cap, at = birth.counted] { return cap.take(at); };
  auto counted = co_await worker.run(std::move(count));
  Begun begun;
  begun.id = id;
  begun.custody = kind;
  if (birth.present != nullptr) begun.from = birth.present->key;
  begun.token = std::move(*token);
  begun.at = birth.counted;
  Result<BegunEntryPtr> entry = fail(Code::kUnavailable, "");
  if (counted) entry = co_await begin(std::move(begun));
  if (!counted && counted.error().code == Code::kThrottled) {
    co_return fail(failed(counted.error().within(what)));
  }
  if (counted && !entry) co_await give_back(birth.counted);
  if (!counted || !entry) {
    const Error& why = !counted ? counted.error() : entry.error();
    co_return fail(
        failed(why.within(what + ": no key is created because what is begun could not be kept")));
  }
  birth.entry = std::move(*entry);

  auto public_key = co_await bring_up(birth);
  if (!public_key) {
    const Error why = co_await give_up(birth, std::move(public_key.error()), Duration::zero());
    co_return fail(failed(why.within(what)));
  }
  auto named = co_await name_it(birth, std::move(*public_key));
  if (!named) co_return fail(failed(named.error().within(what)));
  co_return named;
}

Task<Result<void>> SigningKeys::Impl::keep_reference(Birth& birth, std::string key) {
  birth.key = key;
  std::function<Result<void>()> work = [entry = birth.entry, key] { return entry->set_key(key); };
  co_return co_await worker.run(std::move(work));
}

// It is certain that nothing was created.
Task<void> SigningKeys::Impl::give_back(WallTime counted) {
  std::function<Result<void>()> work = [cap = cap, counted, now = loop.clock().wall()] {
    return cap.give_back(counted, now);
  };
  (void)co_await worker.run(std::move(work));
}

// Creates the key, and signs and verifies once.
Task<Result<PublicKeyPtr>> SigningKeys::Impl::bring_up(Birth& birth) {
  const TimePoint deadline = birth.request.deadline;
  CreateKeyRequest request(birth.request.id, birth.type);
  request.token = birth.entry->what().token;
  request.on_reference = [this, &birth](std::string key) {
    return keep_reference(birth, std::move(key));
  };
  auto created = co_await birth.custody->create(std::move(request), deadline);
  if (!created) co_return fail(created.error().within("it could not be created"));
  if (birth.key.empty()) {
    auto kept = co_await keep_reference(birth, *created);
    if (!kept) co_return fail(std::move(kept.error()));
  }
  auto public_key = co_await birth.custody->public_key(birth.key, deadline);
  if (!public_key) co_return fail(public_key.error().within("its public key could not be read"));
  if ((*public_key)->type() != birth.type) {
    co_return fail(Code::kCorrupt, "the new key is of another type than was asked for");
  }
  const SigningAlgorithm algorithm = algorithms_of(birth.type).front();
  auto digest = test_digest(algorithm);
  if (!digest) co_return fail(std::move(digest.error()));
  SignRequest test(birth.key, *public_key, algorithm, *digest);
  auto signature = co_await birth.custody->sign(std::move(test), deadline);
  if (!signature) co_return fail(signature.error().within("its first signature failed"));
  auto verified = (*public_key)->verify(algorithm, bytes_of(*digest), bytes_of(signature->bytes));
  if (!verified) co_return fail(verified.error().within("its signature does not verify"));
  co_await public_keys.put(std::string(birth.custody->kind()), birth.key, *public_key);
  co_return std::move(*public_key);
}

// For a minute after its own change this process does not believe an answer that goes back behind it
// (just_changed()). If the name has in truth gone back, or away, nobody else is at work on it.
Task<Result<Pointed>> SigningKeys::Impl::point(Birth& birth) {
  const std::string id = birth.request.id;
  std::optional<std::string> from;
  if (birth.present != nullptr) from = birth.present->key;
  auto pointed = co_await birth.custody->point(id, birth.key, from, birth.request.deadline);
  if (!pointed || pointed->done || birth.request.mode != GenerateRequest::Mode::kPut || !from) {
    co_return pointed;
  }
  if (pointed->now && !just_left(id, pointed->now->key)) co_return pointed;
  log.warn("a signing key's name was set back or removed by another process; it gets the new key",
           {{"id", id}, {"key", birth.key}});
  from.reset();
  if (pointed->now) from = pointed->now->key;
  co_return co_await birth.custody->point(id, birth.key, from, birth.request.deadline);
}

// Moves the name to the new key.
Task<Result<SigningKeyPtr>> SigningKeys::Impl::name_it(Birth& birth, PublicKeyPtr public_key) {
  const std::string id = birth.request.id;
  auto pointed = co_await point(birth);
  if (pointed && pointed->done) {
    co_return co_await succeed(birth, std::move(public_key), std::move(pointed->behind));
  }
  if (pointed) {
    // Somebody else was first.
    Error why(Code::kUnavailable, "it was changed meanwhile by another process");
    if (birth.request.mode == GenerateRequest::Mode::kCreate && pointed->now) {
      why = Error(Code::kInvalid, "it exists");
    }
    why = co_await give_up(birth, std::move(why), Duration::zero());
    (void)co_await look(id, loop.now() + options.step);
    co_return fail(std::move(why));
  }
  // The name tells which of both keys is to go.
  auto found = co_await birth.custody->find_decided(id, loop.now() + options.step);
  if (!found) {
    log.error(
        "it is not known whether a signing key got its name; neither key is deleted until it is",
        {{"id", id}, {"reason", found.error().message}});
    leave(birth);
    co_return fail(pointed.error().within("it is not known whether the new key got its name"));
  }
  if (*found && (*found)->key == birth.key) {
    co_return co_await succeed(birth, std::move(public_key), "");
  }
  // What was sent may still arrive: the deletion looks at the name again.
  const bool late = may_have_happened(pointed.error().code);
  const Duration wait = late ? options.step : Duration::zero();
  Error why = co_await give_up(birth, std::move(pointed.error()), wait);
  co_return fail(std::move(why));
}

Task<Result<SigningKeyPtr>> SigningKeys::Impl::succeed(Birth& birth, PublicKeyPtr public_key,
                                                       std::string behind) {
  const std::string id = birth.request.id;
  auto key = std::make_shared<SigningKey>();
  key->id = id;
  key->custody = birth.custody->kind();
  key->key = birth.key;
  key->public_key = std::move(public_key);
  key->confirmed = loop.now();
  changed(id, birth.present == nullptr ? "" : birth.present->key);
  publish(key);
  keeper.refreshed(id, loop.clock().wall());
  co_await note_name(*birth.custody, id, key->key);
  {
    const std::lock_guard lock(mutex);
    ++counts.made;
  }
  log.info("a signing key was made",
           {{"id", id}, {"key", key->key}, {"fingerprint", key->public_key->fingerprint()}});
  if (!behind.empty()) {
    // The entry stays until every region knows the name, and the old key with it.
    tell_behind(*birth.entry, "not known yet in " + behind);
    std::function<Result<void>()> note = [entry = birth.entry] { return entry->set_named(); };
    auto noted = co_await worker.run(std::move(note));
    if (!noted) {
      log.error("it could not be kept on disk which key a signing key's name refers to",
                {{"id", id}, {"key", key->key}, {"reason", noted.error().message}});
    }
    leave(birth);
    co_return SigningKeyPtr(std::move(key));
  }
  bool kept = true;
  if (birth.present != nullptr) {
    Doomed old(birth.present->custody, birth.present->key, id, "", wall_in(options.grace));
    kept = (co_await doom(std::move(old))).has_value();
  }
  // While the old key is not queued on disk, the entry tells of it.
  if (kept) co_await finish(birth.entry);
  co_return SigningKeyPtr(std::move(key));
}

// It is settled later, by whoever finds it: its lock is free now.
void SigningKeys::Impl::leave(Birth& birth) {
  ++left_unfinished;
  birth.entry.reset();
  tidy_wake.set();
}

// The new key goes, if there is one. Gives the reason back.
Task<Error> SigningKeys::Impl::give_up(Birth& birth, Error why, Duration wait) {
  if (birth.key.empty() && may_have_happened(why.code)) {
    const TimePoint deadline = loop.now() + options.step;
    const std::string path = birth.entry->path();
    const bool over = co_await settle_unheard(birth.entry, deadline);
    if (!over) leave(birth);
    tidy_wake.set();  // for what is queued
    const std::string reason = why_unheard(path);
    if (!reason.empty()) why.message += "; it is looked for again and again: " + reason;
    co_return why;
  }
  bool kept = true;
  if (!birth.key.empty()) {
    Doomed one(std::string(birth.custody->kind()), birth.key, birth.request.id,
               birth.present == nullptr ? "" : birth.present->key, wall_in(wait));
    kept = (co_await doom(std::move(one))).has_value();
  } else {
    co_await give_back(birth.counted);
  }
  if (kept) co_await finish(birth.entry);
  co_return why;
}

Task<Result<SigningKeyPtr>> SigningKeys::Impl::set_enabled(std::string id, bool enabled,
                                                           TimePoint deadline) {
  const IdTurns::Turn turn = co_await turns.take(id);
  auto present = co_await look(id, deadline);
  if (!present) co_return fail(std::move(present.error()));
  if (*present == nullptr) co_return SigningKeyPtr();
  const std::string what = "signing key " + id;
  Custody* custody = custody_of((*present)->custody);
  auto done = co_await custody->set_enabled(id, (*present)->key, enabled, deadline);
  if (!done) {
    doubt(id);
    co_return fail(failed(done.error().within(what)));
  }
  auto key = std::make_shared<SigningKey>(**present);
  key->disabled = !enabled;
  key->problem = enabled ? "" : "it is disabled";
  key->confirmed = loop.now();
  if (enabled && key->public_key == nullptr) {
    auto answer = co_await custody->public_key(key->key, deadline);
    if (answer) {
      key->public_key = std::move(*answer);
      co_await public_keys.put(key->custody, key->key, key->public_key);
    } else {
      key->problem = answer.error().message;
      key->damaged = answer.error().code == Code::kCorrupt;
    }
  }
  changed(id, "");
  publish(key);
  co_return SigningKeyPtr(std::move(key));
}

// The name first: a crash between leaves a key that `begun` tells of, never a name without a key.
Task<Result<SigningKeyPtr>> SigningKeys::Impl::remove(std::string id, TimePoint deadline) {
  const IdTurns::Turn turn = co_await turns.take(id);
  const std::string what = "signing key " + id;
  auto present = co_await look(id, deadline);
  if (!present) co_return fail(failed(present.error().within(what)));
  const SigningKeyPtr key = *present;
  if (key == nullptr) co_return key;
  Custody* custody = custody_of(key->custody);
  Begun begun;
  begun.removal = true;
  begun.id = id;
  begun.custody = key->custody;
  begun.key = key->key;
  auto entry = co_await begin(std::move(begun));
  if (!entry) {
    co_return fail(failed(entry.error().within(
        what + ": it is not deleted because what is begun could not be kept")));
  }
  auto removed = co_await custody->remove_name(id, key->key, deadline);
  if (!removed) {
    auto found = co_await custody->find_decided(id, loop.now() + options.step);
    if (!found) {
      ++left_unfinished;  // and settled later
      tidy_wake.set();
      co_return fail(
          failed(removed.error().within(what + ": it is not known whether it is deleted")));
    }
    if (*found && (*found)->key == key->key) {
      co_await finish(*entry);
      co_return fail(failed(removed.error().within(what)));
    }
  }
  changed(id, key->key);
  forget(id);
  co_await known_names.drop(key->custody, id);
  log.info("a signing key's name was removed", {{"id", id}, {"key", key->key}});
  Doomed one(key->custody, key->key, id, "", loop.clock().wall());
  one.unless_named = false;
  if ((co_await doom(std::move(one))).has_value()) co_await finish(*entry);
  co_return key;
}

}  // namespace keyfs
