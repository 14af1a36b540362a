// Where the audit goes: one answer for the daemon, which opens it, and for `keyfs check`.
//
// Thread-safety: plain functions. Ownership: the caller's. Blocking: connects to the journal's
// socket. Errors: kUnavailable if the journal was asked for and there is none.
#pragma once

#include <memory>
#include <string>

#include "base/log.h"
#include "base/result.h"
#include "fs/audit/audit.h"
#include "fs/daemon/configuration.h"

namespace keyfs {

struct AuditPlace {
  std::unique_ptr<AuditSink> journal;  // open
  std::string file;                    // otherwise; both empty: it is off
  bool instead_of_journal = false;     // there is none, and nobody has asked for it
};

Result<AuditPlace> audit_place(const Configuration& configuration);

// Opens it, and creates the file and its directory; null: it is off. Logs where it goes if nobody
// has said so. Blocking: also on the file's disk. Errors: also those of open_audit_file().
Result<std::unique_ptr<AuditSink>> open_audit(const Configuration& configuration, Log& log);

}  // namespace keyfs
