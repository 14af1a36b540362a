#include "base/fair_turns.h"

#include <algorithm>

namespace keyfs {

FairTurns::Ticket::~Ticket() {
  if (turns_ != nullptr) turns_->leave(*this);
}

void FairTurns::Ticket::join(ForUser caller) {
  if (std::find(callers_.begin(), callers_.end(), caller) != callers_.end()) return;
  callers_.push_back(caller);
  if (turns_ == nullptr) return;
  turns_->enqueue(*this, caller);
  while (turns_ != nullptr && turns_->give_to_next()) {
  }
}

bool FairTurns::may_have(ForUser caller) const {
  if (free_ == 0) return false;
  if (shares_ == Shares::kNone) return true;
  const auto held = held_.find(caller);
  return held == held_.end() || held->second < free_;
}

FairTurns::Turn FairTurns::give(ForUser caller) {
  --free_;
  ++held_[caller];
  last_ = caller;
  return Turn(*this, caller);
}

void FairTurns::give_back(ForUser caller) {
  ++free_;
  const auto held = held_.find(caller);
  if (--held->second == 0) held_.erase(held);
  while (give_to_next()) {
  }
}

void FairTurns::enqueue(Ticket& ticket, ForUser caller) {
  Queue& queue = queues_[caller];
  ticket.places_.emplace_back(caller, queue.insert(queue.end(), &ticket));
}

void FairTurns::leave(Ticket& ticket) {
  for (const auto& [caller, place] : ticket.places_) {
    const auto queue = queues_.find(caller);
    queue->second.erase(place);
    if (queue->second.empty()) queues_.erase(queue);
  }
  ticket.places_.clear();
  ticket.turns_ = nullptr;
  ticket.taken_ = nullptr;
  --waiting_;
}

Task<FairTurns::Turn> FairTurns::take(Ticket& ticket) {
  // Waiting users may not have one now, or they would have it.
  for (const ForUser& caller : ticket.callers_) {
    if (may_have(caller) && !queues_.contains(caller)) co_return give(caller);
  }
  // Leaves the queue when this task is dropped.
  struct Waiting {
    Waiting(FairTurns& owner, Ticket& waiting, OneShot<Turn>& slot)
        : turns(owner), ticket(waiting) {
      ticket.turns_ = &turns;
      ticket.taken_ = &slot;
      for (const ForUser& caller : ticket.callers_) turns.enqueue(ticket, caller);
      ++turns.waiting_;
    }
    ~Waiting() {
      if (ticket.turns_ != nullptr) turns.leave(ticket);
    }
    Waiting(const Waiting&) = delete;
    Waiting& operator=(const Waiting&) = delete;
    FairTurns& turns;
    Ticket& ticket;
  };
  OneShot<Turn> slot(loop_);
  const Waiting waiting(*this, ticket, slot);
  Turn turn = co_await slot;
  co_return turn;
}

// Gives it to the first eligible user after the one whose turn it was last.
bool FairTurns::give_to_next() {
  if (free_ == 0) return false;
  auto queue = last_ ? queues_.upper_bound(*last_) : queues_.begin();
  for (size_t looks = queues_.size(); looks > 0; --looks) {
    if (queue == queues_.end()) queue = queues_.begin();
    const ForUser caller = queue->first;
    if (may_have(caller)) {
      Ticket& ticket = *queue->second.front();
      OneShot<Turn>& slot = *ticket.taken_;
      leave(ticket);
      slot.set(give(caller));
      return true;
    }
    ++queue;
  }
  return false;
}

}  // namespace keyfs
