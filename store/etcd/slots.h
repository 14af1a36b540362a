// So many requests at once to one member, the others in a queue: each request has a connection of
// its own while it lasts (tokens go by HTTP/1.1), and a burst must not open hundreds.
//
// Thread-safety: none; on the loop's thread. Ownership: outlives its slots. Blocking: never.
#pragma once

#include <cstddef>
#include <list>

#include "base/loop.h"

namespace keyfs {

class EtcdSlots {
 public:
  EtcdSlots(Loop& loop, size_t free) : loop_(loop), free_(free) {}

  // `EtcdSlots::Slot slot(slots); co_await slot.held();` holds one until it is destroyed.
  class Slot {
   public:
    explicit Slot(EtcdSlots& slots) : slots_(slots), turn_(slots.loop_) {
      if (slots_.free_ > 0) {
        --slots_.free_;
        turn_.set(true);
      } else {
        place_ = slots_.queue_.insert(slots_.queue_.end(), &turn_);
      }
    }
    ~Slot() {
      if (!turn_.is_set()) {
        slots_.queue_.erase(place_);
      } else if (slots_.queue_.empty()) {
        ++slots_.free_;
      } else {
        slots_.queue_.front()->set(true);
        slots_.queue_.pop_front();
      }
    }
    Slot(const Slot&) = delete;
    Slot& operator=(const Slot&) = delete;
    OneShot<bool>& held() { return turn_; }

   private:
    EtcdSlots& slots_;
    OneShot<bool> turn_;
    std::list<OneShot<bool>*>::iterator place_;
  };

 private:
  Loop& loop_;
  size_t free_;
  std::list<OneShot<bool>*> queue_;
};

}  // namespace keyfs
