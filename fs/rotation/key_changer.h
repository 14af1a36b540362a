// KeyVersions as the runner uses it: at the pace of background work.
//
// Thread-safety: none; on the loop's thread. Ownership: refers to its parts, which outlive it.
// Blocking: never. Errors: those of KeyVersions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "fs/rotation/runner.h"
#include "fs/upkeep/call_pace.h"
#include "fs/upkeep/key_versions.h"

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

}  // namespace keyfs
