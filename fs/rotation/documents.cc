#include "fs/rotation/documents.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/strict_json.h"
#include "base/text.h"
#include "fs/rotation/json_fields.h"
#include "store/board.h"

namespace keyfs {
namespace {

using nlohmann::json;

constexpr size_t kRunDigits = 8;
constexpr size_t kMaxLostWhy = 200;

std::string dump(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

Error damaged(const char* what) {
  return Error(Code::kCorrupt, std::string(what) + " on the board is damaged");
}

}  // namespace

bool is_host_name(std::string_view text) {
  return !text.empty() && text.size() <= kMaxHostName && is_alnum(text[0]) &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return is_alnum(c) || std::string_view("._:@+=,~-").find(c) != std::string_view::npos;
         });
}

bool is_printable(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; });
}

std::string short_text(std::string_view text, size_t most) {
  std::string out(text.substr(0, most));
  for (char& c : out) {
    if (c < ' ' || c > '~') c = c == '\n' || c == '\t' ? ' ' : '?';
    if (c == '"') c = '\'';
    if (c == '\\') c = '/';
  }
  if (text.size() > most && most > 3) out.replace(most - 3, 3, "...");
  return out;
}

std::string without_urls(std::string_view text, size_t most) {
  std::string out(text);
  for (size_t at = out.find("://"); at != out.npos; at = out.find("://", at)) {
    size_t begin = at;
    while (begin > 0 && (is_alnum(out[begin - 1]) || out[begin - 1] == '+')) --begin;
    const size_t end = std::min(out.find_first_of(" \t\r\n\"'<>,;)", at), out.size());
    out.replace(begin, end - begin, "(URL)");
    at = begin;
  }
  return short_text(out, most);
}

std::string_view to_string(Ticket::Kind kind) {
  switch (kind) {
    case Ticket::Kind::kRotate:
      return "rotate";
    case Ticket::Kind::kPromote:
      return "promote";
    case Ticket::Kind::kRetry:
      return "retry";
    case Ticket::Kind::kStop:
      return "stop";
  }
  return "";
}

std::string run_of(uint64_t number) {
  std::string digits = std::to_string(number);
  if (digits.size() < kRunDigits) digits.insert(0, kRunDigits - digits.size(), '0');
  return "run-" + digits;
}

bool is_run(std::string_view text) {
  return text.starts_with("run-") && text.size() >= 4 + kRunDigits && text.size() <= 24 &&
         std::all_of(text.begin() + 4, text.end(), is_digit);
}

std::optional<uint64_t> number_of_run(std::string_view run) {
  if (!is_run(run)) return std::nullopt;
  uint64_t number = 0;
  const auto read = std::from_chars(run.data() + 4, run.data() + run.size(), number);
  if (read.ec != std::errc() || number > kMaxCounted) return std::nullopt;
  return number;
}

std::string run_name(const std::string& run) { return kRunsPrefix + run; }
std::string ticket_name(const std::string& token) { return kTicketsPrefix + token; }
std::string host_document_name(const std::string& host) { return kHostsPrefix + host; }

Result<Head> parse_head(std::string_view text) {
  const auto parsed = parse_strict_json(text, kMaxDocumentBytes);
  if (!parsed) return fail(damaged("run/head, the lock of rotation,"));
  JsonFields fields(*parsed);
  Head head;
  fields.number("epoch", head.epoch);
  fields.text("holder", head.holder);
  fields.text("life", head.life);
  fields.number("beat", head.beat);
  if (!fields.good() || head.epoch > kMaxCounted || head.beat > kMaxCounted)
    return fail(damaged("run/head, the lock of rotation,"));
  return head;
}

std::string to_text(const Head& head) {
  return dump(
      {{"epoch", head.epoch}, {"holder", head.holder}, {"life", head.life}, {"beat", head.beat}});
}

Result<RunNow> parse_run_now(std::string_view text) {
  const auto parsed = parse_strict_json(text, kMaxDocumentBytes);
  if (!parsed) return fail(damaged("run/now, which run goes on,"));
  JsonFields fields(*parsed);
  RunNow now;
  fields.number("epoch", now.epoch);
  fields.number("number", now.number);
  fields.text("run", now.run);
  fields.maybe("settle_ms", now.settle_ms);
  const bool counted = now.epoch <= kMaxCounted && now.number <= kMaxCounted;
  if (!fields.good() || !counted || (!now.run.empty() && !is_run(now.run))) {
    return fail(damaged("run/now, which run goes on,"));
  }
  return now;
}

std::string to_text(const RunNow& now) {
  json out = {{"epoch", now.epoch}, {"number", now.number}, {"run", now.run}};
  if (now.settle_ms) out["settle_ms"] = *now.settle_ms;
  return dump(out);
}

