// A bounded queue of events: many push without a lock, one takes.
//
// Each slot carries a turn: that of the position to write next, or one more if it can be read.
// (Vyukov's bounded queue,
// https://www.1024cores.net/home/lock-free-algorithms/queues/bounded-mpmc-queue)
//
// Thread-safety: push() and pushed() from any thread, pop() from one. Ownership: owns the events in
// it. Blocking: never. Errors: only push()'s.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

namespace keyfs {

template <class T>
class AuditRing {
 public:
  // `size` is rounded up to a power of two.
  explicit AuditRing(size_t size) {
    size_t rounded = 2;
    while (rounded < size) rounded *= 2;
    mask_ = rounded - 1;
    slots_ = std::make_unique<Slot[]>(rounded);
    for (size_t i = 0; i < rounded; ++i) slots_[i].turn.store(i, std::memory_order_relaxed);
  }

  // Moves the event in. False: the ring is full, and the event untouched.
  bool push(T& value) {
    size_t place = tail_.load(std::memory_order_relaxed);
    for (;;) {
      Slot& slot = slots_[place & mask_];
      const size_t turn = slot.turn.load(std::memory_order_acquire);
      if (turn == place) {
        if (tail_.compare_exchange_weak(place, place + 1, std::memory_order_seq_cst,
                                        std::memory_order_relaxed)) {
          slot.value = std::move(value);
          slot.turn.store(place + 1, std::memory_order_release);
          return true;
        }
      } else if (turn < place) {
        return false;  // not read yet since the last lap: full
      } else {
        place = tail_.load(std::memory_order_relaxed);
      }
    }
  }

  // How many pushes there were, including one in progress: a thread that sees the effects of a
  // push() elsewhere sees it counted here.
  size_t pushed() const { return tail_.load(std::memory_order_seq_cst); }

  // The oldest event; nullopt if there is none, or its push() has not ended yet.
  std::optional<T> pop() {
    Slot& slot = slots_[head_ & mask_];
    if (slot.turn.load(std::memory_order_acquire) != head_ + 1) return std::nullopt;
    std::optional<T> value(std::move(slot.value));
    slot.value = T{};
    slot.turn.store(head_ + mask_ + 1, std::memory_order_release);
    ++head_;
    return value;
  }

  // For the consumer: what pop() would give, or null.
  const T* front() const {
    const Slot& slot = slots_[head_ & mask_];
    return slot.turn.load(std::memory_order_acquire) == head_ + 1 ? &slot.value : nullptr;
  }

 private:
  struct Slot {
    std::atomic<size_t> turn{0};
    T value{};
  };

  size_t mask_ = 0;
  std::unique_ptr<Slot[]> slots_;
  alignas(64) std::atomic<size_t> tail_{0};
  alignas(64) size_t head_ = 0;
};

}  // namespace keyfs
