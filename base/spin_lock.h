// A one-byte lock for critical sections of a few instructions, such as copying a pointer.
//
// Thread-safety: from any thread. Blocking: spins, and yields occasionally in case the holder was
// preempted. Errors: none.
#pragma once

#include <atomic>
#include <thread>

namespace keyfs {

class SpinLock {
 public:
  void lock() {
    for (unsigned spins = 0; flag_.test_and_set(std::memory_order_acquire);) {
      if (++spins % 64 == 0) std::this_thread::yield();
    }
  }
  void unlock() { flag_.clear(std::memory_order_release); }

 private:
  std::atomic_flag flag_;
};

}  // namespace keyfs
