#include "base/log_sink.h"

#include <fcntl.h>
#include <poll.h>
#include <spdlog/async_logger.h>
#include <spdlog/details/null_mutex.h>
#include <spdlog/details/thread_pool.h>
#include <spdlog/sinks/base_sink.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>

namespace keyfs {
namespace {

constexpr size_t kQueuedLines = 1024;
constexpr int kPatienceMs = 1000;

spdlog::level::level_enum spdlog_level(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarn:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  return spdlog::level::err;
}

// syslog(3)'s numbers, as sd-daemon(3) writes them.
const char* priority(spdlog::level::level_enum level) {
  switch (level) {
    case spdlog::level::debug:
      return "<7>";
    case spdlog::level::info:
      return "<6>";
    case spdlog::level::warn:
      return "<4>";
    default:
      return "<3>";
  }
}

// Signals are for the threads that wait for them; a reader that closed the pipe is EPIPE here.
void take_no_signals() {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
}

// Writes on the queue's one thread, hence without a mutex of its own.
class Writer final : public spdlog::sinks::base_sink<spdlog::details::null_mutex> {
 public:
  // With a path, the file is this object's, and opened anew when it is moved away.
  Writer(int fd, std::string path, bool with_priority)
      : fd_(fd), path_(std::move(path)), with_priority_(with_priority) {}
  ~Writer() override {
    if (!path_.empty() && fd_ >= 0) close(fd_);
  }

  uint64_t lost() const noexcept { return lost_.load(); }

  static int open_file(const std::string& path) {
    return open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0640);
  }

 private:
  void sink_it_(const spdlog::details::log_msg& msg) override {
    text_.clear();
    // The end of a line that was cut short by a full disk is not to be taken for this one's start.
    if (cut_short_) text_ += '\n';
    if (with_priority_) text_ += priority(msg.level);
    text_.append(msg.payload.data(), msg.payload.size());
    text_ += '\n';
    if (!path_.empty()) follow_path();
    if (!write_all(text_)) ++lost_;
  }
  void flush_() override {}

  void follow_path() {
    struct stat there {};
    struct stat ours {};
    if (fd_ >= 0 && stat(path_.c_str(), &there) == 0 && fstat(fd_, &ours) == 0 &&
        there.st_dev == ours.st_dev && there.st_ino == ours.st_ino) {
      return;
    }
    const int fresh = open_file(path_);
    if (fresh < 0) return;  // better the old one than none
    if (fd_ >= 0) close(fd_);
    fd_ = fresh;
    cut_short_ = false;
  }

  bool write_all(std::string_view text) {
    const size_t whole = text.size();
    int refusals = 0;
    while (!text.empty()) {
      pollfd room{fd_, POLLOUT, 0};
      const int ready = poll(&room, 1, stuck_ ? 0 : kPatienceMs);
      if (ready < 0 && errno == EINTR) continue;
      stuck_ = ready == 0;  // from now on nobody waits, until it works again
      if (ready <= 0) break;
      const ssize_t written = ::write(fd_, text.data(), text.size());
      if (written < 0 && (errno == EINTR || (errno == EAGAIN && ++refusals < 3))) continue;
      if (written <= 0) break;
      text.remove_prefix(static_cast<size_t>(written));
    }
    if (text.size() < whole) cut_short_ = !text.empty();
    return text.empty();
  }

  int fd_;
  const std::string path_;
  const bool with_priority_;
  bool stuck_ = false;
  bool cut_short_ = false;
  std::string text_;
  std::atomic<uint64_t> lost_{0};
};

class QueuedSink final : public LogSink {
 public:
  explicit QueuedSink(std::shared_ptr<Writer> writer)
      : writer_(std::move(writer)),
        pool_(std::make_shared<spdlog::details::thread_pool>(kQueuedLines, 1, take_no_signals)),
        logger_(std::make_shared<spdlog::async_logger>(
            "", writer_, pool_, spdlog::async_overflow_policy::overrun_oldest)) {
    logger_->set_level(spdlog::level::trace);
    logger_->set_error_handler([this](const std::string&) { ++refused_; });
  }

  void write(LogLevel level, std::string_view line) noexcept override {
    try {
      logger_->log(spdlog_level(level), spdlog::string_view_t(line.data(), line.size()));
    } catch (...) {
      ++refused_;
    }
  }

  uint64_t lost() const noexcept override {
    uint64_t overrun = 0;
    try {
      overrun = pool_->overrun_counter();
    } catch (...) {  // its mutex can throw
    }
    return overrun + refused_ + writer_->lost();
  }

 private:
  std::atomic<uint64_t> refused_{0};
  std::shared_ptr<Writer> writer_;
  // Ends before the logger that its queue refers to is let go; joins the thread.
  std::shared_ptr<spdlog::details::thread_pool> pool_;
  std::shared_ptr<spdlog::async_logger> logger_;
};

}  // namespace

std::unique_ptr<LogSink> make_fd_sink(int fd, bool with_priority) {
  return std::make_unique<QueuedSink>(std::make_shared<Writer>(fd, "", with_priority));
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
  const int fd = Writer::open_file(path);
  if (fd < 0) {
    return fail(Code::kUnavailable, "could not open the log " + path + ": " + std::strerror(errno));
  }
  return std::make_unique<QueuedSink>(std::make_shared<Writer>(fd, path, false));
}

}  // namespace keyfs
