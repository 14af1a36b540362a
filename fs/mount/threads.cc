#include "fs/mount/threads.h"

#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <sys/resource.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <utility>

#include "base/thread.h"

namespace keyfs {
namespace {

constexpr int kKick = SIGUSR2;

// The next request, in memory that libfuse allocates with the first one.
struct RequestBuffer {
  RequestBuffer() = default;
  ~RequestBuffer() { std::free(buffer.mem); }
  RequestBuffer(const RequestBuffer&) = delete;
  RequestBuffer& operator=(const RequestBuffer&) = delete;
  fuse_buf buffer{};
};

// How often the calling thread has slept so far: almost only because there were no requests.
long times_slept() {
  rusage usage{};
  getrusage(RUSAGE_THREAD, &usage);
  return usage.ru_nvcsw;
}

// Checks from time to time for how many of its last requests a thread had to wait.
class Demand {
 public:
  enum class Level { kUnknown, kScarce, kSome, kPlenty };

  // Call after each request; kUnknown between checks.
  Level note() {
    if (++requests_ < kWindow) return Level::kUnknown;
    requests_ = 0;
    const long now = times_slept();
    const long waits = now - std::exchange(slept_, now);
    return waits <= kPlentyWaits   ? Level::kPlenty
           : waits >= kScarceWaits ? Level::kScarce
                                   : Level::kSome;
  }

 private:
  static constexpr unsigned kWindow = 256;  // a check is a system call
  static constexpr long kPlentyWaits = 8;
  static constexpr long kScarceWaits = 32;

  unsigned requests_ = 0;
  long slept_ = times_slept();
};

constexpr unsigned kAlwaysThreads = 2;  // so that one slow answer does not hold up the rest
constexpr unsigned kHelpers = 2;
constexpr unsigned kPlentyWindows = 2;  // in a row, until a helper is called

}  // namespace

FuseThreads::FuseThreads(fuse_session* session, std::function<void()> on_end)
    : session_(session), on_end_(std::move(on_end)) {
  // Without SA_RESTART: a sleeping read is interrupted, and checks the exit flag.
  struct sigaction action {};
  action.sa_handler = [](int) {};
  sigaction(kKick, &action, &before_);
}

Result<std::unique_ptr<FuseThreads>> FuseThreads::make(fuse_session* session,
                                                       std::function<void()> on_end) {
  std::unique_ptr<FuseThreads> self(new FuseThreads(session, std::move(on_end)));
  for (unsigned i = 0; i < kAlwaysThreads + kHelpers; ++i) {
    const Role role = i == 0 ? Role::kFirst : i < kAlwaysThreads ? Role::kAlways : Role::kHelper;
    if (auto started = self->start_one(role); !started) return fail(started.error());
  }
  return self;
}

FuseThreads::~FuseThreads() {
  stop();
  sigaction(kKick, &before_, nullptr);
}

Result<void> FuseThreads::start_one(Role role) {
  ++running_;
  auto thread = try_start_thread("keyfs-fuse", [this, role] { run(role); });
  if (!thread) {
    --running_;
    return fail(thread.error());
  }
  std::lock_guard lock(mutex_);
  threads_.push_back(std::move(*thread));
  return {};
}

void FuseThreads::serve() { advance(Stage::kFirst); }

void FuseThreads::advance(Stage stage) {
  std::lock_guard lock(mutex_);
  stage_ = stage;
  called_.notify_all();
}

void FuseThreads::run(Role role) {
  sigset_t kick;
  sigemptyset(&kick);
  sigaddset(&kick, kKick);
  pthread_sigmask(SIG_UNBLOCK, &kick, nullptr);
  bool served = false;
  {
    // The buffers of all others have the size negotiated by INIT, which the kernel sends first.
    const Stage stage = role == Role::kFirst ? Stage::kFirst : Stage::kAll;
    std::unique_lock lock(mutex_);
    called_.wait(lock, [&] { return stopping_ || stage_ >= stage; });
    served = !stopping_;
  }
  if (served && role == Role::kHelper) {
    help();
  } else if (served) {
    take_requests(role);
  }
  // The others sleep in a read that only stop() ends; the receiver of on_end_ calls it.
  fuse_session_exit(session_);
  advance(Stage::kAll);
  --running_;
  on_end_();
}

// Runs until the session ends; a helper, until it is no longer needed.
void FuseThreads::take_requests(Role role) {
  RequestBuffer request;
  Demand demand;
  unsigned plenty = 0;
  ++active_;
  while (fuse_session_exited(session_) == 0) {
    const int received = fuse_session_receive_buf(session_, &request.buffer);
    if (received == -EINTR) continue;
    if (received < 0) outcome_ = received;
    if (received <= 0) {
      fuse_session_exit(session_);
      break;
    }
    fuse_session_process_buf(session_, &request.buffer);
    if (!began_.load(std::memory_order_relaxed) && !began_.exchange(true)) advance(Stage::kAll);
    const auto level = demand.note();
    if (level == Demand::Level::kUnknown) continue;
    if (role == Role::kHelper) {
      if (level == Demand::Level::kScarce) break;
    } else if (level != Demand::Level::kPlenty) {
      plenty = 0;
    } else if (++plenty == kPlentyWindows) {
      plenty = 0;
      call_helpers();
    }
  }
  --active_;
}

void FuseThreads::help() {
  std::unique_lock lock(mutex_);
  while (!stopping_ && fuse_session_exited(session_) == 0) {
    ++idle_;
    called_.wait(lock, [this] { return calls_ > 0 || stopping_; });
    --idle_;
    if (stopping_) break;
    --calls_;
    lock.unlock();
    take_requests(Role::kHelper);
    lock.lock();
  }
}

void FuseThreads::call_helpers() {
  std::lock_guard lock(mutex_);
  calls_ = idle_;
  if (idle_ > 0) called_.notify_all();
}

int FuseThreads::stop() {
  std::vector<std::thread> threads;
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    threads.swap(threads_);
  }
  called_.notify_all();
  fuse_session_exit(session_);
  // The signal may arrive before a thread sleeps, so it is sent until all have noticed.
  while (running_ > 0) {
    for (auto& thread : threads) pthread_kill(thread.native_handle(), kKick);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  for (auto& thread : threads) thread.join();
  return outcome_;
}

}  // namespace keyfs
