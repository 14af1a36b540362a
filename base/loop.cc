#include "base/loop.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace keyfs {

namespace {

// Polling the network has a cost per running transfer, and a reply takes several steps: run up to
// this many before the next poll.
constexpr int kStepsToOnePoll = 16;

}  // namespace

namespace detail {
void make_ready(Loop& loop, Ready& item) { loop.make_ready(item); }
}  // namespace detail

void IdlePoller::wait(std::optional<Duration> timeout) {
  std::unique_lock lock(mutex_);
  const auto woken = [this] { return wake_; };
  if (timeout == Duration::zero()) {
    // Not even for the time that the kernel needs to end a wait immediately (50 us).
  } else if (timeout) {
    woken_.wait_for(lock, *timeout, woken);
  } else {
    woken_.wait(lock, woken);
  }
  wake_ = false;
}

void IdlePoller::wake() {
  {
    std::lock_guard lock(mutex_);
    wake_ = true;
  }
  woken_.notify_one();
}

// A spawned task and what removes it when it is done.
struct Loop::Root {
  struct Done : Ready {
    Done()
        : Ready([](Ready& self) {
            auto& done = static_cast<Done&>(self);
            Loop& loop = *done.loop;
            done.root->task.take();  // an exception nobody awaits ends the program
            loop.roots_.erase(done.place);
          }) {}
    Loop* loop = nullptr;
    Root* root = nullptr;
    std::list<std::unique_ptr<Root>>::iterator place;
  };
  Done on_done;  // outlives the task, which refers to it when it ends
  ReadyCoroutine first;
  Task<void> task;
};

Loop::Loop(const Clock& clock, Poller& poller) : clock_(clock), poller_(poller) {}

Loop::~Loop() { shutdown(); }

void Loop::post(std::function<void()> work) {
  {
    std::lock_guard lock(posted_mutex_);
    if (closed_) return;
    posted_.push_back(std::move(work));
    if (!std::exchange(asleep_, false)) return;  // it checks this before it sleeps
  }
  poller_.wake();
}

void Loop::spawn(Task<void> task) {
  auto root = std::make_unique<Root>();
  root->task = std::move(task);
  root->on_done.loop = this;
  root->on_done.root = root.get();
  root->first.handle = root->task.start_on(*this, root->on_done);
  make_ready(root->first);
  roots_.push_front(std::move(root));
  roots_.front()->on_done.place = roots_.begin();
}

void Loop::run() {
  run_until(stopped_);
  stopped_ = false;
}

void Loop::stop() {
  post([this] { stopped_ = true; });
}

void Loop::run_until(const bool& done) {
  while (!done) {
    bool busy = step();
    for (int steps = 1; busy && !done && steps < kStepsToOnePoll; ++steps) busy = step();
    poll(!busy && !done);  // also at the end: the poller wipes the secrets that it left
  }
}

bool Loop::run_posted() {
  std::vector<std::function<void()>> batch;
  {
    std::lock_guard lock(posted_mutex_);
    batch.swap(posted_);
    asleep_ = false;
  }
  for (auto& work : batch) work();
  return !batch.empty();
}

void Loop::fire_timers() {
  if (timers_.empty()) return;
  const TimePoint time = now();
  while (!timers_.empty() && timers_.begin()->first <= time) {
    Timer& timer = *timers_.begin()->second;
    timer.cancel();
    make_ready(*timer.item_);
  }
}

bool Loop::step() {
  const bool had_posted = run_posted();
  fire_timers();
  ReadyQueue batch;
  batch.take_all(ready_);
  const bool had_ready = !batch.empty();
  while (!batch.empty()) batch.run_first();
  return had_posted || had_ready;
}

void Loop::poll(bool may_wait) {
  std::optional<Duration> timeout = Duration::zero();
  if (may_wait) {
    timeout.reset();
    if (!timers_.empty()) {
      timeout = std::max(Duration::zero(), Duration(timers_.begin()->first - now()));
    }
    std::lock_guard lock(posted_mutex_);
    asleep_ = posted_.empty();
    if (!asleep_) timeout = Duration::zero();
  }
  poller_.wait(timeout);
}

void Loop::turn(bool may_wait) {
  const bool busy = step();
  poll(may_wait && !busy);
}

void Loop::shutdown() {
  {
    std::lock_guard lock(posted_mutex_);
    closed_ = true;
  }
  // A task may spawn or post in its destructors; neither runs any more.
  while (!roots_.empty()) {
    auto root = std::move(roots_.front());
    roots_.pop_front();
  }
  std::vector<std::function<void()>> dropped;
  {
    std::lock_guard lock(posted_mutex_);
    dropped.swap(posted_);
  }
}

void Timer::start(TimePoint at, Ready& item) {
  cancel();
  item_ = &item;
  place_ = loop_.timers_.emplace(at, this);
  running_ = true;
}

void Timer::cancel() {
  if (!running_) return;
  loop_.timers_.erase(place_);
  running_ = false;
}

}  // namespace keyfs
