#include "fs/mount/session.h"

#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <sstream>
#include <string_view>

#include "fs/mount/mountpoint.h"
#include "fs/mount/ops.h"
#include "fs/mount/threads.h"

namespace keyfs {
namespace {

// What libfuse tells about a failure it only prints. Its log function takes no user data, so the
// text goes to whoever listens on the same thread.
class LibfuseMessages {
 public:
  LibfuseMessages() {
    listener() = this;
    fuse_set_log_func(&LibfuseMessages::hear);
  }
  ~LibfuseMessages() {
    listener() = nullptr;
    fuse_set_log_func(nullptr);
  }
  LibfuseMessages(const LibfuseMessages&) = delete;
  LibfuseMessages& operator=(const LibfuseMessages&) = delete;

  // ": text", or nothing.
  std::string suffix() const { return text_.empty() ? "" : ": " + text_; }

 private:
  static LibfuseMessages*& listener() {
    static thread_local LibfuseMessages* current = nullptr;
    return current;
  }
  __attribute__((format(printf, 2, 0))) static void hear(fuse_log_level, const char* format,
                                                         va_list arguments) {
    std::array<char, 512> line{};
    std::vsnprintf(line.data(), line.size(), format, arguments);
    std::string_view text(line.data());
    while (text.ends_with('\n')) text.remove_suffix(1);
    if (listener() == nullptr || text.empty()) return;
    std::string& all = listener()->text_;
    if (!all.empty()) all += "; ";
    all += text;
  }
  std::string text_;
};

sigset_t session_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGHUP);
  return signals;
}

void ring(int event) {
  const uint64_t one = 1;
  // Can only fail when the counter is full, and then it has been rung.
  [[maybe_unused]] const ssize_t put = ::write(event, &one, sizeof one);
}

}  // namespace

Result<std::vector<std::string>> mount_options(const std::string& user_options, bool is_root) {
  // max_read: a direct read of 128 KiB would pin 32 pages of its reader for a key of 32 bytes.
  // ro: saves an upcall for each read and tells writers EROFS at once.
  std::vector<std::string> options = {"ro",     "nodev",         "nosuid",
                                      "noexec", "max_read=4096", "subtype=keyfs"};
  struct Refused {
    std::string_view option;
    std::string_view why;
  };
  constexpr std::array<Refused, 8> kRefused = {{
      {"rw", "keys are administered with the command line, the mount is read-only"},
      {"dev", "a mount of keys has no devices"},
      {"suid", "a mount of keys has no programs"},
      {"exec", "a mount of keys has no programs"},
      {"default_permissions", "keyfs decides who may read itself, and audits what it denies"},
      {"auto_unmount", "keyfs unmounts itself, and cleans up after one that was killed"},
      {"atime", "nothing is written by reading"},
      {"kernel_cache", "keys must not stay in the page cache"},
  }};
  constexpr std::array<std::string_view, 7> kOurs = {
      "ro", "nodev", "nosuid", "noexec", "noatime", "nodiratime", "max_read=4096"};
  bool everyone = false;
  bool named = false;
  std::istringstream words(user_options);
  for (std::string word; std::getline(words, word, ',');) {
    if (word.empty()) continue;
    for (const auto& refused : kRefused) {
      if (word == refused.option) {
        return fail(Code::kInvalid,
                    "mount option " + word + " is refused: " + std::string(refused.why));
      }
    }
    bool ours = false;
    for (const auto option : kOurs) ours = ours || word == option;
    if (ours) continue;
    const std::string_view name = std::string_view(word).substr(0, word.find('='));
    const bool has_value = name.size() < word.size();
    if (word == "allow_other") {
      everyone = true;
    } else if (word == "allow_root") {
      options.push_back(word);
    } else if (name == "fsname" && has_value) {
      named = true;
      options.push_back(word);
    } else if ((name == "context" || name == "fscontext" || name == "rootcontext" ||
                name == "defcontext") &&
               has_value) {
      options.push_back(word);
    } else {
      return fail(Code::kInvalid, "mount option " + word + " is not known");
    }
  }
  // Whom a root's mount is for is the policy's to say.
  if (everyone || is_root) options.emplace_back("allow_other");
  if (!named) options.emplace_back("fsname=keyfs");
  return options;
}

void FuseSession::block_signals() {
  const sigset_t signals = session_signals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
}

Result<void> FuseSession::create(const std::vector<std::string>& options) {
  std::string joined;
  for (const auto& option : options) joined += (joined.empty() ? "" : ",") + option;
  std::string program = "keyfs";
  std::string flag = "-o";
  std::array<char*, 4> words = {program.data(), flag.data(), joined.data(), nullptr};
  fuse_args arguments = FUSE_ARGS_INIT(options.empty() ? 1 : 3, words.data());
  const LibfuseMessages messages;
  session_ = fuse_session_new(&arguments, &FuseOps::table(), sizeof(fuse_lowlevel_ops), &ops_);
  fuse_opt_free_args(&arguments);
  if (session_ == nullptr) {
    return fail(Code::kInvalid, "cannot mount" + messages.suffix());
  }
  wake_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake_ < 0) {
    return fail(Code::kUnavailable, std::string("cannot mount: eventfd: ") + std::strerror(errno));
  }
  return {};
}

