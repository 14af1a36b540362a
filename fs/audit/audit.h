// The audit log: one line of JSON for every open(2) of a key, allowed or denied.
//
//   {"time":"2026-11-22T03:46:00.123Z","event":"open","id":"orders","version":1,"uid":1000,
//    "gid":1000,"pid":4711,"exe":"/usr/bin/cat","cgroup":"/user.slice","verdict":"allowed",
//    "section":"[keys orders*]","line":12,"source":"region","region":"us-east-1","created":true,
//    "us":1234,"errno":null}
// verdict: allowed | denied (the policy) | absent | failed; source: cache | region | replica |
// null.
//
// write() is on the path of a warm read: it puts a small struct into a bounded ring and returns; a
// thread of the audit's own formats and writes. That thread lingers after each batch, so that a
// busy file system never has to wake it; only after a quiet while does a write() cost one futex
// call.
//
// Losing the log's disk, or more events than can be written, never holds up a read: events that
// found no room and lines that could not be written are counted, told in the log and in status(),
// and the next line that gets through is preceded by {"event":"lost","lines":N,...}.
//
// Thread-safety: everything, from any thread. Ownership: owns its thread and its file; refers to
// log and clock. Events keep the key's entry and the policy's section alive or rely on their owners
// (KeyCache, PolicyHolder) outliving the audit. Blocking: only open_file(), flush() and the
// destructor, which writes what is left. Errors: open_file() tells why a file cannot be written.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/log.h"
#include "base/result.h"
#include "fs/audit/process_info.h"
#include "fs/keys/data_key.h"
#include "fs/keys/key_cache.h"
#include "fs/policy/policy.h"

namespace keyfs {

enum class AuditVerdict : uint8_t { kAllowed, kDenied, kAbsent, kFailed };
std::string_view to_string(AuditVerdict verdict);

struct AuditEvent {
  WallTime time{};
  Duration took{};
  KeyRef key;
  std::shared_ptr<const ProcessInfo> process;  // may be null
  const PolicySection* section = nullptr;      // that decided; may be null
  const std::string* region = nullptr;         // that gave the key; may be null
  // Why it failed, when that came from the store or the regions; may be null.
  std::shared_ptr<const std::string> reason;
  uid_t uid = 0;
  gid_t gid = 0;
  uint32_t version = 0;
  int error = 0;  // errno of the reply, 0 when it was opened
  AuditVerdict verdict = AuditVerdict::kFailed;
  KeySource source = KeySource::kNone;
  bool created = false;
};

// Where lines go; used by the audit's thread only.
class AuditSink {
 public:
  virtual ~AuditSink() = default;
  // Whole lines, each with its newline. An error loses them all; the audit counts them.
  virtual Result<void> write(std::string_view lines, size_t count) = 0;
  // After logrotate has moved the file away.
  virtual Result<void> reopen() = 0;
};

// Appends to a file of mode 0600 (0640 when the group may read), made when it is not there. Not
// followed when it is a symbolic link. kUnavailable, kInvalid.
Result<std::unique_ptr<AuditSink>> open_audit_file(const std::string& path, bool group_readable);
// To systemd's journal in its native protocol: MESSAGE holds the line, SYSLOG_IDENTIFIER is
// "keyfs-audit". kUnavailable when there is no journal.
Result<std::unique_ptr<AuditSink>> open_audit_journal();

class Audit {
 public:
  struct Options {
    size_t ring = 16'384;  // events; rounded up to a power of two
    Duration linger = std::chrono::milliseconds(2);
    Duration idle_after = std::chrono::milliseconds(100);  // of lingering without an event
  };

  // `sink` null: off; events are dropped at once and not counted as lost.
  Audit(std::unique_ptr<AuditSink> sink, Log& log, const Clock& clock, Options options);
  Audit(std::unique_ptr<AuditSink> sink, Log& log, const Clock& clock)
      : Audit(std::move(sink), log, clock, Options()) {}
  ~Audit();
  Audit(const Audit&) = delete;
  Audit& operator=(const Audit&) = delete;

  bool enabled() const;
  // Never waits, allocates nothing.
  void write(AuditEvent event);

  // On SIGHUP. Returns at once.
  void reopen();
  // Until everything written so far is handed to the sink.
  void flush();

  struct Status {
    uint64_t lines = 0;      // written
    uint64_t lost = 0;       // for want of room or of a disk
    std::string last_error;  // why lines are being lost now; empty when all is well
  };
  Status status() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace keyfs
