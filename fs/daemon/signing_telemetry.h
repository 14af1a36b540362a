// What AWS regions that sign do, for logs and metrics, and the metrics of signing keys; signatures
// are counted where they are asked for (fs/mount/ops_signature.cc).
//
// Thread-safety: as SigningObserver; sample() from any thread. Ownership: refers to metrics and log,
// which outlive it. Blocking: never. Errors: none.
#pragma once

#include <string>
#include <string_view>

#include "base/log.h"
#include "base/metrics.h"
#include "fs/sign/signing_keys.h"
#include "kms/signing/kms_custody.h"

namespace keyfs {

class SigningTelemetry final : public SigningObserver {
 public:
  SigningTelemetry(Metrics& metrics, Log& log);

  void on_call(const std::string& region, std::string_view operation, const Error* error,
               Duration latency) override;
  void on_breaker(const std::string& region, BreakerState state, Duration open_for,
                  const Error* reason) override;

  // Sets what is sampled; for StatusParts::sample.
  void sample(const SigningStatus& status);

 private:
  Metrics& metrics_;
  Log& log_;
  Gauge& keys_;
  Gauge& unusable_;  // nobody has disabled them
  Gauge& queue_;
  Gauge& unfinished_;
  Counter& made_;
  Counter& deleted_;
};

}  // namespace keyfs
