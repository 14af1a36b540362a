#include "fs/mount/session.h"

#define FUSE_USE_VERSION 312
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <sstream>
#include <string_view>

#include "base/limits.h"
#include "fs/mount/device_io.h"
#include "fs/mount/mountpoint.h"
#include "fs/mount/ops.h"
#include "fs/mount/threads.h"

namespace keyfs {
namespace {

// libfuse only prints the reasons for failures. Its log function takes no user data, so the text
// goes to the listener on the same thread.
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

void ring(int event) {
  const uint64_t one = 1;
  // Can only fail if the counter is full, and then the wake-up is already pending.
  [[maybe_unused]] const ssize_t put = ::write(event, &one, sizeof one);
}

// A key is read whole by one read(2).
std::string max_read_option() { return "max_read=" + std::to_string(kMaxKeyBytes); }

}  // namespace

Result<std::vector<std::string>> mount_options(const std::string& user_options, bool is_root) {
  // max_read: a direct read of 128 KiB would pin 32 pages of its reader for a key of 32 bytes.
  const std::string max_read = max_read_option();
  // ro: saves an upcall for each read and tells writers EROFS at once.
  std::vector<std::string> options = {"ro", "nodev", "nosuid", "noexec", max_read, "subtype=keyfs"};
  struct Refused {
    std::string_view option;
    std::string_view why;
  };
  constexpr std::array<Refused, 8> kRefused = {{
      {"rw", "the mount is read-only; keys are administered with the command line"},
      {"dev", "keys are not devices"},
      {"suid", "keys are not programs"},
      {"exec", "keys are not programs"},
      {"default_permissions", "keyfs itself decides who may read, and audits what it denies"},
      {"auto_unmount", "keyfs unmounts itself, and cleans up after a killed one"},
      {"atime", "reading writes nothing"},
      {"kernel_cache", "keys must not stay in the page cache"},
  }};
  const std::array<std::string_view, 7> kOurs = {"ro",      "nodev",      "nosuid", "noexec",
                                                 "noatime", "nodiratime", max_read};
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
    } else if (has_value && name.size() + 1 == word.size()) {
      return fail(Code::kInvalid, "mount option " + word + " has no value");
    } else if (name == "fsname" && has_value) {
      named = true;
      options.push_back(word);
    } else if ((name == "context" || name == "fscontext" || name == "rootcontext" ||
                name == "defcontext") &&
               has_value) {
      options.push_back(word);
    } else {
      return fail(Code::kInvalid, "mount option " + word + " is unknown");
    }
  }
  // The policy decides who may use root's mount.
  if (everyone || is_root) options.emplace_back("allow_other");
  if (!named) options.emplace_back("fsname=keyfs");
  return options;
}

namespace {

// Options in libfuse's form.
class Arguments {
 public:
  explicit Arguments(const std::vector<std::string>& options) {
    for (const auto& option : options) joined_ += (joined_.empty() ? "" : ",") + option;
    words_ = {program_.data(), flag_.data(), joined_.data(), nullptr};
    arguments_ = FUSE_ARGS_INIT(options.empty() ? 1 : 3, words_.data());
  }
  ~Arguments() { fuse_opt_free_args(&arguments_); }
  Arguments(const Arguments&) = delete;
  Arguments& operator=(const Arguments&) = delete;
  fuse_args* get() { return &arguments_; }

 private:
  std::string program_ = "keyfs";
  std::string flag_ = "-o";
  std::string joined_;
  std::array<char*, 4> words_{};
  fuse_args arguments_{};
};

// Ends the session that has made a mount, and leaves the mount. libfuse does so only with one that
// has ended already, as POLLERR tells it: that is what it is shown in place of its device.
void part_from_mount(fuse_session* maker) {
  std::array<int, 2> pipe{};
  if (::pipe2(pipe.data(), O_CLOEXEC) == 0) {
    ::close(pipe[0]);
    if (::dup3(pipe[1], fuse_session_fd(maker), O_CLOEXEC) >= 0) fuse_session_unmount(maker);
    ::close(pipe[1]);
  }
  fuse_session_destroy(maker);
}

}  // namespace

Result<void> FuseSession::create(const std::vector<std::string>& options) {
  wake_ = Descriptor(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake_.is_open()) {
    return fail(Code::kUnavailable, std::string("cannot mount: eventfd: ") + std::strerror(errno));
  }
  Arguments arguments(options);
  const LibfuseMessages messages;
  session_ = fuse_session_new(arguments.get(), &FuseOps::table(), sizeof(fuse_lowlevel_ops), &ops_);
  if (session_ == nullptr) {
    return fail(Code::kInvalid, "cannot mount" + messages.suffix());
  }
  // Everything that may fail for lack of resources comes before the mount.
  auto threads = FuseThreads::make(session_, [this] {
    served_ = true;
    ring(wake_.get());
  });
  if (!threads) return fail(threads.error());
  threads_ = std::move(*threads);
  ops_.attach(session_);
  return {};
}

