// keyfs status.
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <ostream>

#include "base/strict_json.h"
#include "fs/cli/check_board.h"
#include "fs/cli/commands.h"
#include "fs/daemon/configuration.h"
#include "fs/mount/apart.h"
#include "fs/mount/mountinfo.h"
#include "fs/mount/mountpoint.h"

namespace keyfs {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMaxStatus = size_t{4} << 20;

// One visible mount point for each keyfs.
std::vector<std::string> keyfs_mounts() {
  std::vector<std::string> found;
  std::vector<dev_t> known;
  for (const auto& entry : read_mounts().value_or(std::vector<MountEntry>())) {
    if (entry.type != kOurFileSystem || entry.root != "/") continue;
    if (std::find(known.begin(), known.end(), entry.device) != known.end()) continue;
    const auto place = mount_at(entry.mountpoint);
    if (!place || place->mount.id != entry.id) continue;  // something is mounted over it
    known.push_back(entry.device);
    found.push_back(entry.mountpoint);
  }
  return found;
}

// The status cannot be read through a bind-mounted key, only at the mount point of its keyfs.
std::optional<Error> is_bound_file(const std::string& path) {
  const auto mounts = read_mounts();
  const auto place = mount_at(path);
  const MountEntry* entry =
      mounts && place && place->is_root ? find_mount(*mounts, place->mount.id) : nullptr;
  if (entry == nullptr || entry->type != kOurFileSystem || entry->root == "/") return std::nullopt;
  std::string where;
  for (const auto& other : *mounts) {
    if (other.device == entry->device && other.root == "/") where = other.mountpoint;
  }
  return Error(Code::kUnavailable,
               path + ": is " + entry->root.substr(1) + " of a keyfs, bind-mounted here; " +
                   (where.empty() ? "its mount point is not visible from here"
                                  : "ask for the status of the mount point: " + where));
}

// In a separate process: errno in decimal and a newline, or "0\n" and the text.
std::string read_apart(const std::string& path) {
  const std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(path.c_str(), "re"), std::fclose);
  if (file == nullptr) return std::to_string(errno) + "\n";
  std::string text = "0\n";
  std::array<char, 4096> piece{};
  while (const size_t count = std::fread(piece.data(), 1, piece.size(), file.get())) {
    text.append(piece.data(), count);
    if (text.size() > kMaxStatus + piece.size()) break;  // too long, which the reader reports
  }
  return std::ferror(file.get()) != 0 ? std::to_string(errno) + "\n" : text;
}

// A file instead of the root of a keyfs.
Error no_mount_point(const std::string& path) {
  const auto mounts = read_mounts();
  const auto place = mount_at(path);
  const MountEntry* entry = mounts && place ? find_mount(*mounts, place->mount.id) : nullptr;
  std::string message = path + ": is not the mount point of a keyfs";
  if (entry != nullptr && entry->type == kOurFileSystem) {
    message += ", but a file in one: ask for the status of " + entry->mountpoint;
  }
  return Error(Code::kUnavailable, message);
}

Error cannot_read(const std::string& mountpoint, int why) {
  switch (why) {
    case ENOTDIR:
      return no_mount_point(mountpoint);
    case ENOTCONN:
      return Error(Code::kUnavailable,
                   mountpoint +
                       ": the daemon is gone but still mounted; run `keyfs mount` there again, "
                       "or unmount it with fusermount3 -u");
    case EACCES:
    case EPERM:
      return Error(Code::kDenied,
                   mountpoint + ": you may not read its status: [admin] does not name you in read");
    case ENOENT:
      return Error(
          Code::kUnavailable,
          mountpoint + ": no keyfs is mounted there, or [admin] does not name you in read");
    default:
      return Error(Code::kUnavailable, mountpoint + "/.keyfs/status: " + std::strerror(why));
  }
}

Result<Json> read_status(const std::string& mountpoint) {
  if (auto bound = is_bound_file(mountpoint)) return fail(std::move(*bound));
  const std::string path = mountpoint + "/.keyfs/status";
  const auto answer = work_apart([&path] { return read_apart(path); }, kMountPatience);
  if (!answer) {
    if (answer.error().code != Code::kTimeout) return fail(answer.error().within(mountpoint));
    return fail(Code::kTimeout, mountpoint + ": does not answer; the daemon is stopped or hangs");
  }
  const size_t line = answer->find('\n');
  const int why = std::atoi(answer->c_str());
  if (line == std::string::npos || why != 0) return fail(cannot_read(mountpoint, why));
  // Anybody who may mount can name the type keyfs.
  const std::string_view text = std::string_view(*answer).substr(line + 1);
  if (const auto within_bounds = parse_strict_json(text, kMaxStatus); !within_bounds) {
    return fail(Code::kUnavailable, path + " " + within_bounds.error().message);
  }
  Json status = Json::parse(text, nullptr, false);
  if (!status.is_object()) return fail(Code::kUnavailable, path + " is not a JSON object");
  return status;
}