Result<std::unique_ptr<FuseSession>> FuseSession::mount(const MountSettings& settings, FuseOps& ops,
                                                        Log& log) {
  const bool is_root = ::geteuid() == 0;
  const auto options = mount_options(settings.options, is_root);
  if (!options) return fail(options.error());
  auto target = prepare_mountpoint(settings.mountpoint, log);
  if (!target) return fail(target.error());

  std::unique_ptr<FuseSession> self(new FuseSession(ops, log));
  self->mountpoint_ = std::move(*target);
  if (auto created = self->create(*options); !created) return fail(created.error());
  {
    const LibfuseMessages messages;
    if (fuse_session_mount(self->session_, self->mountpoint_.c_str()) != 0) {
      std::string message = "cannot mount on " + self->mountpoint_ + messages.suffix();
      if (::access("/dev/fuse", F_OK) != 0) message += "; there is no /dev/fuse (modprobe fuse)";
      if (!is_root) {
        message +=
            "; an ordinary user needs fusermount3 (package fuse3) and a directory of their own, "
            "and "
            "user_allow_other in /etc/fuse.conf for allow_other";
      }
      return fail(Code::kUnavailable, std::move(message));
    }
  }
  self->mounted_ = true;
  ops.attach(self->session_);
  return self;
}

Result<std::unique_ptr<FuseSession>> FuseSession::over_socket(int fd, FuseOps& ops, Log& log) {
  std::unique_ptr<FuseSession> self(new FuseSession(ops, log));
  if (auto created = self->create({"max_read=4096"}); !created) {
    ::close(fd);
    return fail(created.error());
  }
  fuse_custom_io io{};
  io.read = [](int socket, void* buffer, size_t size, void*) {
    const ssize_t got = ::read(socket, buffer, size);
    if (got != 0) return got;
    errno = ENODEV;  // as /dev/fuse says when the mount has ended
    return ssize_t{-1};
  };
  io.writev = [](int socket, iovec* parts, int count, void*) {
    msghdr message{};
    message.msg_iov = parts;
    message.msg_iovlen = static_cast<size_t>(count);
    return ::sendmsg(socket, &message, MSG_NOSIGNAL);
  };
  if (fuse_session_custom_io(self->session_, &io, fd) != 0) {
    ::close(fd);
    return fail(Code::kInvalid, "cannot serve over a socket");
  }
  ops.attach(self->session_);
  return self;
}

FuseSession::~FuseSession() {
  if (session_ != nullptr) {
    unmount();
    fuse_session_destroy(session_);
  }
  if (wake_ >= 0) ::close(wake_);
}

void FuseSession::stop() {
  stopping_ = true;
  ring(wake_);
}

Result<void> FuseSession::run(const SessionHooks& hooks) {
  block_signals();
  FuseThreads threads(session_, [this] {
    served_ = true;
    ring(wake_);
  });
  if (hooks.on_ready) hooks.on_ready();
  wait_for_signals(hooks);
  const int outcome = threads.stop();
  // No request comes in any more; those that wait get their answers, then the descriptor is closed.
  ops_.close();
  unmount();
  if (outcome < 0) {
    return fail(Code::kUnavailable, "serving " + (mountpoint_.empty() ? "a socket" : mountpoint_) +
                                        " failed: " + std::strerror(-outcome));
  }
  return {};
}

void FuseSession::wait_for_signals(const SessionHooks& hooks) {
  const sigset_t signals = session_signals();
  const int signal_fd = ::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
  if (signal_fd < 0) log_.error("cannot hear signals", {{"reason", std::strerror(errno)}});
  std::array<pollfd, 2> waited = {pollfd{signal_fd, POLLIN, 0}, pollfd{wake_, POLLIN, 0}};
  while (!served_ && !stopping_) {
    if (::poll(waited.data(), waited.size(), -1) < 0) continue;
    signalfd_siginfo signal{};
    while (::read(signal_fd, &signal, sizeof signal) == sizeof signal) {
      if (signal.ssi_signo != SIGHUP) {
        log_.info("unmounting", {{"signal", strsignal(static_cast<int>(signal.ssi_signo))}});
        stopping_ = true;
      } else if (hooks.on_reload) {
        hooks.on_reload();
      }
    }
  }
  if (signal_fd >= 0) ::close(signal_fd);
}

void FuseSession::unmount() {
  if (!mounted_) return;
  mounted_ = false;
  fuse_session_unmount(session_);
}

}  // namespace keyfs
