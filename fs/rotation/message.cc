#include "fs/rotation/message.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

namespace keyfs {
namespace {

constexpr size_t kMostName = 255;
constexpr size_t kMostRun = 64;
constexpr size_t kMostReason = 200;
constexpr size_t kMostKeys = 20;  // and "80 more"
constexpr size_t kMostHosts = 20;
constexpr size_t kMostHead = 1200;  // characters
constexpr size_t kMostTail = 400;   // of the keys, and of each line after what failed
constexpr std::string_view kCut = "…";

std::string safe(std::string_view text, size_t most) {
  return escaped_for_slack(safe_text(text, most));
}
std::string name(std::string_view text) { return safe(text, kMostName); }
std::string reason(std::string_view text) { return safe(text, kMostReason); }

size_t characters(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  }));
}

// The byte at which character number `count` begins.
size_t byte_of(std::string_view text, size_t count) {
  size_t at = 0;
  for (; at < text.size(); ++at) {
    const bool begins = (static_cast<unsigned char>(text[at]) & 0xc0) != 0x80;
    if (begins && count-- == 0) break;
  }
  return at;
}

// The first `most` characters. All of `text` is escaped, so each "&" begins an escape, and one that
// is cut would be shown as it stands.
std::string shortened(std::string_view text, size_t most) {
  if (characters(text) <= most) return std::string(text);
  size_t end = byte_of(text, most - 1);
  const size_t open = text.substr(0, end).rfind('&');
  if (open != text.npos && text.substr(open, end - open).find(';') == text.npos) end = open;
  return std::string(text.substr(0, end)) + std::string(kCut);
}

// `others`: that are not even in `words`.
std::string first_of(const std::vector<std::string>& words, size_t most, size_t others = 0) {
  std::string text;
  for (size_t i = 0; i < std::min(most, words.size()); ++i) {
    text += (i == 0 ? "" : ", ") + words[i];
  }
  others += words.size() - std::min(most, words.size());
  return others == 0 ? text : text + " and " + std::to_string(others) + " more";
}

std::string keys_of(const RunReport& report) {
  std::vector<std::string> words;
  for (const RotatedKey& key : report.keys) {
    std::string word = name(key.id);
    if (key.state == RotatedKey::State::kCurrent) word += "/" + std::to_string(key.version);
    words.push_back(std::move(word));
  }
  return shortened(first_of(words, kMostKeys), kMostTail);
}

// A line for each that somebody has to look at.
std::vector<std::string> trouble_in(const RunReport& report) {
  std::vector<std::string> lines;
  for (const RotatedKey& key : report.keys) {
    if (key.state == RotatedKey::State::kCurrent) continue;
    lines.push_back("• key *" + name(key.id) + "*: " + std::string(to_string(key.state)) +
                    (key.reason.empty() ? "" : ": " + reason(key.reason)));
  }
  for (const auto state :
       {ConsumerState::kFailed, ConsumerState::kUnknown, ConsumerState::kNotTried}) {
    for (const ConsumerReport& consumer : report.consumers) {
      if (consumer.state != state) continue;
      std::string line = "• *" + name(consumer.consumer) + "* on " + name(consumer.host) + ": " +
                         std::string(to_string(state));
      if (!consumer.reason.empty()) line += ": " + reason(consumer.reason);
      lines.push_back(std::move(line));
    }
  }
  return lines;
}

// As many of `lines` as fit, and how many do not.
void add_lines(std::string& text, const std::vector<std::string>& lines, size_t room) {
  size_t used = characters(text);
  for (size_t i = 0; i < lines.size(); ++i) {
    const std::string more = "\n… and " + std::to_string(lines.size() - i) + " more";
    const size_t needs = characters(lines[i]) + 1;
    const bool last = i + 1 == lines.size();
    if (used + needs + (last ? 0 : characters(more)) > room) {
      text += more;
      return;
    }
    text += "\n" + lines[i];
    used += needs;
  }
}

std::string in_brackets(std::string_view text) {
  return text.empty() ? "" : " (" + reason(text) + ")";
}

std::string next_steps(const RunReport& report, const ReportCounts& counts) {
  const std::string run = safe(report.run, kMostRun);
  std::string text = "\n`keyfs rotation show " + run + "`";
  if (counts.failed + counts.unknown + counts.not_tried != 0) {
    text += ", to do again what failed: `keyfs rotation retry " + run + "`";
  }
  return text;
}

// What failed is what is cut where there is too much: its number is in the head, and how to see all
// of it at the end.
std::string with_details(const RunReport& report, const std::string& head) {
  const RunSummary summary = report.summary();
  std::string end;
  if (!report.not_heard_from.empty()) {
    std::vector<std::string> hosts;
    for (const std::string& host : report.not_heard_from) hosts.push_back(name(host));
    end += shortened("\nnot heard from: " + first_of(hosts, kMostHosts, report.not_heard_from_more),
                     kMostTail);
  }
  std::vector<std::string> gaps;
  for (const RotatedKey& key : report.keys) {
    for (const auto& region : key.missing) gaps.push_back(name(key.id) + " in " + name(region));
  }
  if (!gaps.empty()) end += shortened("\nnot wrapped yet: " + first_of(gaps, kMostKeys), kMostTail);
  if (!summary.complete()) end += next_steps(report, summary.counts);
  std::string text = shortened(head, kMostHead);
  add_lines(text, trouble_in(report), kMaxMessage - characters(end));
  return text + end;
}

}  // namespace

std::string escaped_for_slack(std::string_view text) {
  std::string escaped;
  escaped.reserve(text.size());
  for (const char c : text) {
    if (c == '&') {
      escaped += "&amp;";
    } else if (c == '<') {
      escaped += "&lt;";
    } else if (c == '>') {
      escaped += "&gt;";
    } else {
      escaped += c;
    }
  }
  return escaped;
}

std::string message_of_end(const RunReport& report) {
  const RunSummary summary = report.summary();
  std::string what = summary.complete() ? "complete" : "*done in part*";
  if (report.state == RunState::kStopped) what = "*stopped*" + in_brackets(report.stopped);
  return with_details(report, "keyfs: run " + name(report.run) + " of " + keys_of(report) + ": " +
                                  what + ", " + to_text(summary.counts));
}

std::string message_of_stop(const RunReport& report) {
  return with_details(report, "keyfs: run " + name(report.run) + " of " + keys_of(report) +
                                  ": *is being stopped*" + in_brackets(report.stopped) + ", " +
                                  to_text(report.counts()));
}

std::string message_of_takeover(const RunReport& report) {
  return "keyfs: run " + name(report.run) + " of " + keys_of(report) +
         " was taken over, since its host was not heard from" +
         in_brackets(report.takeovers.empty() ? "" : report.takeovers.back()) +
         "; it goes on: " + to_text(report.counts());
}

std::string webhook_body(std::string_view text) {
  const nlohmann::ordered_json body = {{"text", shortened(text, kMaxMessage)}};
  return body.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace keyfs
