#include "fs/daemon/instance_file.h"

#include <cstddef>
#include <optional>

#include "base/file.h"
#include "store/board_marks.h"

namespace keyfs {
namespace {

constexpr size_t kMaxFile = 128;

HostIdentity read(const std::string& path) {
  const auto text = read_to_end(path, kMaxFile);
  return text ? parse_host_identity(*text) : HostIdentity();
}

}  // namespace

Result<HostIdentity> take_identity(const std::string& path, Random& random, Log& log) {
  HostIdentity identity = read(path);
  if (!identity.instance.empty()) return identity;
  auto fresh = new_board_mark(random);
  if (!fresh) return fail(fresh.error());
  identity = HostIdentity{std::move(*fresh), false};
  // One that is there by now is damaged, or of a daemon that starts on this state_dir as well.
  const bool damaged = read_to_end(path, kMaxFile).has_value() && read(path).instance.empty();
  const auto written = write_whole_file(path, to_text(identity), damaged);
  HostIdentity there = read(path);
  if (!there.instance.empty()) return there;
  log.warn(
      "which instance this daemon is cannot be kept in state_dir: after the next start it is "
      "another "
      "host for the others, and rotations do not hear from this one for a week",
      {{"reason", written ? path + ": it cannot be read" : written.error().message}});
  return identity;
}

Result<void> keep_identity(const std::string& path, const HostIdentity& identity) {
  return write_whole_file(path, to_text(identity), true);
}

}  // namespace keyfs
