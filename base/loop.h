// The I/O thread: runs tasks, timers and the network.
//
// Thread-safety: post(), stop() and wake-ups may come from any thread; everything else belongs to
// the thread that runs the loop. post() is the only way in from other threads. Ownership: the loop
// owns the tasks given to spawn(); destroying the loop cancels them. Everything that a task uses
// (clients, stores, workers) must outlive the loop's tasks: call shutdown() first. Blocking: run()
// and run_task() block their thread; nothing that runs inside may.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "base/clock.h"
#include "base/task.h"

namespace keyfs {

// What the loop sleeps in. The one for the network wraps curl_multi (base/http.h).
class Poller {
 public:
  virtual ~Poller() = default;
  // Waits for I/O, for wake(), or for `timeout` (nullopt: forever), and handles the I/O that is
  // due. On the loop's thread.
  virtual void wait(std::optional<Duration> timeout) = 0;
  // Ends the current wait(), or the next one. From any thread; never blocks.
  virtual void wake() = 0;
};

// No I/O at all, only wake-ups.
class IdlePoller final : public Poller {
 public:
  void wait(std::optional<Duration> timeout) override;
  void wake() override;

 private:
  std::mutex mutex_;
  std::condition_variable woken_;
  bool wake_ = false;
};

class Timer;

class Loop {
 public:
  Loop(const Clock& clock, Poller& poller);
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  // By the clock it was given; deadlines of everything on this loop are compared with it.
  TimePoint now() const { return clock_.now(); }
  const Clock& clock() const { return clock_; }

  // Runs `work` on the loop's thread, in order. From any thread. Dropped once shutdown() was
  // called.
  void post(std::function<void()> work);

  // Starts a task that the loop owns, in the next turn. An exception that leaves it ends the
  // program.
  void spawn(Task<void> task);

  // Runs on this thread until stop().
  void run();
  // Ends run(), soon. From any thread.
  void stop();
  // Runs the loop on this thread until `task` is done, and gives its result.
  template <class T>
  T run_task(Task<T> task) {
    bool done = false;
    struct Done : Ready {
      explicit Done(bool& flag)
          : Ready([](Ready& self) { *static_cast<Done&>(self).flag = true; }), flag(&flag) {}
      bool* flag;
    } on_done(done);
    ReadyCoroutine first;
    first.handle = task.start_on(*this, on_done);
    make_ready(first);
    run_until(done);
    return task.take();
  }

  // One turn: what was posted, timers that are due, and the tasks that were ready when the turn
  // began (what they make ready waits for the next turn, so that nobody starves). Then I/O; waits
  // for it only if there is nothing else to do and `may_wait`.
  void turn(bool may_wait);

  // Cancels every task. On the loop's thread, or after the loop has stopped running.
  void shutdown();

  // `item` runs in the next turn, once, however often this is called before. On the loop's thread.
  void make_ready(Ready& item) { ready_.push(item); }

  // co_await loop.sleep_until(t), co_await loop.sleep_for(d).
  class Sleep;
  Sleep sleep_until(TimePoint time);
  Sleep sleep_for(Duration duration);
  // Lets others run first.
  Sleep yield();

 private:
  friend class Timer;
  struct Root;

  void run_until(const bool& done);
  // A turn without I/O; false if there was nothing to do. What it made ready waits for the next
  // turn.
  bool step();
  void poll(bool may_wait);
  bool run_posted();
  void fire_timers();

  const Clock& clock_;
  Poller& poller_;
  ReadyQueue ready_;
  std::multimap<TimePoint, Timer*> timers_;
  std::list<std::unique_ptr<Root>> roots_;
  bool stopped_ = false;

  std::mutex posted_mutex_;
  std::vector<std::function<void()>> posted_;
  bool closed_ = false;
  bool asleep_ = false;  // or about to be: the next post() must wake it
};

// Puts a Ready on the loop's queue at a given time. Destruction cancels it.
class Timer {
 public:
  explicit Timer(Loop& loop) : loop_(loop) {}
  ~Timer() { cancel(); }
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  // Replaces an earlier start. A time that has passed is due at once.
  void start(TimePoint at, Ready& item);
  // Does nothing if it is not running.
  void cancel();
  bool running() const { return running_; }

 private:
  friend class Loop;
  Loop& loop_;
  bool running_ = false;
  std::multimap<TimePoint, Timer*>::iterator place_;
  Ready* item_ = nullptr;
};

class Loop::Sleep {
 public:
  Sleep(Loop& loop, TimePoint until) : loop_(loop), until_(until), timer_(loop) {}
  bool await_ready() const { return false; }
  void await_suspend(std::coroutine_handle<> caller) {
    caller_.handle = caller;
    if (until_ == TimePoint::min()) {
      loop_.make_ready(caller_);
    } else {
      timer_.start(until_, caller_);
    }
  }
  void await_resume() {}

 private:
  Loop& loop_;
  TimePoint until_;
  ReadyCoroutine caller_;
  Timer timer_;
};

inline Loop::Sleep Loop::sleep_until(TimePoint time) { return Sleep(*this, time); }
inline Loop::Sleep Loop::sleep_for(Duration duration) { return Sleep(*this, now() + duration); }
inline Loop::Sleep Loop::yield() { return Sleep(*this, TimePoint::min()); }

// A value that arrives once: the producer calls `slot.set(v)`, the one waiter `co_await slot`.
// On the loop's thread.
template <class T>
class OneShot {
 public:
  explicit OneShot(Loop& loop) : loop_(loop) {}

  // Only the first value counts.
  void set(T value) {
    if (value_) return;
    value_.emplace(std::move(value));
    if (waiter_ != nullptr) loop_.make_ready(*waiter_);
  }
  bool is_set() const { return value_.has_value(); }

  class Awaiter {
   public:
    explicit Awaiter(OneShot& slot) : slot_(slot) {}
    ~Awaiter() {
      if (slot_.waiter_ == &caller_) slot_.waiter_ = nullptr;
    }
    Awaiter(const Awaiter&) = delete;
    Awaiter& operator=(const Awaiter&) = delete;
    bool await_ready() const { return slot_.is_set(); }
    void await_suspend(std::coroutine_handle<> caller) {
      caller_.handle = caller;
      slot_.waiter_ = &caller_;
    }
    T await_resume() { return std::move(*slot_.value_); }

   private:
    OneShot& slot_;
    ReadyCoroutine caller_;
  };
  // Moves the value out. One waiter at a time.
  Awaiter operator co_await() { return Awaiter(*this); }

 private:
  Loop& loop_;
  std::optional<T> value_;
  Ready* waiter_ = nullptr;
};

}  // namespace keyfs
