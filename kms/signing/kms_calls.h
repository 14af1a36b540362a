// Calls to KMS in one region, with retries. Internal to kms/signing.
//
// Thread-safety: none; on the loop's thread. Blocking: never; tasks. Ownership: as KmsCustody's.
// Errors: as kms/signing/kms_custody.h, in the answer.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "base/aws/client.h"
#include "base/retry.h"
#include "base/target.h"
#include "kms/signing/kms_custody.h"

namespace keyfs {

// A signing region: its health is that of signatures and public keys only. Calls that manage keys
// have quotas of their own, and must not keep anybody from signing.
struct SigningSlot : Target {
  SigningSlot(Loop& loop, size_t calls_at_once, KmsSigningRegion region, size_t place,
              Health the_health)
      : Target(std::move(region.name), place, std::move(the_health),
               turns_for(loop, calls_at_once)),
        client(std::move(region.client)) {}

  const std::unique_ptr<AwsClient> client;
};

struct KmsAnswer {
  std::optional<Error> error;  // none: it did what it was asked
  std::string refusal;         // AWS's name for the error, if it was KMS that answered
  nlohmann::json body = nlohmann::json::object();
  std::string request_id;

  bool is(std::string_view name) const { return refusal == name; }
};

struct KmsQuestion {
  std::string operation;
  nlohmann::json body;
  std::string subject;       // the key or alias, for messages
  bool once = false;         // never sent again once it may have taken effect
  bool elsewhere = false;    // another region can be asked instead, if this one does not answer
  bool until_there = false;  // the key is new: that it is not found may pass
  bool until_ready = false;  // the same of its state

  KmsQuestion(std::string op, nlohmann::json b, std::string s)
      : operation(std::move(op)), body(std::move(b)), subject(std::move(s)) {}
};

class KmsCalls {
 public:
  KmsCalls(Loop& loop, RandomFraction random, SigningObserver* observer)
      : loop_(loop), random_(std::move(random)), observer_(observer) {}

  // One call.
  Task<KmsAnswer> once(SigningSlot& slot, KmsQuestion question, TimePoint deadline);
  // Again, with growing pauses, as long as it may pass: the operations on keys and aliases have
  // quotas of 5 a second, which all servers of an account share.
  Task<KmsAnswer> ask(SigningSlot& slot, KmsQuestion question, TimePoint deadline);

  Loop& loop() { return loop_; }
  const RandomFraction& random() const { return random_; }
  SigningObserver* observer() { return observer_; }

 private:
  Loop& loop_;
  const RandomFraction random_;
  SigningObserver* const observer_;
  RetryBudget budget_;
};

}  // namespace keyfs
