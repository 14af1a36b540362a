// Puts a creation into the audit, for the opener that it is done for.
//
// begins() writes that a key is about to be saved, and waits until the system has taken that line:
// whatever becomes of keyfs then, it tells of the key. With audit_required no key is created whose
// line can't be kept. Otherwise the line is waited for, but kPatience at most, and nothing fails
// for want of it: a key that applications need is worth more than its line.
//
// Thread-safety: as CreationWitness. Ownership: refers to audit and loop, which outlive the
// keyring. Blocking: never. Errors: begins(), with audit_required only:
// kUnavailable, kTimeout.
#pragma once

#include <chrono>
#include <string>

#include "base/loop.h"
#include "fs/audit/audit.h"
#include "fs/keys/creation.h"

namespace keyfs {

class AuditedCreation final : public CreationWitness {
 public:
  static constexpr Duration kPatience = std::chrono::milliseconds(250);

  // `opener`: who asks, for which key, and what the policy says to it.
  AuditedCreation(Audit& audit, Loop& loop, AuditEvent opener, TimePoint begin);

  Task<Result<void>> begins(TimePoint deadline) override;
  void saved(uint32_t version, const std::string* region) override;
  void perhaps_saved(const std::string& why) override;

 private:
  AuditEvent line(AuditEvent::Kind kind) const;

  Audit& audit_;
  Loop& loop_;
  const AuditEvent opener_;
  const TimePoint begin_;
};

// Writes a line and waits until it is in the file; false: it can't be. On the loop's thread.
Task<Result<bool>> write_and_wait(Audit& audit, Loop& loop, AuditEvent line);

}  // namespace keyfs
