#include "base/log_sink.h"

#include <sys/stat.h>
#include <unistd.h>

#include <condition_variable>
#include <cstdlib>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "base/line_file.h"
#include "base/thread.h"

namespace keyfs {
namespace {

constexpr size_t kQueuedLines = 1024;

// syslog(3)'s numbers, as sd-daemon(3) writes them.
const char* priority(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return "<7>";
    case LogLevel::kInfo:
      return "<6>";
    case LogLevel::kWarn:
      return "<4>";
    case LogLevel::kError:
      return "<3>";
  }
  return "<3>";
}

class QueuedSink final : public LogSink {
 public:
  QueuedSink(LineFile file, bool with_priority)
      : file_(std::move(file)), with_priority_(with_priority) {
    writer_ = start_thread("keyfs-log", [this] { run(); });
  }

  ~QueuedSink() override {
    {
      std::lock_guard lock(mutex_);
      ending_ = true;
    }
    changed_.notify_one();
    writer_.join();
  }

  void write(LogLevel level, std::string_view line) noexcept override {
    try {
      std::string text = with_priority_ ? priority(level) : "";
      (text += line) += '\n';
      {
        std::lock_guard lock(mutex_);
        if (lines_.size() >= kQueuedLines) {
          lines_.pop_front();
          ++lost_;
        }
        lines_.push_back(std::move(text));
      }
      changed_.notify_one();
    } catch (...) {  // no memory
      ++lost_;
    }
  }

  uint64_t lost() const noexcept override { return lost_; }

 private:
  void run() {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [this] { return ending_ || !lines_.empty(); });
      if (lines_.empty()) return;
      const std::string line = std::move(lines_.front());
      lines_.pop_front();
      lock.unlock();
      write_one(line);
      lock.lock();
    }
  }

  void write_one(const std::string& line) noexcept {
    try {
      (void)file_.follow();  // better the old file than none
      if (file_.write(line).lines == 0) ++lost_;
    } catch (...) {
      ++lost_;
    }
  }

  LineFile file_;  // the writer's own
  const bool with_priority_;
  std::atomic<uint64_t> lost_{0};
  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::deque<std::string> lines_;
  bool ending_ = false;
  std::thread writer_;
};

}  // namespace

std::unique_ptr<LogSink> make_fd_sink(int fd, bool with_priority) {
  return std::make_unique<QueuedSink>(LineFile::over(fd), with_priority);
}

std::unique_ptr<LogSink> make_stderr_sink() {
  return make_fd_sink(STDERR_FILENO, stderr_is_journal());
}

bool stderr_is_journal() {
  const char* stream = std::getenv("JOURNAL_STREAM");
  struct stat ours {};
  return stream != nullptr && fstat(STDERR_FILENO, &ours) == 0 &&
         std::to_string(ours.st_dev) + ":" + std::to_string(ours.st_ino) == stream;
}

Result<std::unique_ptr<LogSink>> open_file_sink(const std::string& path) {
  auto file = LineFile::open("the log", path, std::nullopt);
  if (!file) return fail(std::move(file.error()));
  return std::make_unique<QueuedSink>(std::move(*file), false);
}

}  // namespace keyfs
