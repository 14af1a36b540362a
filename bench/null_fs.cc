// The physical limit: a file system with keyfs's mount options and upcalls that answers from
// constants.
//
//   null_fs MOUNTPOINT [KEYS] [threads=N | spin=US]
//
// Every name is a file of 32 bytes; the directory lists KEYS of them ("key-0", "key-1", ...). It
// stays in the foreground until it is unmounted. Any cost above this is keyfs's own.
//
// It is served by libfuse's pool of four threads. The last argument selects other ways to wait for
// requests: N threads that do nothing else, as in keyfs, or one that polls for the next request for
// US microseconds before it sleeps.
#define FUSE_USE_VERSION 312
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <poll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr double kLongTimeout = 86400;
constexpr fuse_ino_t kFirstFile = 2;
constexpr std::array<char, 32> kKey = {'n', 'u', 'l', 'l'};

struct NullFs {
  fuse_ino_t keys = 1;
};

struct stat attributes(fuse_ino_t ino) {
  struct stat attr {};
  attr.st_ino = ino;
  attr.st_nlink = ino == FUSE_ROOT_ID ? 2 : 1;
  attr.st_mode = ino == FUSE_ROOT_ID ? S_IFDIR | 0555 : S_IFREG | 0400;
  attr.st_size = ino == FUSE_ROOT_ID ? 0 : kKey.size();
  return attr;
}

void init(void*, fuse_conn_info* conn) { conn->max_read = 4096; }

void lookup(fuse_req_t req, fuse_ino_t, const char* name) {
  // "key-N" is node N + 2, any other name the first file.
  const char* digits = std::strncmp(name, "key-", 4) == 0 ? name + 4 : "0";
  fuse_entry_param entry{};
  entry.ino = kFirstFile + std::strtoull(digits, nullptr, 10);
  entry.attr = attributes(entry.ino);
  entry.attr_timeout = kLongTimeout;
  entry.entry_timeout = kLongTimeout;
  fuse_reply_entry(req, &entry);
}

void getattr(fuse_req_t req, fuse_ino_t ino, fuse_file_info*) {
  const struct stat attr = attributes(ino);
  fuse_reply_attr(req, &attr, kLongTimeout);
}

void open(fuse_req_t req, fuse_ino_t, fuse_file_info* file) {
  file->direct_io = 1;
  file->fh = 1;
  fuse_reply_open(req, file);
}

void read(fuse_req_t req, fuse_ino_t, size_t size, off_t offset, fuse_file_info*) {
  if (offset >= static_cast<off_t>(kKey.size())) {
    fuse_reply_buf(req, nullptr, 0);
    return;
  }
  fuse_reply_buf(req, kKey.data() + offset, std::min(size, kKey.size() - offset));
}

void readdir(fuse_req_t req, fuse_ino_t, size_t size, off_t offset, fuse_file_info*) {
  const auto* fs = static_cast<const NullFs*>(fuse_req_userdata(req));
  std::string buffer(size, '\0');
  size_t used = 0;
  for (auto i = static_cast<fuse_ino_t>(offset); i < fs->keys; ++i) {
    const struct stat attr = attributes(kFirstFile + i);
    const std::string name = "key-" + std::to_string(i);
    const size_t entry = fuse_add_direntry(req, buffer.data() + used, size - used, name.c_str(),
                                           &attr, static_cast<off_t>(i + 1));
    if (entry > size - used) break;
    used += entry;
  }
  fuse_reply_buf(req, buffer.data(), used);
}

void run_pool(fuse_session* session) {
  fuse_loop_config* config = fuse_loop_cfg_create();
  fuse_loop_cfg_set_max_threads(config, 4);
  fuse_session_loop_mt(session, config);
  fuse_loop_cfg_destroy(config);
}

void run_threads(fuse_session* session, unsigned count) {
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < count; ++i) {
    threads.emplace_back([session] {
      fuse_buf request{};
      for (int received = 1; received > 0 || received == -EINTR;) {
        received = fuse_session_receive_buf(session, &request);
        if (received > 0) fuse_session_process_buf(session, &request);
      }
      std::free(request.mem);
    });
  }
  for (auto& thread : threads) thread.join();
}

void run_spinning(fuse_session* session, std::chrono::microseconds spin) {
  using Clock = std::chrono::steady_clock;
  const int fd = fuse_session_fd(session);
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
  fuse_buf request{};
  auto sleep_at = Clock::now();
  while (fuse_session_exited(session) == 0) {
    const int received = fuse_session_receive_buf(session, &request);
    if (received > 0) {
      fuse_session_process_buf(session, &request);
      sleep_at = Clock::now() + spin;
    } else if (received == -EAGAIN) {
      pollfd more{fd, POLLIN, 0};
      if (Clock::now() >= sleep_at) poll(&more, 1, -1);
    } else if (received != -EINTR) {
      break;
    }
  }
  std::free(request.mem);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: null_fs MOUNTPOINT [KEYS] [threads=N | spin=US]\n");
    return 2;
  }
  NullFs fs;
  if (argc > 2) fs.keys = std::strtoull(argv[2], nullptr, 10);
  fuse_lowlevel_ops operations{};
  operations.init = init;
  operations.lookup = lookup;
  operations.getattr = getattr;
  operations.open = open;
  operations.read = read;
  operations.readdir = readdir;

  std::string program = "null_fs";
  std::string option = "-o";
  std::string values = "ro,nodev,nosuid,noexec,max_read=4096,allow_other,subtype=nullfs";
  std::array<char*, 3> words = {program.data(), option.data(), values.data()};
  fuse_args args = FUSE_ARGS_INIT(static_cast<int>(words.size()), words.data());
  fuse_session* session = fuse_session_new(&args, &operations, sizeof operations, &fs);
  if (session == nullptr || fuse_session_mount(session, argv[1]) != 0) return 1;
  fuse_set_signal_handlers(session);
  if (const std::string way = argc > 3 ? argv[3] : ""; way.starts_with("threads=")) {
    run_threads(session, static_cast<unsigned>(std::atoi(way.c_str() + 8)));
  } else if (way.starts_with("spin=")) {
    run_spinning(session, std::chrono::microseconds(std::atoi(way.c_str() + 5)));
  } else {
    run_pool(session);
  }
  fuse_remove_signal_handlers(session);
  fuse_session_unmount(session);
  fuse_session_destroy(session);
  fuse_opt_free_args(&args);
  return 0;
}
