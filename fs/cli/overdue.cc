#include "fs/cli/overdue.h"

#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>

#include "base/thread.h"
#include "fs/daemon/exit_code.h"

namespace keyfs {

struct Overdue::Impl {
  std::mutex mutex;
  std::condition_variable changed;
  bool done = false;
  std::thread thread;
};

Overdue::Overdue(Output& output, std::string what, Duration within)
    : impl_(std::make_unique<Impl>()) {
  auto thread = try_start_thread(
      "keyfs-overdue", [&output, within, what = std::move(what), me = impl_.get()] {
        std::unique_lock lock(me->mutex);
        if (me->changed.wait_for(lock, within, [me] { return me->done; })) return;
        output.error(what + " took longer than " + brief(within) +
                     ": a disk or a file server does not answer; nothing was changed");
        output.leave(ExitCode::kFailed);
      });
  if (thread) impl_->thread = std::move(*thread);
}

Overdue::~Overdue() {
  {
    std::lock_guard lock(impl_->mutex);
    impl_->done = true;
  }
  impl_->changed.notify_one();
  if (impl_->thread.joinable()) impl_->thread.join();
}

}  // namespace keyfs
