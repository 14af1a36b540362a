#include "fs/audit_line.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <nlohmann/json.hpp>
#include <string>

namespace keyfs {
namespace {

// An object of one line, appended field by field: there is a line for each open(2), and a JSON
// document in memory takes some fifty allocations for it.
class JsonLine {
 public:
  explicit JsonLine(std::string& out) : out_(out) { out_ += '{'; }

  void text(std::string_view name, std::string_view value) {
    start(name);
    append(value);
  }
  void text_or_null(std::string_view name, std::string_view value) {
    start(name);
    if (value.empty()) {
      out_ += "null";
    } else {
      append(value);
    }
  }
  void number(std::string_view name, int64_t value) {
    start(name);
    std::array<char, 24> digits;
    const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
    out_.append(digits.data(), end);
  }
  // 0 stands for none.
  void number_or_null(std::string_view name, int64_t value) {
    if (value != 0) {
      number(name, value);
    } else {
      start(name);
      out_ += "null";
    }
  }
  void boolean(std::string_view name, bool value) {
    start(name);
    out_ += value ? "true" : "false";
  }
  void end() { out_ += "}\n"; }

 private:
  void start(std::string_view name) {
    if (!first_) out_ += ',';
    first_ = false;
    ((out_ += '"') += name) += "\":";
  }
  void append(std::string_view text) {
    const auto plain = [](char c) { return c >= ' ' && c <= '~' && c != '"' && c != '\\'; };
    if (std::all_of(text.begin(), text.end(), plain)) {
      ((out_ += '"') += text) += '"';
      return;
    }
    // Does not throw: invalid UTF-8 is replaced.
    using nlohmann::json;
    out_ += json(std::string(text)).dump(-1, ' ', false, json::error_handler_t::replace);
  }

  std::string& out_;
  bool first_ = true;
};

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
    case ENOTCONN:
      return "ENOTCONN";
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
  const ProcessInfo* process = event.process.get();
  const bool decided = event.section != nullptr && !event.section->hidden;
  const bool sourced = event.source != KeySource::kNone;
  JsonLine line(out);
  line.text("time", to_rfc3339(event.time, true));
  line.text("event", "open");
  line.text("id", event.key ? event.key->id() : std::string_view());
  line.number_or_null("version", event.version);
  line.number("uid", event.uid);
  line.number("gid", event.gid);
  line.number("pid", process != nullptr ? process->pid : 0);
  line.text_or_null("exe", process != nullptr ? process->executable : std::string_view());
  line.text_or_null("cgroup", process != nullptr ? process->cgroup : std::string_view());
  line.text("verdict", to_string(event.verdict));
  line.text_or_null("section", decided ? event.section->title : std::string_view());
  line.number_or_null("line", decided ? event.section->line : 0);
  line.text_or_null("source", sourced ? to_string(event.source) : std::string_view());
  line.text_or_null("region", event.region != nullptr ? *event.region : std::string_view());
  line.boolean("created", event.created);
  line.number("us", std::chrono::duration_cast<std::chrono::microseconds>(event.took).count());
  line.text_or_null("errno", event.error != 0 ? errno_name(event.error) : std::string());
  line.text_or_null("reason", event.reason != nullptr ? *event.reason : std::string_view());
  line.end();
}

void append_lost_line(std::string& out, WallTime time, uint64_t lines, std::string_view reason) {
  JsonLine line(out);
  line.text("time", to_rfc3339(time, true));
  line.text("event", "lost");
  line.number("lines", static_cast<int64_t>(lines));
  line.text("reason", reason);
  line.end();
}

}  // namespace keyfs
