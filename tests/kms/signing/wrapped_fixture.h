// Hosts with a wrapped custody each, over one store and one set of masters, on a loop with fake time.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "fs/keys/keyring_fixture.h"
#include "fs/sign/store_shelf.h"
#include "kms/signing/wrapped_custody.h"

namespace keyfs::testing {

struct WrappedHost {
  explicit WrappedHost(World& shared, WrappedCustodyOptions options = {})
      : world(shared),
        daemon(shared),
        shelf(make_store_shelf(shared.time.loop, daemon.store, "here")),
        custody(make_wrapped_custody(shared.time.loop, daemon.arena, shared.random, *daemon.regions,
                                     *shelf, with_degraded(std::move(options)))) {}

  WrappedCustodyOptions with_degraded(WrappedCustodyOptions options) {
    options.degraded = [this](const std::string& id) { degraded.push_back(id); };
    return options;
  }
  TimePoint soon() const { return world.time.loop.now() + 10s; }
  template <class T>
  T run(Task<T> task) {
    return world.time.loop.run_task(std::move(task));
  }

  Result<std::string> create(const std::string& name,
                             SigningKeyType type = SigningKeyType::kEcP256) {
    CreateKeyRequest request(name, type);
    return run(custody->create(std::move(request), soon()));
  }
  Result<Pointed> point(const std::string& name, const std::string& key,
                        std::optional<std::string> from = std::nullopt) {
    return run(custody->point(name, key, std::move(from), soon()));
  }
  // A key with its name; its reference.
  std::string make(const std::string& name, std::optional<std::string> from = std::nullopt) {
    const auto key = create(name);
    if (!key) return key.error().message;
    const auto pointed = point(name, *key, std::move(from));
    if (!pointed) return pointed.error().message;
    return pointed->done ? *key : "lost the race";
  }
  Task<Result<Signature>> signing(std::string key) {
    auto half = co_await custody->public_key(key, soon());
    if (!half) co_return fail(half.error());
    const auto algorithm = algorithms_of((*half)->type()).front();
    SignRequest request(key, *half, algorithm, std::string(digest_bytes(algorithm), 'd'));
    co_return co_await custody->sign(std::move(request), soon());
  }
  Result<Signature> sign(const std::string& key) { return run(signing(key)); }
  // "signed", or the code of the error.
  std::string signs(const std::string& key) {
    const auto signature = sign(key);
    return signature ? "signed" : std::string(to_string(signature.error().code));
  }
  // The reference that the name has; or "none", or the code of the error.
  std::string refers(const std::string& name) {
    const auto found = run(custody->find(name, soon()));
    if (!found) return std::string(to_string(found.error().code));
    return *found ? (*found)->key : "none";
  }

  World& world;
  std::vector<std::string> degraded;
  Daemon daemon;
  std::unique_ptr<SigningShelf> shelf;
  std::unique_ptr<Custody> custody;
};

struct WrappedTest : KeyringTest {
  std::string raw(const std::string& id) { return world.records->find(id)->json; }
};

}  // namespace keyfs::testing
