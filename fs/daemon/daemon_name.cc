#include "fs/daemon/daemon_name.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>

#include "base/file.h"
#include "base/siphash.h"
#include "fs/daemon/settings.h"
#include "fs/rotation/documents.h"

namespace keyfs {
namespace {

constexpr size_t kMaxLabel = 24;
constexpr size_t kMaxMachine = 64;
constexpr size_t kMaxPath = 4096;

// Only what a name on the board may have; empty if nothing is left.
std::string made_fit(std::string_view text) {
  std::string fit;
  for (const char c : text) {
    const bool may_follow = is_host_name(std::string("a") + c);
    if (fit.empty() && !is_host_name(std::string(1, c))) continue;
    fit += may_follow ? c : '-';
  }
  return fit;
}

// Six hexadecimal digits. The hash has a well-known key: the same after each start.
std::string short_hash(std::string_view text) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  uint64_t hash = SipHash()(text);
  std::string digits;
  for (int i = 0; i < 6; ++i, hash >>= 4) digits += kDigits[hash & 15];
  return digits;
}

bool says_nothing(std::string_view host) {
  return host.empty() || host == "unknown" || host == "localhost" || host.starts_with("localhost.");
}

// What people know it by: "payments" of /var/lib/keyfs/payments and of /srv/payments/state.
std::string label_of(const std::string& text) {
  std::filesystem::path path = std::filesystem::path(text).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();
  if (path.filename() == "state") path = path.parent_path();
  return made_fit(path.filename().string()).substr(0, kMaxLabel);
}

}  // namespace

std::string path_mark(const std::string& path, std::string_view machine) {
  std::string label = label_of(path);
  if (!label.empty()) label += "-";
  return label + short_hash(std::string(machine) + " " + path);
}

std::string daemon_name(std::string_view host, const std::string& state_dir,
                        std::string_view machine, const std::string& other_mount) {
  std::string mark;
  if (!other_mount.empty()) {
    mark = "~" + path_mark(other_mount, std::string(machine) + " " + state_dir);
  } else if (state_dir != Settings().state_dir) {
    mark = "~" + path_mark(state_dir, machine);
  } else if (says_nothing(host) && !machine.empty()) {
    mark = "~" + short_hash(machine);
  }
  std::string name = made_fit(host);
  if (name.empty()) name = "host";
  // One that is cut is told from others that begin alike.
  if (name.size() + mark.size() > kMaxHostName) {
    if (mark.empty()) mark = "~" + short_hash(host);
    name.resize(kMaxHostName - mark.size());
  }
  return name + mark;
}

bool is_first_mount(const std::string& state_dir, const std::string& mountpoint) {
  const std::string path = state_dir + "/first-mount";
  auto first = read_to_end(path, kMaxPath);
  if (!first) {
    // Of two that do so at once one wins.
    if (!write_whole_file(path, mountpoint + "\n", false)) return true;
    first = read_to_end(path, kMaxPath);
  }
  return !first || *first == mountpoint + "\n";
}

std::string machine_id(const std::string& path) {
  const auto text = read_to_end(path, kMaxMachine);
  return text ? text->substr(0, text->find('\n')) : "";
}

}  // namespace keyfs
