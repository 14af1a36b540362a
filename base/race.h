// Several tasks at once: a group that yields results as they finish, a deadline over one task, and
// one flight per key.
//
// Thread-safety: none; all on the loop's thread. Blocking: never.
// Ownership: a TaskGroup owns its tasks, dropping it cancels those still running. A SingleFlight
// owns its flights; each waiter may leave, the last one to leave cancels the flight unless it is
// pinned. Errors: before() gives kTimeout when the time is up; everything else comes from the
// tasks.
#pragma once

#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "base/loop.h"
#include "base/result.h"
#include "base/task.h"

namespace keyfs {

// Tasks that run side by side.
template <class T>
class TaskGroup {
 public:
  explicit TaskGroup(Loop& loop) : loop_(loop) {}
  TaskGroup(const TaskGroup&) = delete;
  TaskGroup& operator=(const TaskGroup&) = delete;

  // Starts a task in the loop's next turn; the number tells it apart in next().
  size_t start(Task<T> task) {
    const size_t number = next_number_++;
    auto& member = members_[number];
    member = std::make_unique<Member>(*this, number);
    member->task = std::move(task);
    member->first.handle = member->task.start_on(loop_, member->on_done);
    loop_.make_ready(member->first);
    return number;
  }

  // How many were started whose result next() has not returned yet.
  size_t size() const { return members_.size(); }
  bool empty() const { return members_.empty(); }

  void cancel(size_t number) {
    finished_.remove(number);
    members_.erase(number);
  }

  struct Finished {
    size_t number;
    T value;
  };
  // The next task that finishes. nullopt if `until` passes first (the tasks keep running), or if
  // the group is empty. One caller at a time.
  Task<std::optional<Finished>> next(std::optional<TimePoint> until = std::nullopt) {
    while (!members_.empty()) {
      if (!finished_.empty()) {
        const size_t number = finished_.front();
        finished_.pop_front();
        auto member = std::move(members_.at(number));
        members_.erase(number);
        co_return Finished{number, member->task.take()};
      }
      if (until && loop_.now() >= *until) break;
      co_await Wait(*this, until);
    }
    co_return std::nullopt;
  }

 private:
  struct Member {
    Member(TaskGroup& owner, size_t member_number) : group(owner), number(member_number) {
      on_done.member = this;
    }
    struct Done : Ready {
      Done()
          : Ready([](Ready& self) {
              Member& member = *static_cast<Done&>(self).member;
              member.group.finished_.push_back(member.number);
              if (member.group.waiter_ != nullptr) {
                member.group.loop_.make_ready(*member.group.waiter_);
              }
            }) {}
      Member* member = nullptr;
    };
    TaskGroup& group;
    size_t number;
    Done on_done;
    ReadyCoroutine first;
    Task<T> task;
  };

  class Wait {
   public:
    Wait(TaskGroup& group, std::optional<TimePoint> until)
        : group_(group), until_(until), timer_(group.loop_) {}
    ~Wait() {
      if (group_.waiter_ == &caller_) group_.waiter_ = nullptr;
    }
    bool await_ready() const { return false; }
    void await_suspend(std::coroutine_handle<> caller) {
      caller_.handle = caller;
      group_.waiter_ = &caller_;
      if (until_) timer_.start(*until_, caller_);
    }
    void await_resume() {}

   private:
    TaskGroup& group_;
    std::optional<TimePoint> until_;
    ReadyCoroutine caller_;
    Timer timer_;
  };

  Loop& loop_;
  size_t next_number_ = 0;
  std::list<size_t> finished_;
  Ready* waiter_ = nullptr;
  std::map<size_t, std::unique_ptr<Member>> members_;
};

// The task's result, or kTimeout with `what` in its message ("timed out after 2s" is added) once
// `deadline` passes; the task is cancelled then.
template <class T>
Task<Result<T>> before(Loop& loop, TimePoint deadline, std::string what, Task<Result<T>> task) {
  const TimePoint begin = loop.now();
  TaskGroup<Result<T>> group(loop);
  group.start(std::move(task));
  auto finished = co_await group.next(deadline);
  if (finished) co_return std::move(finished->value);
  co_return fail(Code::kTimeout, what + ": timed out after " + to_text(loop.now() - begin));
}

// Work that is done once for all callers that ask for the same key at the same time. T is copied to
// each waiter, so use something like Result<std::shared_ptr<const X>>.
template <class T>
class SingleFlight {
 public:
  // What the work sees of its flight.
  class Flight {
   public:
    // From now on the work runs to its end even if nobody waits any more: a conditional write is in
    // progress, and cancelling it would leave its outcome unknown.
    void pin() { pinned_ = true; }
    size_t waiters() const { return waiters_.size(); }

   private:
    friend class SingleFlight;
    struct Done : Ready {
      Done() : Ready([](Ready& self) { static_cast<Done&>(self).flight->land(); }) {}
      Flight* flight = nullptr;
    };

    void land() {
      SingleFlight& owner = *owner_;
      auto self = owner.flights_.extract(place_);  // keeps this alive to the end of land()
      T value = task_.take();
      for (OneShot<T>* waiter : waiters_) waiter->set(value);
    }

    SingleFlight* owner_ = nullptr;
    typename std::map<std::string, std::unique_ptr<Flight>>::iterator place_;
    std::list<OneShot<T>*> waiters_;
    bool pinned_ = false;
    Done on_done_;
    ReadyCoroutine first_;
    Task<T> task_;
  };
  using Work = std::function<Task<T>(Flight&)>;

  explicit SingleFlight(Loop& loop) : loop_(loop) {}
  SingleFlight(const SingleFlight&) = delete;
  SingleFlight& operator=(const SingleFlight&) = delete;

  // Joins the flight of `key`, or starts one with `work`.
  Task<T> join(std::string key, Work work) {
    Waiter waiter(*this, key);
    auto& flight = flights_[key];
    if (flight == nullptr) {
      flight = std::make_unique<Flight>();
      flight->owner_ = this;
      flight->place_ = flights_.find(key);
      flight->on_done_.flight = flight.get();
      flight->task_ = work(*flight);
      flight->first_.handle = flight->task_.start_on(loop_, flight->on_done_);
      loop_.make_ready(flight->first_);
    }
    flight->waiters_.push_back(&waiter.slot);
    waiter.flight = flight.get();
    T value = co_await waiter.slot;
    waiter.flight = nullptr;  // it has landed and is gone
    co_return value;
  }

  bool in_flight(const std::string& key) const { return flights_.contains(key); }
  size_t size() const { return flights_.size(); }

 private:
  // A waiter; leaves the flight if it is destroyed before the flight lands.
  struct Waiter {
    Waiter(SingleFlight& owner, std::string flight_key)
        : flights(owner), key(std::move(flight_key)), slot(owner.loop_) {}
    Waiter(const Waiter&) = delete;
    Waiter& operator=(const Waiter&) = delete;
    ~Waiter() {
      // Once the slot is set the flight has landed; there may be a new one under the same key.
      if (flight == nullptr || slot.is_set()) return;
      flight->waiters_.remove(&slot);
      if (flight->waiters_.empty() && !flight->pinned_) flights.flights_.erase(key);
    }
    SingleFlight& flights;
    std::string key;
    OneShot<T> slot;
    Flight* flight = nullptr;
  };

  Loop& loop_;
  std::map<std::string, std::unique_ptr<Flight>> flights_;
};

}  // namespace keyfs
