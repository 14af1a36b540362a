#include "fs/cli/rotation_token.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <string_view>
#include <thread>
#include <utility>

#include "base/encoding.h"
#include "base/private_file.h"
#include "fs/cli/command_context.h"
#include "fs/upkeep/key_versions.h"

namespace keyfs {
namespace {

constexpr auto kLookAgain = std::chrono::milliseconds(20);
constexpr size_t kTokenBytes = 16;
constexpr const char* kHeld = " hold\n";
// A line after the token's, which stays as it is: a write cut short does not cost the token.
constexpr std::string_view kHandedOver = "handed over\n";

Result<void> make_directory(const std::string& state_dir, const std::string& directory) {
  if (auto ok = make_state_dir(state_dir); !ok) return ok;
  if (::mkdir(directory.c_str(), 0700) == 0) {
    if (!sync_directory(state_dir)) return fail(os_error(state_dir, "could not be written"));
  } else if (errno != EEXIST) {
    return fail(os_error(directory, "could not be made"));
  }
  return check_private_directory(directory);
}

// Whoever held the lock before has removed the file at its end: then this is no file any more.
bool still_there(const std::string& path, const Descriptor& file) {
  struct stat open {};
  struct stat there {};
  return ::fstat(file.get(), &open) == 0 && ::lstat(path.c_str(), &there) == 0 &&
         open.st_ino == there.st_ino && open.st_dev == there.st_dev;
}

}  // namespace

Result<RotationToken> RotationToken::take(const std::string& state_dir, const std::string& id,
                                          bool hold, Random& random, Duration patience) {
  const std::string directory = state_dir + "/rotations";
  if (auto ok = make_directory(state_dir, directory); !ok) return fail(std::move(ok.error()));
  const std::string path = directory + "/" + id;
  const auto until = std::chrono::steady_clock::now() + patience;
  for (;;) {
    auto file = open_private_file(path, O_RDWR | O_CREAT, Guard::kOurs);
    if (!file) return fail(std::move(file.error()));
    if (::flock(file->get(), LOCK_EX | LOCK_NB) == 0) {
      if (!still_there(path, *file)) continue;
      RotationToken token(path, std::move(*file), hold ? kHeld : "\n");
      if (auto ok = token.read_or_make(random); !ok) return fail(std::move(ok.error()));
      if (!sync_directory(directory)) return fail(os_error(directory, "could not be written"));
      return token;
    }
    if (errno != EWOULDBLOCK && errno != EINTR) return fail(os_error(path, "could not be locked"));
    if (std::chrono::steady_clock::now() >= until) {
      return fail(Code::kUnavailable,
                  "another keyfs rotate of this key is running on this host; try again later");
    }
    std::this_thread::sleep_for(kLookAgain);
  }
}

Result<void> RotationToken::read_or_make(Random& random) {
  std::array<char, 256> old{};
  const ssize_t got = ::pread(file_.get(), old.data(), old.size(), 0);
  if (got < 0) return fail(os_error(path_, "could not be read"));
  text_.assign(old.data(), static_cast<size_t>(got));
  // A line that is whole, of such a rotation; the rotation of one cut short has not begun.
  const size_t length = 2 * kTokenBytes + end_.size();
  if (text_.size() >= length && text_.compare(2 * kTokenBytes, end_.size(), end_) == 0) {
    handed_over_ = std::string_view(text_).substr(length) == kHandedOver;
    text_.resize(2 * kTokenBytes);
    if (is_rotation_token(text_)) return {};
  }
  return renew(random);
}

Result<void> RotationToken::renew(Random& random) {
  handed_over_ = false;
  std::array<uint8_t, kTokenBytes> bytes{};
  if (auto ok = random.fill(bytes); !ok) return ok;
  text_ = hex_encode(bytes);
  const bool written = ::ftruncate(file_.get(), 0) == 0 && ::lseek(file_.get(), 0, SEEK_SET) == 0 &&
                       write_all(file_.get(), text_ + end_) && ::fsync(file_.get()) == 0;
  if (!written) return fail(os_error(path_, "could not be written"));
  return {};
}

Result<void> RotationToken::hand_over() {
  const auto length = static_cast<off_t>(text_.size() + end_.size());
  const bool written =
      ::ftruncate(file_.get(), length) == 0 && ::lseek(file_.get(), length, SEEK_SET) == length &&
      write_all(file_.get(), std::string(kHandedOver)) && ::fsync(file_.get()) == 0;
  if (!written) return fail(os_error(path_, "could not be written"));
  handed_over_ = true;
  return {};
}

Result<void> RotationToken::take_back() {
  const auto length = static_cast<off_t>(text_.size() + end_.size());
  const bool written = ::ftruncate(file_.get(), length) == 0 && ::fsync(file_.get()) == 0;
  if (!written) return fail(os_error(path_, "could not be written"));
  handed_over_ = false;
  return {};
}

Result<void> RotationToken::forget() {
  const bool gone = ::unlink(path_.c_str()) == 0 || errno == ENOENT;
  Result<void> done;
  if (!gone) done = fail(os_error(path_, "could not be removed"));
  file_.reset();
  return done;
}

}  // namespace keyfs
