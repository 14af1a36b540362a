// Tasks that go on behind their callers, and end with their owner.
//
// Thread-safety: none; on the loop's thread. Ownership: owns the tasks; destroying it cancels them.
// Blocking: never. Errors: none; an exception that leaves a task is dropped with it.
#pragma once

#include <list>
#include <utility>

#include "base/loop.h"
#include "base/task.h"

namespace keyfs {

class Behind {
 public:
  explicit Behind(Loop& loop) : loop_(loop) {}
  Behind(const Behind&) = delete;
  Behind& operator=(const Behind&) = delete;

  // In the loop's next turn.
  void start(Task<void> task) {
    One& one = running_.emplace_back();
    one.done.owner = this;
    one.done.place = std::prev(running_.end());
    one.task = std::move(task);
    one.first.handle = one.task.start_on(loop_, one.done);
    loop_.make_ready(one.first);
  }
  bool empty() const { return running_.empty(); }

 private:
  struct One;
  struct Done : Ready {
    Done()
        : Ready([](Ready& self) {
            Done& done = static_cast<Done&>(self);
            done.owner->running_.erase(done.place);
          }) {}
    Behind* owner = nullptr;
    std::list<One>::iterator place;
  };
  struct One {
    Done done;
    ReadyCoroutine first;
    Task<void> task;
  };

  Loop& loop_;
  std::list<One> running_;
};

}  // namespace keyfs
