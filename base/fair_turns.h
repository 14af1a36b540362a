// So many at once, and the others one user after the other: first in, first out, whoever asks for
// thousands of things has everybody else wait for all of them.
//
//   FairTurns::Ticket ticket(uid);           // more users may join who wait for the same thing
//   FairTurns::Turn turn = co_await turns.take(ticket);
//
// With shares a user gets another turn only while it has fewer than are free: half of all when it
// is alone, a quarter beside such a one. So what hangs for one leaves turns for the others.
//
// Thread-safety: none; on the loop's thread. Ownership: the turns outlive their tickets and Turns;
// a ticket stays where it is, and leaves the queue with the task that waits or by itself.
// Blocking: never; take() is a task. Errors: none; whoever waits has a deadline of its own.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <list>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "base/loop.h"
#include "base/task.h"

namespace keyfs {

// Whom work is done for; nullopt: keyfs itself.
using ForUser = std::optional<uid_t>;

class FairTurns {
 public:
  class Ticket;

  // One of those at once, until it is dropped.
  class Turn {
   public:
    Turn() = default;
    Turn(Turn&& other) noexcept
        : turns_(std::exchange(other.turns_, nullptr)), caller_(other.caller_) {}
    Turn& operator=(Turn&& other) noexcept {
      std::swap(turns_, other.turns_);
      std::swap(caller_, other.caller_);
      return *this;
    }
    ~Turn() { give_back(); }
    void give_back() {
      if (FairTurns* turns = std::exchange(turns_, nullptr)) turns->give_back(caller_);
    }

   private:
    friend class FairTurns;
    Turn(FairTurns& turns, ForUser caller) : turns_(&turns), caller_(caller) {}
    FairTurns* turns_ = nullptr;
    ForUser caller_;  // whose share it is of
  };

  enum class Shares { kNone, kHalfOfTheRest };
  FairTurns(Loop& loop, size_t at_once, Shares shares = Shares::kHalfOfTheRest)
      : loop_(loop), free_(at_once), shares_(shares) {}
  FairTurns(const FairTurns&) = delete;
  FairTurns& operator=(const FairTurns&) = delete;

  Task<Turn> take(Ticket& ticket);

  size_t waiting() const { return waiting_; }
  size_t free() const { return free_; }

 private:
  friend class Ticket;
  using Queue = std::list<Ticket*>;  // of one user

  bool may_have(ForUser caller) const;
  Turn give(ForUser caller);
  void give_back(ForUser caller);
  void enqueue(Ticket& ticket, ForUser caller);
  void leave(Ticket& ticket);
  bool give_to_next();

  Loop& loop_;
  size_t free_;
  const Shares shares_;
  size_t waiting_ = 0;
  std::map<ForUser, size_t> held_;   // none is 0
  std::map<ForUser, Queue> queues_;  // of those who wait; none is empty
  std::optional<ForUser> last_;      // whose turn it was
};

// A piece of work and all for whom it is done: it is next as soon as it is any one's turn.
class FairTurns::Ticket {
 public:
  explicit Ticket(ForUser caller) : callers_{caller} {}
  ~Ticket();
  Ticket(const Ticket&) = delete;
  Ticket& operator=(const Ticket&) = delete;

  // One more who waits for it.
  void join(ForUser caller);

 private:
  friend class FairTurns;
  std::vector<ForUser> callers_;
  FairTurns* turns_ = nullptr;  // in whose queues it is
  std::vector<std::pair<ForUser, Queue::iterator>> places_;
  OneShot<Turn>* taken_ = nullptr;
};

}  // namespace keyfs
