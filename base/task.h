// Coroutines for everything that waits.
//
// Task<T> is a lazy coroutine: it starts when it is awaited (or given to a Loop or a TaskGroup),
// and runs on the thread of that loop only. Dropping a Task cancels it: its frame is destroyed
// where it is suspended, and the destructors of its awaiters abandon what it was waiting for. So a
// coroutine must hold no lock and no broken invariant across a co_await, and takes arguments by
// value, or by reference to what its caller keeps alive until it is done.
//
// When a task ends, its awaiter goes to the loop's ready queue rather than being resumed on top of
// it, so the stack does not grow with the number of awaits.
//
// g++ 12 destroys an aggregate temporary twice when it is an argument inside `co_await
// f(Req{...})`: name the variable, or give the type a constructor.
//
// Thread-safety: none; one loop, one thread. Blocking: never.
// Errors: a task returns a Result. An exception that leaves it is rethrown in its awaiter; in a
// task that the loop owns it ends the program.
#pragma once

#include <coroutine>
#include <exception>
#include <optional>
#include <utility>

namespace keyfs {

class Loop;

// Something that the loop runs in its next turn. Linked into at most one queue; its destructor
// unlinks it, which is how cancellation reaches what was already due.
class Ready {
 public:
  using Run = void (*)(Ready&);

  explicit Ready(Run run) : run_(run) {}
  Ready(const Ready&) = delete;
  Ready& operator=(const Ready&) = delete;
  ~Ready() { unlink(); }

  bool linked() const { return next_ != nullptr; }
  void unlink() {
    if (next_ == nullptr) return;
    prev_->next_ = next_;
    next_->prev_ = prev_;
    next_ = prev_ = nullptr;
  }

 private:
  friend class ReadyQueue;
  Run run_;
  Ready* next_ = nullptr;
  Ready* prev_ = nullptr;
};

// Resumes a coroutine.
class ReadyCoroutine : public Ready {
 public:
  ReadyCoroutine()
      : Ready([](Ready& self) { static_cast<ReadyCoroutine&>(self).handle.resume(); }) {}
  std::coroutine_handle<> handle;
};

class ReadyQueue {
 public:
  ReadyQueue() : ends_(nullptr) { ends_.next_ = ends_.prev_ = &ends_; }
  ~ReadyQueue() {
    while (!empty()) ends_.next_->unlink();
    ends_.next_ = nullptr;
  }
  bool empty() const { return ends_.next_ == &ends_; }
  void push(Ready& item) {
    if (item.linked()) return;
    item.prev_ = ends_.prev_;
    item.next_ = &ends_;
    ends_.prev_->next_ = &item;
    ends_.prev_ = &item;
  }
  // Moves everything in `other` to the end of this one.
  void take_all(ReadyQueue& other) {
    while (!other.empty()) {
      Ready& item = *other.ends_.next_;
      item.unlink();
      push(item);
    }
  }
  void run_first() {
    Ready& item = *ends_.next_;
    item.unlink();
    item.run_(item);  // may destroy `item`
  }

 private:
  Ready ends_;
};

namespace detail {

void make_ready(Loop& loop, Ready& item);

struct PromiseBase {
  Loop* loop = nullptr;
  Ready* on_done = nullptr;  // put on the ready queue at the end
  std::exception_ptr exception;

  std::suspend_always initial_suspend() noexcept { return {}; }
  struct FinalAwaiter {
    bool await_ready() noexcept { return false; }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> self) noexcept {
      PromiseBase& promise = self.promise();
      if (promise.on_done != nullptr) make_ready(*promise.loop, *promise.on_done);
    }
    void await_resume() noexcept {}
  };
  FinalAwaiter final_suspend() noexcept { return {}; }
  void unhandled_exception() { exception = std::current_exception(); }
};

template <class T>
struct Promise : PromiseBase {
  std::optional<T> value;

  auto get_return_object() { return std::coroutine_handle<Promise>::from_promise(*this); }
  template <class U>
  void return_value(U&& result) {
    value.emplace(std::forward<U>(result));
  }
  T take() {
    if (exception) std::rethrow_exception(exception);
    return std::move(*value);
  }
};

template <>
struct Promise<void> : PromiseBase {
  auto get_return_object() { return std::coroutine_handle<Promise>::from_promise(*this); }
  void return_void() {}
  void take() {
    if (exception) std::rethrow_exception(exception);
  }
};

}  // namespace detail

template <class T>
class [[nodiscard]] Task {
 public:
  using promise_type = detail::Promise<T>;
  using Handle = std::coroutine_handle<promise_type>;

  Task() = default;
  Task(Handle handle) : handle_(handle) {}  // NOLINT: what get_return_object converts from
  Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Task& operator=(Task&& other) noexcept {
    if (this != &other) {
      cancel();
      handle_ = std::exchange(other.handle_, nullptr);
    }
    return *this;
  }
  Task(const Task&) = delete;
  Task& operator=(const Task&) = delete;
  ~Task() { cancel(); }

  bool valid() const { return handle_ != nullptr; }
  bool done() const { return handle_ && handle_.done(); }
  void cancel() {
    if (auto handle = std::exchange(handle_, nullptr)) handle.destroy();
  }

  // For code that runs tasks (Loop, TaskGroup): what to run at the end, and the first step, which
  // goes through the loop's ready queue.
  Handle start_on(Loop& loop, Ready& on_done) {
    handle_.promise().loop = &loop;
    handle_.promise().on_done = &on_done;
    return handle_;
  }
  T take() { return handle_.promise().take(); }

  // The awaiter owns the task, so that destroying the awaiting coroutine cancels it.
  struct Awaiter {
    Task task;
    ReadyCoroutine parent;

    explicit Awaiter(Task awaited) : task(std::move(awaited)) {}
    bool await_ready() const { return false; }
    template <class P>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<P> caller) {
      parent.handle = caller;
      return task.start_on(*caller.promise().loop, parent);
    }
    T await_resume() { return task.take(); }
  };
  Awaiter operator co_await() && { return Awaiter(std::move(*this)); }

 private:
  Handle handle_ = nullptr;
};

}  // namespace keyfs
