// The ordered set of regions: creates a data key and wraps it in all of them; unwraps it with
// whichever answers first.
//
// Thread-safety: none; on the loop's thread. Blocking: never; each call is a task; dropping it
// cancels all its calls to regions (except probes, which the set owns). Ownership: owns its
// regions; outlives its tasks, and is destroyed before its loop. References passed as arguments
// must live until the task is done. Deadlines: one bounds the whole call, calls to regions
// included. Errors: one for all regions; its message lists each region's reason, and its code is
//   kInvalid          all say that the request is invalid
//   kCorrupt          a region's wrap is not what was wrapped, and no other region gave the key
//   kTimeout          the deadline passed
//   kThrottled        all regions that did not refuse are over quota
//   kDenied           all refused
//   kUnauthenticated  all refused the credentials
//   kUnavailable      anything else
// No error of one region keeps the others from being asked.
//
// Order: learned from latency, with the configured order breaking ties; regions whose breaker is
// open come last, and are still asked if all others failed. Creation costs one call per region, so
// it does not verify that all wraps hold the same key. unwrap() does, with a verifier (the key
// check value); a region whose plaintext it refuses counts as corrupt.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/crypto.h"
#include "base/health.h"
#include "base/loop.h"
#include "base/race.h"
#include "base/result.h"
#include "base/retry.h"
#include "base/secret.h"
#include "kms/region.h"

namespace keyfs {

struct RegionsOptions {
  // A new key is returned only once it is wrapped in at least this many regions.
  size_t create_min_regions = 1;
  HealthOptions health;

  // Once enough regions hold a new key, each other one gets `grace_factor` times its p95 (or
  // `grace_unknown`) from its start to finish too, but at most `grace_share` of the time to the
  // deadline. A region that takes longer is recorded as missing.
  double grace_factor = 3;
  Duration grace_unknown = std::chrono::seconds(1);
  Duration grace_least = std::chrono::milliseconds(50);
  double grace_share = 0.25;

  // The number of rounds if every region failed and some may work if asked again, or were skipped
  // for lack of a token. Pauses between rounds are at most `pause`, doubled each time. Every call
  // after the first round costs a token.
  unsigned rounds = 3;
  Duration pause = std::chrono::milliseconds(100);

  Duration probe_deadline = std::chrono::seconds(5);

  // Concurrent calls to one region, as many as there are connections to a host (base/http). Further
  // ones wait here for their turn, which does not count as latency or failure of the region.
  size_t calls_at_once = 64;
};

enum class RegionCall { kGenerate, kWrap, kUnwrap };
std::string_view to_string(RegionCall call);  // "generate", "wrap", "unwrap"

// Receives everything worth counting or logging. On the loop's thread; must not block.
class RegionObserver {
 public:
  virtual ~RegionObserver() = default;
  // `error` is null when the call succeeded. Abandoned calls are reported here as kTimeout only if
  // the deadline passed, otherwise by on_given_up().
  virtual void on_call(const std::string& region, RegionCall call, const Error* error,
                       Duration latency) = 0;
  virtual void on_given_up(const std::string& region, RegionCall call, Duration waited) = 0;
  // This region is called because another one is slow.
  virtual void on_hedge(const std::string& region, RegionCall call) = 0;
  // This region is called because another one failed.
  virtual void on_fallback(const std::string& region, RegionCall call) = 0;
  // `reason` is null if it closes.
  virtual void on_breaker(const std::string& region, BreakerState state, Duration open_for,
                          const Error* reason) = 0;
};

struct RegionFailure {
  std::string region;
  Error error;
};

using WrappedKeys = std::map<std::string, WrappedKey>;  // by region

struct CreatedKey {
  SecretBytes key;
  std::string region;  // that generated it
  WrappedKeys wrapped;
  std::vector<RegionFailure> missing;
};

struct UnwrappedKey {
  SecretBytes key;
  std::string region;                   // that gave it
  bool hedged = false;                  // another one was asked first, but was slow
  size_t asked = 0;                     // calls made
  std::vector<RegionFailure> failures;  // earlier failures
  // A region's wrap is wrong (it is among `failures` with kCorrupt): the record needs attention.
  bool suspect = false;
};

struct WrappedMore {
  WrappedKeys wrapped;
  std::vector<RegionFailure> missing;
};

// What is known of a region's wrap once the region was asked to unwrap it.
enum class WrapState {
  kRight,
  // It is certainly damaged, or not of this key: its own master refuses it, or unwraps another key.
  kWrong,
  // The region refuses it, and its master is certainly another than made it: shows no damage.
  kOtherMaster,
  kUnknown,  // the region could not say: out of reach, throttled, not permitted
};

struct ExaminedWrap {
  WrapState state = WrapState::kUnknown;
  std::optional<Error> why;  // unless it is right
};

struct ExaminedWraps {
  std::optional<SecretBytes> key;             // if a wrap is right
  std::map<std::string, ExaminedWrap> wraps;  // by region
};

// For status and metrics.
struct RegionStatus {
  std::string name;
  BreakerState state = BreakerState::kClosed;
  Duration open_for{};
  std::optional<Duration> expected, p50, p95;
  std::optional<Error> last_error;
  std::optional<WallTime> last_error_at;
  uint64_t calls = 0;
  uint64_t failures = 0;
};

// Verifies a plaintext by its key check value: kCorrupt if it is wrong.
using KeyVerifier = std::function<Result<void>(const SecretBytes&)>;

class Regions {
 public:
  // kInvalid for no regions, two with the same name, or create_min_regions above their number.
  // `observer` may be null; it outlives the set.
  static Result<std::unique_ptr<Regions>> make(Loop& loop,
                                               std::vector<std::unique_ptr<Region>> regions,
                                               RandomFraction random, RegionsOptions options,
                                               RegionObserver* observer = nullptr);
  ~Regions();
  Regions(const Regions&) = delete;
  Regions& operator=(const Regions&) = delete;

