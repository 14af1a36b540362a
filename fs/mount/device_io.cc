#include "fs/mount/device_io.h"

#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>

#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#include <sanitizer/tsan_interface.h>
#define __SANITIZE_THREAD__ 1
#endif
#endif

namespace keyfs {
namespace {

// `session` is what libfuse passes on: the session's user data.
void before_answer([[maybe_unused]] void* session) {
#if defined(__SANITIZE_THREAD__)
  __tsan_release(session);
#endif
}
void after_request([[maybe_unused]] void* session) {
#if defined(__SANITIZE_THREAD__)
  __tsan_acquire(session);
#endif
}

ssize_t read_device(int device, void* buffer, size_t size, void* session) {
  const ssize_t got = ::read(device, buffer, size);
  after_request(session);
  return got;
}

ssize_t write_device(int device, iovec* parts, int count, void* session) {
  before_answer(session);
  return ::writev(device, parts, count);
}

ssize_t read_socket(int socket, void* buffer, size_t size, void* session) {
  const ssize_t got = ::read(socket, buffer, size);
  after_request(session);
  if (got != 0) return got;
  errno = ENODEV;  // as /dev/fuse says when the mount has ended
  return -1;
}

ssize_t write_socket(int socket, iovec* parts, int count, void* session) {
  before_answer(session);
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = static_cast<size_t>(count);
  return ::sendmsg(socket, &message, MSG_NOSIGNAL);
}

// By name: later versions of libfuse have more members.
constexpr fuse_custom_io io_by(decltype(fuse_custom_io::writev) write,
                               decltype(fuse_custom_io::read) read) {
  fuse_custom_io io{};
  io.writev = write;
  io.read = read;
  return io;
}

}  // namespace

const fuse_custom_io& device_io() {
  static constexpr fuse_custom_io kIo = io_by(write_device, read_device);
  return kIo;
}

const fuse_custom_io& socket_io() {
  static constexpr fuse_custom_io kIo = io_by(write_socket, read_socket);
  return kIo;
}

}  // namespace keyfs
