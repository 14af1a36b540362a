#include "fs/rotation/hook_threads.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <utility>

#include "base/thread.h"
#include "fs/rotation/trusted_program.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;

constexpr auto kPatience = 1s;

}  // namespace

// What a thread may use as long as it likes.
struct HookThreads::Shared {
  std::mutex mutex;
  std::condition_variable ended;
  Loop* loop = nullptr;  // null once the owner is gone
  size_t threads = 0;

  void post(std::function<void()> work) {
    std::lock_guard lock(mutex);
    if (loop != nullptr) loop->post(std::move(work));
  }
  void leave() {
    std::lock_guard lock(mutex);
    --threads;
    ended.notify_all();
  }
};

HookThreads::HookThreads(Loop& loop, size_t most)
    : loop_(loop), most_(most), shared_(std::make_shared<Shared>()) {
  shared_->loop = &loop;
}

HookThreads::~HookThreads() {
  std::unique_lock lock(shared_->mutex);
  shared_->loop = nullptr;
  shared_->ended.wait_for(lock, kPatience, [this] { return shared_->threads == 0; });
}

Task<Result<HookEnd>> HookThreads::run(HookProgram program) {
  using Slot = OneShot<Result<HookEnd>>;
  {
    std::lock_guard lock(shared_->mutex);
    if (shared_->threads >= most_) {
      co_return fail(Code::kThrottled, "too many hooks run already: " + std::to_string(most_));
    }
    ++shared_->threads;
  }
  const auto slot = std::make_shared<Slot>(loop_);
  const std::weak_ptr<Slot> waiter = slot;
  struct Dropped {
    std::shared_ptr<std::atomic<bool>> flag = std::make_shared<std::atomic<bool>>(false);
    Dropped() = default;
    Dropped(const Dropped&) = delete;
    Dropped& operator=(const Dropped&) = delete;
    ~Dropped() { *flag = true; }
  } dropped;
  std::function<void()> work = [shared = shared_, waiter, flag = dropped.flag,
                                program = std::move(program)]() mutable {
    const auto run = [&]() -> Result<HookEnd> {
      if (auto ok = check_trusted_program(program.arguments.at(0)); !ok) return fail(ok.error());
      return run_program(std::move(program), *flag);
    };
    const auto end = std::make_shared<Result<HookEnd>>(run());
    HookEnd left;
    if (*end) left.left = (*end)->left;
    shared->post([waiter, end] {
      if (const auto slot = waiter.lock()) slot->set(std::move(*end));
    });
    reap_at_last(left);
    shared->leave();
  };
  auto thread = try_start_thread("keyfs-hook", std::move(work));
  if (!thread) {
    shared_->leave();
    co_return fail(thread.error());
  }
  thread->detach();
  Result<HookEnd> end = co_await *slot;
  co_return end;
}

}  // namespace keyfs
