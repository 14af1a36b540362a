// Limits how much runs at once, and gives waiting users turns in rotation. With a plain FIFO, a
// user who asks for thousands of things would make everybody else wait for all of them.
//
//   FairTurns::Ticket ticket(uid);           // more users may join to wait for the same thing
//   FairTurns::Turn turn = co_await turns.take(ticket);
//
// With shares a user gets another turn only while it holds fewer than are free: half of all if it
// is alone, a quarter beside one such user. So if one user's work hangs, turns remain for others.
//
// Thread-safety: none; on the loop's thread. Ownership: the turns outlive their tickets and Turns;
// a ticket does not move, and leaves the queue when it or the waiting task is destroyed.
// Blocking: never. Errors: none; callers have their own deadlines.
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

// The user that work is done for; nullopt: keyfs itself.
using ForUser = std::optional<uid_t>;

class FairTurns {
 public:
  class Ticket;

  // The right to run, until it is dropped.
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
    ForUser caller_;  // whose share it counts against
  };

  enum class Shares { kNone, kHalfOfTheRest };
  FairTurns(Loop& loop, size_t at_once, Shares shares = Shares::kHalfOfTheRest)
      : loop_(loop), free_(at_once), shares_(shares) {}
  FairTurns(const FairTurns&) = delete;
  FairTurns& operator=(const FairTurns&) = delete;

  // The next turn for any of the ticket's users. A task that may wait as long as others hold all
  // turns; dropping it leaves the queue.
  Task<Turn> take(Ticket& ticket);

  size_t waiting() const { return waiting_; }  // tickets
  size_t free() const { return free_; }        // turns

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
  std::map<ForUser, Queue> queues_;  // of waiting users; none is empty
  std::optional<ForUser> last_;      // whose turn it was
};

// A piece of work and all users it is done for: it runs as soon as it is the turn of any of them.
class FairTurns::Ticket {
 public:
  explicit Ticket(ForUser caller) : callers_{caller} {}
  ~Ticket();
  Ticket(const Ticket&) = delete;
  Ticket& operator=(const Ticket&) = delete;

  // One more user who waits for it.
  void join(ForUser caller);

 private:
  friend class FairTurns;
  std::vector<ForUser> callers_;
  FairTurns* turns_ = nullptr;  // in whose queues it is
  std::vector<std::pair<ForUser, Queue::iterator>> places_;
  OneShot<Turn>* taken_ = nullptr;
};

}  // namespace keyfs
