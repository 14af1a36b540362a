// keyfs status.
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <ostream>
#include <sstream>

#include "fs/cli/commands.h"
#include "fs/daemon/configuration.h"
#include "fs/mount/mountpoint.h"

namespace keyfs {
namespace {

using Json = nlohmann::ordered_json;

std::vector<std::string> keyfs_mounts() {
  std::ifstream in("/proc/self/mountinfo");
  std::ostringstream text;
  text << in.rdbuf();
  std::vector<std::string> found;
  for (const auto& entry : parse_mountinfo(text.str())) {
    const bool known = std::find(found.begin(), found.end(), entry.mountpoint) != found.end();
    if (entry.type == "fuse.keyfs" && !known) found.push_back(entry.mountpoint);
  }
  return found;
}

Result<Json> read_status(const std::string& mountpoint) {
  const std::string path = mountpoint + "/.keyfs/status";
  const std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(path.c_str(), "re"), std::fclose);
  if (file == nullptr) {
    switch (errno) {
      case ENOTCONN:
        return fail(Code::kUnavailable,
                    mountpoint +
                        ": the daemon is gone and left its mount point; `keyfs mount` there "
                        "again, or fusermount3 -u it");
      case EACCES:
      case EPERM:
        return fail(Code::kDenied,
                    mountpoint + ": may not read its status: [admin] does not name you in read");
      case ENOENT:
        return fail(
            Code::kUnavailable,
            mountpoint + ": no keyfs is mounted there, or [admin] does not name you in read");
      default:
        return fail(Code::kUnavailable, path + ": " + std::strerror(errno));
    }
  }
  std::string text;
  char piece[4096];
  while (const size_t count = std::fread(piece, 1, sizeof piece, file.get()))
    text.append(piece, count);
  if (std::ferror(file.get()) != 0)
    return fail(Code::kUnavailable, "could not read " + path + ": " + std::strerror(errno));
  Json status = Json::parse(text, nullptr, false);
  if (!status.is_object()) return fail(Code::kUnavailable, path + " holds no JSON");
  return status;
}

std::string scalar(const Json& value) {
  if (value.is_string()) return Output::printable(value.get_ref<const std::string&>());
  if (value.is_null()) return "-";
  if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// Whatever the status holds, one value a line, indented by what it belongs to.
void print(const Json& value, std::ostream& out, size_t depth) {
  const std::string indent(depth * 2, ' ');
  size_t width = 0;
  for (const auto& [key, item] : value.items()) {
    if (!item.is_structured()) width = std::max(width, key.size());
  }
  for (const auto& [key, item] : value.items()) {
    if (!item.is_structured()) {
      out << indent << (value.is_array() ? "" : key + std::string(width - key.size() + 2, ' '))
          << scalar(item) << '\n';
    } else if (item.is_object() && value.is_array()) {
      // An item of a list begins with its name.
      const auto name = item.find("name");
      out << indent << (name == item.end() ? "-" : scalar(*name)) << '\n';
      Json rest = item;
      rest.erase("name");
      print(rest, out, depth + 1);
    } else if (!item.empty()) {
      out << indent << key << '\n';
      print(item, out, depth + 1);
    }
  }
}

// A region that is left alone, keys that lack one, a log or a copy of records that can't be
// written.
bool is_degraded(const Json& status) {
  const auto at = [&](const char* part, const char* field) {
    const auto found = status.find(part);
    return found != status.end() && found->is_object() ? found->value(field, Json()) : Json();
  };
  const auto regions = status.find("regions");
  if (regions != status.end() && regions->is_array()) {
    for (const auto& region : *regions) {
      if (region.is_object() && region.value("state", Json("closed")) != "closed") return true;
    }
  }
  const Json waiting = at("healer", "waiting");
  return (waiting.is_number() && waiting != 0) || !at("audit", "last_error").is_null() ||
         !at("replica", "last_error").is_null();
}

}  // namespace

ExitCode run_status(const StatusArguments& arguments, Output& output) {
  std::vector<std::string> mounts;
  if (arguments.mountpoint.empty()) {
    mounts = keyfs_mounts();
    if (mounts.empty()) {
      output.error("no keyfs is mounted here");
      return ExitCode::kFailed;
    }
  } else {
    mounts.push_back(absolute_path(arguments.mountpoint));
  }
  Tally tally;
  Json all = Json::array();
  for (const auto& mountpoint : mounts) {
    const auto status = read_status(mountpoint);
    if (!status) {
      output.error(status.error().message);
      tally.failed();
      continue;
    }
    if (output.json()) {
      all.push_back({{"mountpoint", mountpoint}, {"status", *status}});
    } else {
      output.out() << mountpoint << '\n';
      print(*status, output.out(), 1);
    }
    is_degraded(*status) ? tally.partial() : tally.done();
  }
  if (output.json()) output.write({{"mounts", all}});
  return tally.code();
}

}  // namespace keyfs
