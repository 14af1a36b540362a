#include "fs/audit_line.h"

#include <cerrno>
#include <chrono>
#include <nlohmann/json.hpp>

namespace keyfs {
namespace {

using nlohmann::ordered_json;

void append(std::string& out, const ordered_json& line) {
  // Neither dump() nor what comes before throws: invalid UTF-8 is replaced.
  out += line.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
  out += '\n';
}

ordered_json text_or_null(std::string_view text) {
  if (text.empty()) return nullptr;
  return std::string(text);
}

}  // namespace

std::string errno_name(int error) {
  switch (error) {
    case ENOENT:
      return "ENOENT";
    case EACCES:
      return "EACCES";
    case EAGAIN:
      return "EAGAIN";
    case EBADMSG:
      return "EBADMSG";
    case EINTR:
      return "EINTR";
    case EIO:
      return "EIO";
    case EKEYREVOKED:
      return "EKEYREVOKED";
    case EINVAL:
      return "EINVAL";
    case ENAMETOOLONG:
      return "ENAMETOOLONG";
    case ENOMEM:
      return "ENOMEM";
    case EPERM:
      return "EPERM";
    case EROFS:
      return "EROFS";
    case ETIMEDOUT:
      return "ETIMEDOUT";
    default:
      return std::to_string(error);
  }
}

void append_audit_line(std::string& out, const AuditEvent& event) {
  ordered_json line;
  line["time"] = to_rfc3339(event.time, true);
  line["event"] = "open";
  line["id"] = event.key ? std::string(event.key->id()) : std::string();
  line["version"] = event.version != 0 ? ordered_json(event.version) : ordered_json(nullptr);
  line["uid"] = event.uid;
  line["gid"] = event.gid;
  line["pid"] = event.process != nullptr ? event.process->pid : 0;
  line["exe"] = text_or_null(event.process != nullptr ? event.process->executable : "");
  line["cgroup"] = text_or_null(event.process != nullptr ? event.process->cgroup : "");
  line["verdict"] = std::string(to_string(event.verdict));
  const bool decided = event.section != nullptr && !event.section->hidden;
  line["section"] = decided ? ordered_json(event.section->title) : ordered_json(nullptr);
  line["line"] = decided ? ordered_json(event.section->line) : ordered_json(nullptr);
  const bool sourced = event.source != KeySource::kNone;
  line["source"] =
      sourced ? ordered_json(std::string(to_string(event.source))) : ordered_json(nullptr);
  line["region"] = event.region != nullptr ? ordered_json(*event.region) : ordered_json(nullptr);
  line["created"] = event.created;
  line["us"] = std::chrono::duration_cast<std::chrono::microseconds>(event.took).count();
  line["errno"] = event.error != 0 ? ordered_json(errno_name(event.error)) : ordered_json(nullptr);
  line["reason"] = text_or_null(event.reason != nullptr ? *event.reason : "");
  append(out, line);
}

void append_lost_line(std::string& out, WallTime time, uint64_t lines, std::string_view reason) {
  ordered_json line;
  line["time"] = to_rfc3339(time, true);
  line["event"] = "lost";
  line["lines"] = lines;
  line["reason"] = std::string(reason);
  append(out, line);
}

}  // namespace keyfs