// libfuse unmounts whatever is at the path of a mount that it created. So one libfuse session
// creates the mount, and passes it to ours as an open /dev/fuse.
Result<void> FuseSession::mount_there(const std::vector<std::string>& options) {
  Arguments arguments(options);
  const LibfuseMessages messages;
  fuse_session* maker =
      fuse_session_new(arguments.get(), &FuseOps::table(), sizeof(fuse_lowlevel_ops), &ops_);
  if (maker == nullptr) return fail(Code::kInvalid, "cannot mount" + messages.suffix());
  if (fuse_session_mount(maker, mountpoint_.c_str()) != 0) {
    fuse_session_destroy(maker);
    std::string message = "cannot mount on " + mountpoint_ + messages.suffix();
    if (::access("/dev/fuse", F_OK) != 0) {
      message += "; there is no /dev/fuse (modprobe fuse)";
    } else if (::access("/dev/fuse", R_OK | W_OK) != 0) {
      message += "; this user may not open /dev/fuse, whose mode should be 0666";
    }
    if (::geteuid() != 0) {
      message +=
          "; an ordinary user needs fusermount3 (package fuse3) and a directory of their own, and "
          "user_allow_other in /etc/fuse.conf for allow_other";
    }
    return fail(Code::kUnavailable, std::move(message));
  }
  mounted_ = true;
  if (const auto place = mount_at(mountpoint_); place && place->is_root) mount_ = place->mount;
  const int device = ::fcntl(fuse_session_fd(maker), F_DUPFD_CLOEXEC, 3);
  int failure = errno;
  part_from_mount(maker);
  if (device >= 0) {
    failure = -fuse_session_custom_io(session_, &device_io(), device);
    if (failure == 0) return {};
    ::close(device);
  }
  errno = failure;
  return fail(os_error(mountpoint_, "cannot serve it"));
}

Result<std::unique_ptr<FuseSession>> FuseSession::mount(const MountSettings& settings, FuseOps& ops,
                                                        Log& log) {
  const auto options = mount_options(settings.options, ::geteuid() == 0);
  if (!options) return fail(options.error());
  auto target = prepare_mountpoint(settings.mountpoint, log);
  if (!target) return fail(target.error());

  std::unique_ptr<FuseSession> self(new FuseSession(ops, log));
  self->mountpoint_ = std::move(*target);
  if (auto created = self->create(*options); !created) return fail(created.error());
  if (auto mounted = self->mount_there(*options); !mounted) return fail(mounted.error());
  return self;
}

Result<std::unique_ptr<FuseSession>> FuseSession::over_socket(int fd, FuseOps& ops, Log& log) {
  std::unique_ptr<FuseSession> self(new FuseSession(ops, log));
  if (auto created = self->create({max_read_option()}); !created) {
    ::close(fd);
    return fail(created.error());
  }
  if (fuse_session_custom_io(self->session_, &socket_io(), fd) != 0) {
    ::close(fd);
    return fail(Code::kInvalid, "cannot serve over a socket");
  }
  return self;
}

FuseSession::FuseSession(FuseOps& ops, Log& log) : ops_(ops), log_(log) {}

FuseSession::~FuseSession() {
  if (session_ == nullptr) return;
  if (threads_) threads_->stop();
  unmount();
  threads_.reset();
  fuse_session_destroy(session_);
}

void FuseSession::stop() {
  stopping_ = true;
  ring(wake_.get());
}

Result<void> FuseSession::run(const std::function<void()>& on_ready) {
  threads_->serve();
  if (on_ready && !stopping_) on_ready();
  pollfd woken{wake_.get(), POLLIN, 0};
  while (!served_ && !stopping_) ::poll(&woken, 1, -1);
  ops_.end_pages();
  const int outcome = threads_->stop();
  // No more requests arrive; waiting ones get their answers, then the descriptor is closed.
  ops_.close();
  unmount();
  if (outcome < 0) {
    return fail(Code::kUnavailable, "serving " + (mountpoint_.empty() ? "a socket" : mountpoint_) +
                                        " failed: " + std::strerror(-outcome));
  }
  return {};
}

void FuseSession::unmount() {
  if (!mounted_) return;
  mounted_ = false;
  // Nobody has it mounted any more once the kernel has closed its end.
  pollfd device{fuse_session_fd(session_), 0, 0};
  const bool gone = device.fd >= 0 && ::poll(&device, 1, 0) == 1 && (device.revents & POLLERR) != 0;
  if (!gone && mount_) {
    const auto done = unmount_own(*mount_, mountpoint_);
    if (!done) {
      log_.error("the mount could not be removed, and is now dead",
                 {{"mountpoint", mountpoint_}, {"reason", done.error().message}});
    } else if (*done == Unmounting::kCovered) {
      log_.warn(
          "something else is mounted over this keyfs and was left alone: unmount that, then "
          "what is left of this one",
          {{"mountpoint", mountpoint_}});
    }
  } else if (!gone) {
    log_.error("the mount could not be identified for certain, so it was left in place",
               {{"mountpoint", mountpoint_}});
  }
  // Programs that still have a file open get ENOTCONN from now on: this drops the last reference to
  // the device.
  const Descriptor null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (device.fd >= 0 && null.is_open()) ::dup3(null.get(), device.fd, O_CLOEXEC);
}

}  // namespace keyfs
