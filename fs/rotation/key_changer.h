// KeyVersions as the holder of the lock uses it: at the pace of background work.
//
// Thread-safety: none; on the loop's thread. Ownership: refers to its parts, which outlive it.
// Blocking: never. Errors: those of KeyVersions.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "base/crypto.h"
#include "base/loop.h"
#include "fs/rotation/retirement.h"
#include "fs/rotation/runner.h"
#include "fs/upkeep/call_pace.h"
#include "fs/upkeep/key_versions.h"
#include "store/pulse.h"
#include "store/store.h"

namespace keyfs {

class PacedKeyVersions final : public KeyChanger {
 public:
  // `pace`: shared by all that works in the background. `regions`: how many there are; each is asked
  // to wrap, and to unwrap what it has wrapped.
  PacedKeyVersions(KeyVersions& versions, CallPace& pace, size_t regions, double calls_per_second)
      : versions_(versions), pace_(pace), regions_(regions), per_second_(calls_per_second) {}

  Task<Result<Promotion>> rotate(std::string id, std::string token) override {
    co_await pace_.take(2 * regions_, per_second_);
    RotateRequest request;
    request.id = std::move(id);
    request.token = std::move(token);
    co_return co_await versions_.rotate(std::move(request));
  }
  Task<Result<Promotion>> promote(std::string id, uint32_t version,
                                  std::optional<uint32_t> only_from) override {
    co_await pace_.take(regions_, per_second_);
    co_return co_await versions_.promote(std::move(id), version, only_from);
  }

 private:
  KeyVersions& versions_;
  CallPace& pace_;
  const size_t regions_;
  const double per_second_;
};

// Of the runner's changes its run tells the others; of this one nobody else does.
class ToldRetirer final : public Retirer {
 public:
  // `store`: the one that `versions` changes. `shards`: of the pulse.
  ToldRetirer(Loop& loop, KeyVersions& versions, Store& store, Random& random, unsigned shards)
      : loop_(loop), versions_(versions), store_(store), random_(random), shards_(shards) {}

  // An error also if it is done and the others could not be told: then the same call again tells
  // them.
  Task<Result<MinChange>> retire(std::string id, uint32_t below) override {
    auto retired = co_await versions_.retire_old(id, below);
    Board* board = store_.can_watch() ? nullptr : store_.board();
    if (!retired || board == nullptr) co_return retired;
    PulseNews news;
    news.changed.push_back(std::move(id));
    auto told =
        co_await tell_pulse(*board, loop_, random_, std::move(news), shards_, loop_.now() + kTell);
    if (!told) co_return fail(told.error());
    co_return retired;
  }

 private:
  static constexpr Duration kTell = std::chrono::seconds(10);
  Loop& loop_;
  KeyVersions& versions_;
  Store& store_;
  Random& random_;
  const unsigned shards_;
};

}  // namespace keyfs