Result<Ticket> parse_ticket(std::string_view text) {
  const auto parsed = parse_strict_json(text, kMaxDocumentBytes);
  if (!parsed) return fail(damaged("a ticket"));
  JsonFields fields(*parsed);
  Ticket ticket;
  using Kind = Ticket::Kind;
  fields.text("token", ticket.token);
  fields.choice("do", ticket.kind, {Kind::kRotate, Kind::kPromote, Kind::kRetry, Kind::kStop});
  fields.maybe("id", ticket.id);
  fields.maybe("rotation", ticket.rotation);
  fields.maybe("version", ticket.version);
  fields.maybe("from", ticket.from);
  fields.maybe("run", ticket.run);
  fields.maybe("by", ticket.by);
  fields.maybe("asked", ticket.asked);
  if (const json* overdue = fields.find("overdue")) {
    JsonFields inner(*overdue);
    inner.text("since", ticket.overdue_since);
    inner.text("why", ticket.overdue_why);
    if (!inner.good()) fields.bad();
  }
  const bool of_a_key = ticket.kind == Kind::kRotate || ticket.kind == Kind::kPromote;
  if (!fields.good() || ticket.token.empty() ||
      (of_a_key ? ticket.id.empty() : !is_run(ticket.run)) ||
      (ticket.kind == Kind::kPromote && ticket.version == 0)) {
    return fail(damaged("a ticket"));
  }
  return ticket;
}

std::string to_text(const Ticket& ticket) {
  json out = {{"token", ticket.token},
              {"do", to_string(ticket.kind)},
              {"by", short_text(ticket.by, kMaxHostName)},
              {"asked", ticket.asked}};
  if (!ticket.id.empty()) out["id"] = ticket.id;
  if (!ticket.rotation.empty()) out["rotation"] = ticket.rotation;
  if (ticket.version != 0) out["version"] = ticket.version;
  if (ticket.from) out["from"] = *ticket.from;
  if (!ticket.run.empty()) out["run"] = ticket.run;
  if (!ticket.overdue_since.empty()) {
    out["overdue"] = {{"since", ticket.overdue_since},
                      {"why", short_text(ticket.overdue_why, kMaxOverdueWhy)}};
  }
  return dump(out);
}

Result<HostEntry> parse_host(std::string_view text) {
  const auto parsed = parse_strict_json(text, kMaxDocumentBytes);
  if (!parsed) return fail(damaged("what a host has told of itself"));
  JsonFields fields(*parsed);
  HostEntry host;
  fields.text("host", host.host);
  fields.text("at", host.at);
  if (fields.find("keys") != nullptr) {
    std::vector<std::string> keys;
    fields.maybe("keys", keys);
    host.keys.emplace(keys.begin(), keys.end());
  }
  fields.maybe("instance", host.instance);
  fields.maybe("life", host.life);
  fields.maybe("turn", host.turn);
  fields.maybe("lost_why", host.lost_why);
  if (const json* all = fields.find("lost_all")) host.lost_all = *all == json(true);
  if (const json* lost = fields.find("lost")) {
    if (!lost->is_object()) fields.bad();
    for (const auto& [id, run] : lost->items()) {
      if (!run.is_string()) fields.bad();
      if (run.is_string()) host.lost[id] = run.get<std::string>();
    }
  }
  if (!fields.good() || !is_host_name(host.host)) {
    return fail(damaged("what a host has told of itself"));
  }
  return host;
}

std::string to_text(const HostEntry& host) {
  json out = {{"host", host.host}, {"at", host.at}};
  size_t bytes = 0;
  if (host.keys) {
    for (const std::string& id : *host.keys) bytes += id.size() + 3;
  }
  if (host.keys && host.keys->size() <= kMaxHostKeys && bytes < kMaxDocumentBytes / 2) {
    out["keys"] = *host.keys;
  }
  if (!host.instance.empty()) {
    out["instance"] = host.instance;
    out["life"] = host.life;
    out["turn"] = host.turn;
  }
  size_t lost_bytes = 0;
  for (const auto& [id, run] : host.lost) lost_bytes += id.size() + run.size() + 6;
  const bool fits = host.lost.size() <= kMaxHostKeys && lost_bytes < kMaxDocumentBytes / 4;
  if (!host.lost.empty() && fits) out["lost"] = host.lost;
  if (host.lost_all || !fits) out["lost_all"] = true;
  if (!host.lost_why.empty()) out["lost_why"] = short_text(host.lost_why, kMaxLostWhy);
  return dump(out);
}

}  // namespace keyfs
