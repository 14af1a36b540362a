#include "fs/audit/process_info.h"

#include <unistd.h>

#include <charconv>
#include <mutex>
#include <string_view>
#include <utility>

#include "base/file.h"

namespace keyfs {
namespace {

// The line with that prefix, without the prefix and the newline.
std::string_view line_of(std::string_view text, std::string_view begin) {
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    if (line.starts_with(begin)) return line.substr(begin.size());
    text.remove_prefix(std::min(text.size(), line.size() + 1));
  }
  return {};
}

std::string cgroup_of(std::string_view text) {
  // "0::/path" is the unified hierarchy; before it, each controller had its own, of which the one
  // that systemd names processes by is the most telling.
  std::string_view path = line_of(text, "0::");
  if (path.empty() || path == "/") {
    const size_t named = text.find(":name=systemd:");
    if (named != text.npos) {
      const std::string_view rest = text.substr(named + std::string_view(":name=systemd:").size());
      path = rest.substr(0, rest.find('\n'));
    }
  }
  return std::string(path);
}

}  // namespace

ProcessCache::ProcessCache(Describe describe, std::string proc)
    : describe_(std::move(describe)), proc_(std::move(proc)) {}

std::shared_ptr<const ProcessInfo> ProcessCache::get(pid_t thread, TimePoint now) {
  Slot& slot = slots_[static_cast<uint32_t>(thread) % slots_.size()];
  {
    std::lock_guard lock(slot.spin);
    if (slot.info != nullptr && slot.thread == thread && now < slot.until) return slot.info;
  }
  auto info = read(thread);
  auto before = info;  // the old value is released outside the lock
  std::lock_guard lock(slot.spin);
  slot.thread = thread;
  slot.until = now + kReuse;
  std::swap(slot.info, before);
  return info;
}

std::shared_ptr<const ProcessInfo> ProcessCache::read(pid_t thread) const {
  auto info = std::make_shared<ProcessInfo>();
  info->pid = thread;
  info->serial = serial_.fetch_add(1, std::memory_order_relaxed) + 1;
  if (thread <= 0) return info;  // a caller from another PID namespace has no number here
  const std::string base = proc_ + "/" + std::to_string(thread);
  std::string target(4096, '\0');
  const ssize_t size = ::readlink((base + "/exe").c_str(), target.data(), target.size());
  if (size > 0) info->executable = target.substr(0, static_cast<size_t>(size));
  info->cgroup = cgroup_of(read_to_end(base + "/cgroup").value_or(""));
  const std::string status = read_to_end(base + "/status").value_or("");
  const std::string_view tgid = line_of(status, "Tgid:\t");
  pid_t pid = 0;
  if (std::from_chars(tgid.data(), tgid.data() + tgid.size(), pid).ec == std::errc() && pid > 0) {
    info->pid = pid;
  }
  if (describe_) info->described = describe_(*info);
  return info;
}

}  // namespace keyfs