  // A new data key of `bytes` bytes, wrapped in at least create_min_regions regions; the others
  // have their grace, and are told as missing. With fewer it is an error, and the key is wiped.
  Task<Result<CreatedKey>> create(size_t bytes, EncryptionContext context, TimePoint deadline);

  // The data key, from any of its wraps. Wraps by regions that are not configured here are skipped,
  // unless another region's master can unwrap them (multi-Region keys). kCorrupt if there are no
  // wraps.
  Task<Result<UnwrappedKey>> unwrap(WrappedKeys wrapped, EncryptionContext context,
                                    KeyVerifier verify, TimePoint deadline);

  // Has each region that is configured here unwrap its own wrap, all at once; for the healer. What
  // the verifier refuses with kCorrupt is wrong. Errors: per region.
  Task<ExaminedWraps> examine(WrappedKeys wrapped, EncryptionContext context, KeyVerifier verify,
                              TimePoint deadline);

  // Wraps a known key in the named regions, all at once; for the healer. Errors: per region, as
  // missing.
  Task<WrappedMore> wrap_missing(const SecretBytes& key, EncryptionContext context,
                                 std::vector<std::string> regions, TimePoint deadline);

  // Wraps a new key that was made elsewhere, as create() does its own: in at least
  // create_min_regions regions, the others have their grace and are told as missing. `key` must live
  // until the task is done.
  Task<Result<WrappedMore>> wrap_new(const SecretBytes& key, EncryptionContext context,
                                     TimePoint deadline);

  // Opens a connection, or keeps one open, to every region whose breaker is closed; ends after
  // probe_deadline.
  Task<void> keep_warm();
  // The same for regions that charge for nothing: no service is asked.
  Task<void> keep_warm_uncharged();

  // Region::check() of all regions at once, for `keyfs check`; results are in the configured order.
  Task<std::vector<std::pair<std::string, RegionCheck>>> check(TimePoint deadline);

  // The configured regions, in order, without a wrap of their own among these or one by another
  // replica of their multi-Region key.
  std::vector<std::string> lacking(const WrappedKeys& wrapped) const;
  // The same, given only the masters by region.
  std::vector<std::string> lacking(const std::map<std::string, std::string>& masters) const;

  // The configured regions, in their order, whose wrap among these was made by a master that is
  // certainly not theirs now (Region::is_other_master), where no other wrap stands in for it. Only
  // what keep_warm() or a call has told of the masters counts.
  std::vector<std::string> under_other_masters(const WrappedKeys& wrapped) const;
  std::vector<std::string> under_other_masters(
      const std::map<std::string, std::string>& masters) const;

  // The configured regions, in their order, whose wrap among these was made by a master that the
  // configuration calls a previous one of theirs (Region::had_master): it still unwraps, and the
  // present one is to take its place. A part of under_other_masters().
  std::vector<std::string> under_previous_masters(const WrappedKeys& wrapped) const;
  std::vector<std::string> under_previous_masters(
      const std::map<std::string, std::string>& masters) const;

  // Of every configured region: Region::master().
  std::map<std::string, std::string> masters() const;
  bool is_charged(const std::string& region) const;

  // In the order in which they would be asked now.
  std::vector<RegionStatus> status();
  // In the configured order.
  std::vector<std::string> names() const;
  bool has(const std::string& name) const;  // configured
  size_t size() const;
  size_t create_min_regions() const;

 private:
  struct Impl;
  Task<void> keep_warm(bool charged);
  explicit Regions(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace keyfs
