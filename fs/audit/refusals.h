// Opens that were refused, on their way to the audit: told one by one at first, then summed up, so
// that whoever is refused again and again fills neither the disk nor the memory, and takes no room
// from lines about keys that were handed out.
//
// The first few refusals of a (user, id, errno) within a second are lines of their own; the others
// of that second are one line with their count, and while it goes on there is one such line every
// `later`. A user has so many ids in the table and so many lines a second; what goes beyond is
// counted in a line of this user without an id, and users beyond the table in one without a user.
// A sum's line shows the last refusal that it counts.
//
// Thread-safety: everything, from any thread; take() is for one. Ownership: the events in it, which
// keep their key's entry. Blocking: one short lock. Errors: none; nothing is ever lost here.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "fs/audit/audit_event.h"

namespace keyfs {

struct RefusalLimits {
  uint32_t first = 5;  // lines of their own, of each user, id and errno
  Duration window = std::chrono::seconds(1);
  Duration later = std::chrono::seconds(10);
  double burst = 100;     // lines of a user at once, and a second from then on; all sums but the
  double per_second = 2;  // user's own are among them
  size_t ids = 32;        // of a user
  size_t users = 256;
  size_t waiting = 1024;  // lines that were not taken yet
};

class Refusals {
 public:
  explicit Refusals(RefusalLimits limits = {}) : limits_(limits) {}
  Refusals(const Refusals&) = delete;
  Refusals& operator=(const Refusals&) = delete;

  void add(AuditEvent event, TimePoint now);

  // Appends the lines that are due. `all`: also the sums whose time has not come.
  void take(std::vector<AuditEvent>& lines, TimePoint now, bool all);

  // Whether lines of their own wait to be taken.
  bool waiting() const { return waiting_.load(std::memory_order_seq_cst); }
  // Whether something is being counted, and take() is to be called now and then.
  bool counting() const { return counting_.load(std::memory_order_relaxed); }

  // How many users and ids are in the table.
  size_t size() const;

 private:
  struct Sum {
    AuditEvent last;
    uint64_t count = 0;
    uint32_t written = 0;  // lines of their own in this window
    TimePoint due{};
  };
  using What = std::pair<const KeyEntry*, int>;
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