std::string scalar(const Json& value) {
  if (value.is_string()) return Output::printable(value.get_ref<const std::string&>());
  if (value.is_null()) return "-";
  if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// Prints the status generically: one value per line, indented.
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
      const char* named = item.contains("name") ? "name" : "id";
      const auto name = item.find(named);
      out << indent << (name == item.end() ? "-" : scalar(*name)) << '\n';
      Json rest = item;
      rest.erase(named);
      print(rest, out, depth + 1);
    } else if (!item.empty()) {
      out << indent << key << '\n';
      print(item, out, depth + 1);
    }
  }
}

Json field(const Json& status, const char* part, const char* name) {
  const auto found = status.find(part);
  return found != status.end() && found->is_object() ? found->value(name, Json()) : Json();
}

// Keys that were to be rotated and could not be: the first line that is seen. Empty: none.
std::string overdue_line(const Json& status) {
  const Json overdue = field(status, "rotation", "overdue");
  if (!overdue.is_number() || overdue == 0) return "";
  std::string line =
      "OVERDUE: " + scalar(overdue) + (overdue == 1 ? " key" : " keys") +
      " could not be rotated yet; the old versions stay current, and keyfs tries again";
  const Json keys = field(status, "rotation", "overdue_keys");
  std::string names;
  for (const Json& key : keys.is_array() ? keys : Json::array()) {
    names += (names.empty() ? ": " : ", ") + scalar(key);
  }
  line += names;
  const Json reason = field(status, "rotation", "overdue_reason");
  const Json holder = field(status, "rotation", "holder");
  if (reason.is_string()) {
    line += " (" + scalar(reason) + ")";
  } else if (names.empty() && holder.is_string()) {
    line += "; host " + scalar(holder) + " knows which and why";
  }
  return line;
}

// Why rotations are not complete on this host.
Json troubles(const Json& status) {
  Json all = field(status, "rotation", "troubles");
  return all.is_array() ? all : Json::array();
}

// Documents of rotation that are damaged. Empty: none.
std::string damage_line(const Json& status) {
  const Json damaged = field(status, "rotation", "board_damaged");
  std::string names;
  for (const Json& name : damaged.is_array() ? damaged : Json::array()) {
    names += (names.empty() ? "" : ", ") + scalar(name);
  }
  if (names.empty()) return "";
  return damage_text(names);
}

// A region with an open circuit, keys that lack a region, a log or replica that can't be written,
// a memory that cannot permit creations, a signing key that cannot sign though nobody has disabled it, a key that should have been rotated by now, a board that
// does not answer or is damaged, or programs of which rotations do not know.
bool is_degraded(const Json& status) {
  const auto at = [&](const char* part, const char* name) { return field(status, part, name); };
  const auto regions = status.find("regions");
  if (regions != status.end() && regions->is_array()) {
    for (const auto& region : *regions) {
      if (region.is_object() && region.value("state", Json("closed")) != "closed") return true;
    }
  }
  const Json keys = at("signing", "keys");
  for (const Json& key : keys.is_array() ? keys : Json::array()) {
    if (key.is_object() && key.value("state", Json()) == "unusable") return true;
  }
  const Json waiting = at("healer", "waiting");
  const Json overdue = at("rotation", "overdue");
  const Json damaged = at("rotation", "board_damaged");
  if (damaged.is_array() && !damaged.empty()) return true;
  return (waiting.is_number() && waiting != 0) || (overdue.is_number() && overdue != 0) ||
         !troubles(status).empty() || at("rotation", "board") == "silent" ||
         !at("audit", "last_error").is_null() || !at("replica", "last_error").is_null() ||
         !at("signing", "trouble").is_null() || !at("signing", "deletion_trouble").is_null() ||
         !at("state_dir", "trouble").is_null() || !at("creations", "refused").is_null();
}

}  // namespace

ExitCode run_status(const StatusArguments& arguments, Output& output) {
  std::vector<std::string> mounts;
  if (arguments.mountpoint.empty()) {
    mounts = keyfs_mounts();
    if (mounts.empty()) {
      output.error("no keyfs is mounted here");
      if (output.json()) output.write({{"mounts", Json::array()}});
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
      if (const std::string line = overdue_line(*status); !line.empty()) {
        output.out() << "  " << line << '\n';
      }
      for (const Json& trouble : troubles(*status)) {
        output.out() << "  ROTATION: " << scalar(trouble) << '\n';
      }
      for (const char* trouble : {"trouble", "deletion_trouble"}) {
        if (const Json why = field(*status, "signing", trouble); why.is_string()) {
          output.out() << "  SIGNING: " << scalar(why) << '\n';
        }
      }
      if (const std::string line = damage_line(*status); !line.empty()) {
        output.out() << "  " << line << '\n';
      }
      print(*status, output.out(), 1);
    }
    is_degraded(*status) ? tally.partial() : tally.done();
  }
  if (output.json()) output.write({{"mounts", all}});
  return tally.code();
}

}  // namespace keyfs
