// Opens that were refused, on their way to the audit: reported one by one at first, then summed up,
// so that a user who is refused again and again fills neither disk nor memory, and takes no room
// from lines about keys that were handed out.
//
// The first few refusals of a (user, id, errno) within a second get a line each; the others of that
// second are one line with their count, and while they continue there is one such line every
// `later`. Each user has a limited number of ids in the table and of lines per second; refusals
// beyond that are counted in a line for this user without an id, and users beyond the table in a
// line without a user. A sum shows the last refusal that it counts.
//
// Thread-safety: everything, from any thread; take() from one. Ownership: owns its events, which
// keep their key's entry alive. Blocking: one short lock. Errors: none; nothing is ever lost here.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <tuple>
#include <vector>

#include "base/clock.h"
#include "fs/audit/audit_event.h"

namespace keyfs {

struct RefusalLimits {
  uint32_t first = 5;  // individual lines per user, id and errno
  Duration window = std::chrono::seconds(1);
  Duration later = std::chrono::seconds(10);
  double burst = 100;     // lines per user at once, and a second from then on; all sums but the
  double per_second = 2;  // user's own are among them
  size_t ids = 32;        // per user
  size_t users = 256;
  size_t waiting = 1024;  // lines not taken yet
};

class Refusals {
 public:
  explicit Refusals(RefusalLimits limits = {}) : limits_(limits) {}
  Refusals(const Refusals&) = delete;
  Refusals& operator=(const Refusals&) = delete;

  // A refused open: it gets a line of its own, or is counted in a sum.
  void add(AuditEvent event, TimePoint now);

  // Appends the lines that are due. `all`: also sums that are not due.
  void take(std::vector<AuditEvent>& lines, TimePoint now, bool all);

  // Whether individual lines are waiting to be taken.
  bool waiting() const { return waiting_.load(std::memory_order_seq_cst); }
  // Whether something is being counted, so that take() must be called from time to time.
  bool counting() const { return counting_.load(std::memory_order_relaxed); }

  // How many users and ids are in the table.
  size_t size() const;

 private:
  struct Sum {
    AuditEvent last;
    uint64_t count = 0;
    uint32_t written = 0;  // individual lines in this window
    TimePoint due{};
  };
  // A key, or the id of a signing key, and the errno.
  using What = std::tuple<const KeyEntry*, std::string, int>;
  struct User {
    std::map<What, Sum> ids;
    Sum others;
    double tokens = 0;
    TimePoint tokens_at{};
  };

  void count(Sum& sum, AuditEvent&& event, TimePoint now);
  bool spend(User& user, TimePoint now);
  void refill(User& user, TimePoint now);
  static void tell(Sum& sum, std::vector<AuditEvent>& lines);
  void take_ids(User& user, std::vector<AuditEvent>& lines, TimePoint now, bool all);
  void take_others(Sum& sum, std::vector<AuditEvent>& lines, TimePoint now, bool all);

  const RefusalLimits limits_;
  mutable std::mutex mutex_;  // guards what follows
  std::map<uid_t, User> users_;
  Sum everybody_;  // else
  std::vector<AuditEvent> first_;
  TimePoint look_at_{};
  std::atomic<bool> waiting_{false};
  std::atomic<bool> counting_{false};
};

}  // namespace keyfs
