#include "fs/sign/creation_cap.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <functional>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/private_file.h"

namespace keyfs {
namespace {

using MadeTimes = std::vector<int64_t>;  // milliseconds since 1970
constexpr size_t kMostMadeBytes = 1 << 16;
constexpr int64_t kCapHour = 3'600'000;

MadeTimes parse_made(std::string_view text, int64_t now) {
  MadeTimes times;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    int64_t time = 0;
    const auto parsed = std::from_chars(line.data(), line.data() + line.size(), time);
    if (parsed.ec != std::errc() || parsed.ptr != line.data() + line.size()) continue;
    // Somebody may have set the clock back: it counts for an hour from now at most.
    time = std::min(time, now);
    if (time > now - kCapHour) times.push_back(time);
  }
  return times;
}

// Reads, changes and writes the file while others wait.
Result<void> change_made(const std::string& path, int64_t now,
                         const std::function<Result<void>(MadeTimes&)>& change) {
  auto file = open_private_file(path, O_RDWR | O_CREAT, Guard::kOurs);
  if (!file) return fail(std::move(file.error()));
  while (::flock(file->get(), LOCK_EX) != 0) {
    if (errno != EINTR) return fail(os_error(path, "could not be locked"));
  }
  std::string text(kMostMadeBytes, '\0');
  const ssize_t got = ::pread(file->get(), text.data(), text.size(), 0);
  if (got < 0) return fail(os_error(path, "could not be read"));
  text.resize(static_cast<size_t>(got));
  MadeTimes times = parse_made(text, now);
  if (auto ok = change(times); !ok) return ok;
  text.clear();
  for (const int64_t time : times) text += std::to_string(time) + "\n";
  // Written before it is cut: a crash between leaves what counts.
  if (::lseek(file->get(), 0, SEEK_SET) != 0 || !write_all(file->get(), text) ||
      ::ftruncate(file->get(), static_cast<off_t>(text.size())) != 0 || ::fsync(file->get()) != 0) {
    return fail(os_error(path, "could not be written"));
  }
  (void)sync_directory(directory_of(path));
  return {};
}

}  // namespace

Result<void> CreationCap::take(WallTime now) const {
  const int64_t at = now.time_since_epoch().count();
  return change_made(path_, at, [this, at](MadeTimes& times) -> Result<void> {
    if (times.size() >= per_hour_) {
      return fail(Code::kThrottled, std::to_string(times.size()) +
                                        " signing keys were created within the last hour, and no "
                                        "more are allowed (keys_per_hour)");
    }
    times.push_back(at);
    return {};
  });
}

Result<void> CreationCap::give_back(WallTime taken, WallTime now) const {
  const int64_t at = taken.time_since_epoch().count();
  return change_made(path_, now.time_since_epoch().count(), [at](MadeTimes& times) -> Result<void> {
    const auto place = std::find(times.begin(), times.end(), at);
    if (place != times.end()) times.erase(place);
    return {};
  });
}

}  // namespace keyfs
