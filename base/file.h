// Open files and operating system errors.
//
// Thread-safety: plain values and functions. Ownership: a Descriptor closes what it holds.
// Blocking: they touch the disk; on a worker, or at start. Errors: kDenied if permission is
// missing, otherwise kUnavailable; errno is preserved for callers that want other words.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace keyfs {

class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() { reset(); }
  Descriptor(Descriptor&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  Descriptor& operator=(Descriptor&& other) noexcept;
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  int get() const { return fd_; }
  bool is_open() const { return fd_ >= 0; }
  // Preserves errno.
  void reset();

 private:
  int fd_ = -1;
};

// "PATH: WHAT: no space left on device", kDenied or kUnavailable by `why`.
Error os_error(const std::string& path, const std::string& what, int why = errno);

// Writes everything, however many write(2) calls it takes; false with errno.
bool write_all(int fd, std::span<const uint8_t> bytes);
bool write_all(int fd, std::string_view text);

// The whole of a file whose size is not known beforehand (/proc), up to `most` bytes; nullopt with
// errno if it cannot be read, EFBIG if it is longer.
std::optional<std::string> read_to_end(const std::string& path, size_t most = size_t{1} << 20);

// Writes a small file atomically: as a draft in the same directory, renamed at the end. It survives
// a power failure once this has returned. Errors: os_error()'s; then an existing file is unchanged.
// `take_place`: replaces an existing file; otherwise an existing file stays, which is not an error
// (the first of two processes wins: read it again).
Result<void> write_whole_file(const std::string& path, std::string_view text, bool take_place,
                              unsigned mode = 0600);

// Makes creations and renames in a directory survive a power failure; false with errno.
bool sync_directory(const std::string& path);

// The directory that a file is in: "." for a bare name.
std::string directory_of(const std::string& path);

}  // namespace keyfs
