// The audit log: one line of JSON for every open(2) of a key or a signature, allowed or denied.
//
//   {"time":"2026-11-22T03:46:00.123Z","event":"open","id":"orders","version":1,"asked":null,
//    "view":null,"uid":1000,"gid":1000,"pid":4711,"exe":"/usr/bin/cat","cgroup":"/user.slice",
//    "verdict":"allowed","section":"[keys orders*]","line":12,"source":"region",
//    "region":"us-east-1","created":true,"us":1234,"errno":null,"reason":null,"count":1}
// verdict: allowed | denied (the policy) | absent | failed; source: cache | region | replica |
// null; version: what was handed out; asked: the number that it was opened by, null for the current
// one; view: hex | base64 | null.
//
// The creation of a key is told by the line of the one opener for whom it was done
// ("created":true). If that one did not get the key, it has a line of its own, with
// "event":"created" and the same fields, of which those that say how an open ended (verdict, errno)
// are null; "created" is null there if the store did not say whether it saved the record.
// "event":"creating" comes before the record is saved.
//
// A signature, or its refusal, is a line of its own kind, which nothing displaces either:
//   {"time":...,"event":"sign","id":"ca","fingerprint":"5f..","pinned":null,
//    "algorithm":"ECDSA_SHA_256","digest":"9f..","uid":1000,"gid":1000,"pid":4711,"exe":...,
//    "cgroup":...,"verdict":"allowed","section":"[sign ca-*]","line":20,"region":"us-east-1",
//    "request":"KMS's request id","us":5678,"errno":null,"reason":null,"count":1}
// region and request are null if this host signed by itself.
//
// A count above 1 sums up refusals; the rest of the line is from the last one
// (fs/audit/refusals.h); id and uid are null if several are summed up.
//
// write() is on the path of a warm read: an open of a key that is handed out (or created) goes as a
// small struct into a bounded ring, without a lock; the audit's own thread formats and writes. That
// thread lingers after each batch, so that a busy file system never has to wake it; only after a
// quiet period does write() cost one futex call, and for an event with a receipt, for which
// somebody waits. All other opens go to a separate table, and take no room from these.
//
// Losing the log's disk, or more events than can be written, never holds up a read: events that
// found no room and lines that could not be written are counted, told in the log and in status(),
// and the next line that gets through is preceded by {"event":"lost","lines":N,...}. Refusals stay
// in their table meanwhile. With Options::required a key is not handed out then: write() says so,
// or, where only the writing shows it, the event's receipt. The writer does not linger then, and
// lines that wait for each other's writing are one write.
//
// Thread-safety: everything, from any thread. Ownership: owns its thread and its sink; refers to
// log and clock. Events keep the key's entry and the policy's section alive or rely on their owners
// (KeyCache, PolicyHolder) outliving the audit. Blocking: only open_audit_file(), flush() and the
// destructor, which writes what is left.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/line_file.h"
#include "base/log.h"
#include "base/result.h"
#include "fs/audit/audit_event.h"
#include "fs/audit/refusals.h"

namespace keyfs {

// Where lines go; used by the audit's thread only.
class AuditSink {
 public:
  virtual ~AuditSink() = default;
  // Whole lines, each with its newline. On an error those not written are lost.
  virtual LineFile::Written write(std::string_view lines) = 0;
  // Called after logrotate has moved the file away.
  virtual Result<void> reopen() = 0;
};

// Appends to a file of mode 0600 (0640 if the group may read), created if it does not exist. Blocks
// on the disk; errors as LineFile::open().
Result<std::unique_ptr<AuditSink>> open_audit_file(const std::string& path, bool group_readable);
// To systemd's journal in its native protocol: MESSAGE holds the line, SYSLOG_IDENTIFIER is
// "keyfs-audit". kUnavailable if there is no journal.
Result<std::unique_ptr<AuditSink>> open_audit_journal();

class Audit {
 public:
  struct Options {
    size_t ring = 16'384;  // events; rounded up to a power of two
    Duration linger = std::chrono::milliseconds(2);
    Duration idle_after = std::chrono::milliseconds(100);  // how long to linger without an event
    RefusalLimits refusals;
    bool required = false;  // do not hand out a key whose line can't be kept
  };

  // `sink` null: off; events are dropped at once and not counted as lost.
  Audit(std::unique_ptr<AuditSink> sink, Log& log, const Clock& clock, Options options);
  Audit(std::unique_ptr<AuditSink> sink, Log& log, const Clock& clock)
      : Audit(std::move(sink), log, clock, Options()) {}
  ~Audit();
  Audit(const Audit&) = delete;
  Audit& operator=(const Audit&) = delete;

  bool enabled() const;
  // Whoever hands out a key waits for its line's receipt first.
  bool required() const;
  // Never waits; allocates nothing for a key that is handed out. False when the audit is required
  // and the line is not on its way: the event is then untouched, and the open is to be refused.
  bool write(AuditEvent&& event);

  // Has the sink reopen its file, on the audit's thread; a failure is logged. On SIGHUP.
  void reopen();
  // Waits until everything written so far has gone to the sink, except sums that are not due, and
  // any earlier reopen() is done. Blocks as long as a disk hangs.
  void flush();

  struct Status {
    uint64_t lines = 0;  // written
    uint64_t lost = 0;   // for lack of room or disk
    bool required = false;
    std::string last_error;  // why lines are being lost now; empty if none are
  };
  Status status() const;  // never waits for a disk

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace keyfs
