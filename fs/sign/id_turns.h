// One at a time for each id, in the order of the calls.
//
//   const IdTurns::Turn turn = co_await turns.take(id);
//
// Thread-safety: none; on the loop's thread. Ownership: outlives its turns and the tasks that wait.
// Blocking: never. Errors: none.
#pragma once

#include <list>
#include <map>
#include <string>
#include <utility>

#include "base/loop.h"
#include "base/task.h"

namespace keyfs {

class IdTurns {
 public:
  explicit IdTurns(Loop& loop) : loop_(loop) {}
  IdTurns(const IdTurns&) = delete;
  IdTurns& operator=(const IdTurns&) = delete;

  // The next one's turn begins when it ends.
  class Turn {
   public:
    Turn(IdTurns& turns, std::string id) : turns_(&turns), id_(std::move(id)) {}
    ~Turn() {
      if (turns_ != nullptr) turns_->pass_on(id_);
    }
    Turn(Turn&& other) noexcept
        : turns_(std::exchange(other.turns_, nullptr)), id_(std::move(other.id_)) {}
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

   private:
    IdTurns* turns_;
    std::string id_;
  };

  Task<Turn> take(std::string id) {
    if (waiting_.try_emplace(id).second) co_return Turn(*this, id);
    Waiter waiter(*this, id);
    waiting_[id].push_back(&waiter.slot);
    co_await waiter.slot;
    waiter.done = true;
    co_return Turn(*this, id);
  }
  // Whether it is somebody's turn.
  bool busy(const std::string& id) const { return waiting_.contains(id); }

 private:
  struct Waiter {
    Waiter(IdTurns& owner, std::string waiter_id)
        : turns(owner), id(std::move(waiter_id)), slot(owner.loop_) {}
    Waiter(const Waiter&) = delete;
    Waiter& operator=(const Waiter&) = delete;
    ~Waiter() {
      if (done) return;
      // Dropped: while it waited, or after its turn had come.
      if (slot.is_set()) {
        turns.pass_on(id);
      } else {
        turns.waiting_[id].remove(&slot);
      }
    }
    IdTurns& turns;
    std::string id;
    OneShot<bool> slot;
    bool done = false;
  };

  void pass_on(const std::string& id) {
    const auto place = waiting_.find(id);
    if (place->second.empty()) {
      waiting_.erase(place);
      return;
    }
    OneShot<bool>* next = place->second.front();
    place->second.pop_front();
    next->set(true);
  }

  Loop& loop_;
  std::map<std::string, std::list<OneShot<bool>*>> waiting_;  // there: somebody has the turn
};

}  // namespace keyfs
