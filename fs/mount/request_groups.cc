#include "fs/mount/request_groups.h"

#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <string_view>

#include "base/file.h"
#include "fs/mount/handlers.h"

namespace keyfs {
namespace {

constexpr uint64_t kIoWorker = 0x10;  // PF_IO_WORKER, include/linux/sched.h
constexpr int kFlagsField = 7;        // of /proc/<tid>/stat, counted behind the name (proc(5))

// Takes the next number from the front of a line.
std::optional<uint64_t> take_number(std::string_view& line) {
  while (!line.empty() && (line.front() == ' ' || line.front() == '\t')) line.remove_prefix(1);
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), number);
  if (error != std::errc()) return std::nullopt;
  line.remove_prefix(static_cast<size_t>(end - line.data()));
  return number;
}

std::optional<std::string_view> line_of(std::string_view text, std::string_view begin) {
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    if (line.starts_with(begin)) return line.substr(begin.size());
    text.remove_prefix(std::min(text.size(), line.size() + 1));
  }
  return std::nullopt;
}

// "Uid:\treal\teffective\tsaved\tfile system"
bool is_of(std::string_view status, std::string_view field, uint32_t wanted) {
  auto line = line_of(status, field);
  std::optional<uint64_t> number;
  for (int i = 0; line && i < 4; ++i) {
    number = take_number(*line);
    if (!number) return false;
  }
  return number == uint64_t{wanted};
}

bool is_io_worker(std::string_view stat) {
  // The name may contain anything, even ")".
  const size_t name_end = stat.rfind(')');
  if (name_end == stat.npos) return true;
  std::string_view rest = stat.substr(name_end + 1);
  for (int field = 1; field < kFlagsField; ++field) {
    rest.remove_prefix(std::min(rest.size(), rest.find_first_not_of(' ')));
    rest.remove_prefix(std::min(rest.size(), rest.find(' ')));
  }
  const auto flags = take_number(rest);
  return !flags || (*flags & kIoWorker) != 0;
}

}  // namespace

std::optional<std::vector<gid_t>> groups_of_thread(const std::string& proc, pid_t thread,
                                                   const Caller& caller) {
  if (thread <= 0) return std::nullopt;
  const std::string folder = proc + "/" + std::to_string(thread);
  const auto stat = read_to_end(folder + "/stat");
  if (!stat || is_io_worker(*stat)) return std::nullopt;
  const auto status = read_to_end(folder + "/status");
  if (!status || !is_of(*status, "Uid:", caller.uid) || !is_of(*status, "Gid:", caller.gid)) {
    return std::nullopt;
  }
  auto line = line_of(*status, "Groups:");
  if (!line) return std::nullopt;
  std::vector<gid_t> groups;
  while (const auto group = take_number(*line)) groups.push_back(static_cast<gid_t>(*group));
  return groups;
}

std::optional<std::span<const gid_t>> RequestGroups::get() {
  if (!asked_) {
    asked_ = true;
    groups_ = groups_of_thread(FuseHandlers::ops(req_).options().proc, fuse_req_ctx(req_)->pid,
                               FuseHandlers::caller(req_));
  }
  if (!groups_) return std::nullopt;
  return std::span<const gid_t>(*groups_);
}

}  // namespace keyfs
