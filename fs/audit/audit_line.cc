#include "fs/audit/audit_line.h"

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
// document in memory takes some fifty allocations for it. Names are passed as they appear in the
// line, with the comma before and the colon after them.
class JsonLine {
 public:
  explicit JsonLine(std::string& out) : out_(out) {}

  void time(std::string_view name, WallTime value) {
    (out_ += name) += '"';
    append_rfc3339(out_, value, true);
    out_ += '"';
  }
  void text(std::string_view name, std::string_view value) {
    out_ += name;
    append(value);
  }
  void text_or_null(std::string_view name, std::string_view value) {
    out_ += name;
    if (value.empty()) {
      out_ += "null";
    } else {
      append(value);
    }
  }
  // A constant word, which needs no escaping; empty means none.
  void word(std::string_view name, std::string_view value) {
    out_ += name;
    if (value.empty()) {
      out_ += "null";
    } else {
      ((out_ += '"') += value) += '"';
    }
  }
  void number(std::string_view name, int64_t value) {
    out_ += name;
    std::array<char, 24> digits;
    const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
    out_.append(digits.data(), end);
  }
  // 0 means none.
  void number_or_null(std::string_view name, int64_t value) {
    if (value != 0) {
      number(name, value);
    } else {
      (out_ += name) += "null";
    }
  }
  void boolean(std::string_view name, bool value) { (out_ += name) += value ? "true" : "false"; }
  void fields(std::string_view made_before) { out_ += made_before; }
  void end() { out_ += "}\n"; }

 private:
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
};

void append_process(JsonLine& line, const ProcessInfo& process) {
  line.number(R"(,"pid":)", process.pid);
  line.text_or_null(R"(,"exe":)", process.executable);
  line.text_or_null(R"(,"cgroup":)", process.cgroup);
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
    case ENOTCONN:
      return "ENOTCONN";
    case ENOMEM:
      return "ENOMEM";
    case EPERM:
      return "EPERM";
    case EROFS:
      return "EROFS";
    case ESTALE:
      return "ESTALE";
    case ETIMEDOUT:
      return "ETIMEDOUT";
    default:
      return std::to_string(error);
  }
}

std::string audit_fields(const ProcessInfo& process) {
  std::string fields;
  JsonLine line(fields);
  append_process(line, process);
  return fields;
}

namespace {

// With what stands between the event and the id.
std::string_view event_field(AuditEvent::Kind kind) {
  switch (kind) {
    case AuditEvent::Kind::kOpen:
      return R"(,"event":"open","id":)";
    case AuditEvent::Kind::kSign:
      return R"(,"event":"sign","id":)";
    case AuditEvent::Kind::kCreating:
      return R"(,"event":"creating","id":)";
    case AuditEvent::Kind::kCreated:
    case AuditEvent::Kind::kPerhapsCreated:
      return R"(,"event":"created","id":)";
  }
  return R"(,"event":"open","id":)";
}

}  // namespace

void append_audit_line(std::string& out, const AuditEvent& event) {
  const bool decided = event.section != nullptr && !event.section->hidden;
  const bool sourced = event.source != KeySource::kNone;
  const bool signing = event.kind == AuditEvent::Kind::kSign;
  static const SigningFacts nothing{};
  const SigningFacts& facts = event.signing != nullptr ? *event.signing : nothing;
  JsonLine line(out);
  line.time(R"({"time":)", event.time);
  if (signing) {
    line.text_or_null(event_field(event.kind), facts.id);
    line.text_or_null(R"(,"fingerprint":)", facts.fingerprint);
    line.text_or_null(R"(,"pinned":)", facts.pinned);
    line.word(R"(,"algorithm":)", facts.algorithm);
    line.text_or_null(R"(,"digest":)", facts.digest);
  } else {
    line.text_or_null(event_field(event.kind), event.key ? event.key->id() : std::string_view());
    line.number_or_null(R"(,"version":)", event.version);
    line.number_or_null(R"(,"asked":)", event.asked);
    line.word(R"(,"view":)", event.view);
  }
  if (event.anybody) {
    line.fields(R"(,"uid":null)");
  } else {
    line.number(R"(,"uid":)", event.uid);
  }
  line.number(R"(,"gid":)", event.gid);
  if (event.process == nullptr) {
    append_process(line, ProcessInfo());
  } else if (event.process->described.empty()) {
    append_process(line, *event.process);
  } else {
    line.fields(event.process->described);
  }
  line.word(R"(,"verdict":)", event.is_asked() ? to_string(event.verdict) : std::string_view());
  line.text_or_null(R"(,"section":)", decided ? event.section->title : std::string_view());
  line.number_or_null(R"(,"line":)", decided ? event.section->line : 0);
  if (signing) {
    line.text_or_null(R"(,"region":)", facts.region);
    line.text_or_null(R"(,"request":)", facts.request_id);
  } else {
    line.word(R"(,"source":)", sourced ? to_string(event.source) : std::string_view());
    line.text_or_null(R"(,"region":)",
                      event.region != nullptr ? *event.region : std::string_view());
    if (event.kind == AuditEvent::Kind::kPerhapsCreated) {
      line.fields(R"(,"created":null)");
    } else {
      line.boolean(R"(,"created":)", event.created);
    }
  }
  line.number(R"(,"us":)",
              std::chrono::duration_cast<std::chrono::microseconds>(event.took).count());
  line.text_or_null(R"(,"errno":)", event.error != 0 ? errno_name(event.error) : std::string());
  line.text_or_null(R"(,"reason":)", event.reason != nullptr ? *event.reason : std::string_view());
  line.number(R"(,"count":)", static_cast<int64_t>(event.count));
  line.end();
}

void append_lost_line(std::string& out, WallTime time, uint64_t lines, std::string_view reason) {
  JsonLine line(out);
  line.time(R"({"time":)", time);
  line.number(R"(,"event":"lost","lines":)", static_cast<int64_t>(lines));
  line.text(R"(,"reason":)", reason);
  line.end();
}

}  // namespace keyfs
