#include "fs/rotation/consumer_rules.h"

#include <signal.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <utility>

#include "base/config_reader.h"
#include "base/encoding.h"
#include "base/host.h"
#include "base/siphash.h"
#include "fs/policy/key_id.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;

struct SignalName {
  std::string_view name;
  int number;
};
// Those that a program may take for "look again". KILL and STOP can't be, and the others tell of
// faults.
constexpr std::array kSignals{
    SignalName{"HUP", SIGHUP},     SignalName{"INT", SIGINT},   SignalName{"QUIT", SIGQUIT},
    SignalName{"USR1", SIGUSR1},   SignalName{"USR2", SIGUSR2}, SignalName{"TERM", SIGTERM},
    SignalName{"WINCH", SIGWINCH}, SignalName{"CONT", SIGCONT}, SignalName{"ALRM", SIGALRM},
    SignalName{"URG", SIGURG},     SignalName{"IO", SIGIO},
};

template <class Number>
std::optional<Number> number_of(std::string_view text, Number most) {
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number > most) {
    return std::nullopt;
  }
  return number;
}

std::optional<int> signal_number(std::string_view name) {
  if (name.starts_with("SIG")) name.remove_prefix(3);
  for (const SignalName& known : kSignals) {
    if (known.name == name) return known.number;
  }
  if (name == "RTMIN") return SIGRTMIN;
  if (name.starts_with("RTMIN+")) {
    const auto more = number_of<unsigned>(name.substr(6), 30);
    if (more && SIGRTMIN + static_cast<int>(*more) <= SIGRTMAX) {
      return SIGRTMIN + static_cast<int>(*more);
    }
  }
  return std::nullopt;
}

bool is_word(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return static_cast<unsigned char>(c) > 0x20 && c != 0x7f;
  });
}

// As a key id, and shorter.
bool is_name(std::string_view name) { return name.size() <= 128 && is_key_id(name); }

constexpr std::string_view kUnitMarks = ":-_.\\@";

// systemd.unit(5): letters, digits and ":-_.\@", with a type at the end.
bool is_unit(std::string_view name) {
  return !name.empty() && name.size() <= 255 && name[0] != '-' && name[0] != '.' &&
         name.find('.') != name.npos && name.back() != '.' &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  kUnitMarks.find(c) != kUnitMarks.npos;
         });
}

std::optional<std::string> why_no_url(std::string_view url) {
  const bool secure = url.starts_with("https://");
  if (!secure && !url.starts_with("http://")) return "needs a URL with http:// or https://";
  if (!is_word(url)) return "needs a URL without blanks";
  std::string_view host = url.substr(secure ? 8 : 7);
  host = host.substr(0, host.find_first_of("/?#"));
  if (host.empty()) return "needs a URL with a host";
  if (host.find('@') != host.npos) return "takes no user or password in the URL";
  return std::nullopt;
}

// "reload nginx.service": both words, or nothing.
std::pair<std::string_view, std::string_view> two_words(std::string_view text) {
  const size_t blank = text.find(' ');
  if (blank == text.npos) return {text, {}};
  const size_t next = text.find_first_not_of(' ', blank);
  return {text.substr(0, blank), next == text.npos ? std::string_view() : text.substr(next)};
}

// For a message: whoever reads it is not to learn a password.
std::string shown(std::string_view refresh) {
  constexpr std::string_view kHttp = "http:";
  const size_t at = refresh.rfind('@');
  if (refresh.starts_with(kHttp) && at != refresh.npos && refresh.find("://") > at) {
    return std::string(kHttp) + "..." + std::string(refresh.substr(at));  // its scheme is missing
  }
  return without_userinfo(refresh);
}

Refresh read_refresh(ConfigReader& in) {
  Refresh refresh;
  refresh.text = in.required("refresh");
  if (refresh.text.empty()) return refresh;  // which is reported already
  const auto mistake = [&](std::string_view what) {
    in.mistake("refresh", "\"" + shown(refresh.text) + "\" " + std::string(what));
  };
  const size_t colon = refresh.text.find(':');
  const std::string_view text = refresh.text;
  const std::string_view kind = text.substr(0, colon);
  const std::string_view rest = colon == text.npos ? std::string_view() : text.substr(colon + 1);
  const auto [verb, target] = two_words(rest);
  if (text == "watch") {
    refresh.kind = RefreshKind::kWatch;
  } else if (kind == "signal" && colon != text.npos) {
    refresh.kind = RefreshKind::kSignal;
    const auto signal = signal_number(rest);
    if (!signal) {
      mistake(
          "names no signal that can be used: HUP, INT, QUIT, USR1, USR2, TERM, WINCH, CONT, "
          "ALRM, URG, IO, RTMIN+N");
    }
    refresh.signal = signal.value_or(0);
  } else if (kind == "exec" && colon != text.npos) {
    refresh.kind = RefreshKind::kExec;
    refresh.target = rest;
    if (!rest.starts_with('/')) mistake("needs the absolute path of a program");
  } else if (kind == "systemd" && colon != text.npos) {
    refresh.kind = RefreshKind::kSystemd;
    refresh.verb = verb;
    refresh.target = target;
    if ((verb != "reload" && verb != "restart") || !is_unit(target)) {
      mistake(
          "is neither systemd:reload UNIT nor systemd:restart UNIT, with a unit such as "
          "nginx.service");
    }
  } else if (kind == "http" && colon != text.npos) {
    refresh.kind = RefreshKind::kHttp;
    refresh.verb = verb;
    refresh.target = target;
    if (verb != "POST" && verb != "PUT" && verb != "GET") {
      mistake("is not http:POST URL (or PUT, or GET)");
    } else if (const auto why = why_no_url(target)) {
      mistake(*why);
    }
  } else {
    mistake(
        "is neither signal:NAME, exec:PATH, systemd:reload UNIT, systemd:restart UNIT, "
        "http:POST URL, nor watch");
  }
  return refresh;
}

std::optional<Glob> read_glob(ConfigReader& in, std::string_view key, std::string_view pattern) {
  auto glob = Glob::parse(pattern);
  if (glob) return std::move(*glob);
  in.mistake(key, "\"" + std::string(pattern) + "\": " + glob.error().message);
  return std::nullopt;
}

std::optional<uid_t> read_user(ConfigReader& in, NameService& names, const std::string& name) {
  const auto uid = names.uid_of(name);
  if (!uid) {
    in.mistake("match", "could not look up user \"" + name + "\": " + uid.error().message);
    return std::nullopt;
  }
  if (!*uid) in.mistake("match", "there is no user \"" + name + "\"");
  return *uid;
}

void read_match(ConfigReader& in, NameService& names, ConsumerRule& rule) {
  std::vector<std::string> kinds;
  for (const std::string& item : in.required_list("match")) {
    const size_t colon = item.find(':');
    std::string kind = item.substr(0, colon);
    const std::string rest = colon == item.npos ? "" : item.substr(colon + 1);
    if (!rest.empty() && kind == "unit") {
      rule.unit = read_glob(in, "match", rest);
    } else if (!rest.empty() && kind == "cgroup") {
      rule.cgroup = read_glob(in, "match", rest);
    } else if (!rest.empty() && kind == "exe") {
      rule.executable = read_glob(in, "match", rest);
    } else if (!rest.empty() && kind == "user") {
      rule.uid = read_user(in, names, rest);
    } else if (!rest.empty() && kind == "uid") {
      rule.uid = number_of<uid_t>(rest, std::numeric_limits<uid_t>::max() - 1);
      if (!rule.uid) in.mistake("match", "\"" + item + "\" needs a number from 0 to 4294967294");
    } else {
      in.mistake("match", "\"" + item +
                              "\" is neither unit:GLOB, cgroup:GLOB, exe:GLOB, user:NAME, nor "
                              "uid:N");
    }
    if (kind == "uid") kind = "user";
    if (std::find(kinds.begin(), kinds.end(), kind) != kinds.end()) {
      in.mistake("match", "all must fit, so there can be only one \"" + kind +
                              ":\"; use a glob, or a section for each");
    }
    kinds.push_back(kind);
  }
}

Result<ConsumerRule> read_rule(const ConfigSection& section, NameService& names) {
  ConsumerRule rule;
  rule.name = section.argument();
  rule.line = section.line();
  // It stands in reports, in the environment of hooks and as a command's argument.
  if (!is_name(rule.name)) {
    return fail(
        section.mistake("a consumer's name is 1 to 128 of A-Z a-z 0-9 . _ : @ + = , ~ -, the "
                        "first a letter or a digit"));
  }
  ConfigReader in(section);
  read_match(in, names, rule);
  for (const std::string& pattern : in.list("keys")) {
    if (auto glob = read_glob(in, "keys", pattern)) rule.keys.push_back(std::move(*glob));
  }
  rule.refresh = read_refresh(in);
  const std::string confirm = in.choice("confirm", {"open", "exit", "none"}, "open");
  rule.confirm = confirm == "open"   ? Confirm::kOpen
                 : confirm == "exit" ? Confirm::kExit
                                     : Confirm::kNone;
  if (rule.confirm == Confirm::kExit && rule.refresh.kind == RefreshKind::kWatch) {
    in.mistake("confirm", "exit is of a hook, and with refresh = watch there is none");
  }
  rule.timeout = in.duration("timeout", 30s, 1s, 1h);
  if (auto ok = in.finish(); !ok) return fail(ok.error());
  return rule;
}

// `before`: of the section before it.
std::string print_of(const ConsumerRule& rule, const std::string& before) {
  std::string text = before;
  const auto add = [&text](char what, const std::string& value) {
    text += '\n';
    text += what;
    text += value;
  };
  if (rule.unit) add('u', rule.unit->pattern());
  if (rule.cgroup) add('c', rule.cgroup->pattern());
  if (rule.executable) add('e', rule.executable->pattern());
  if (rule.uid) add('i', std::to_string(*rule.uid));
  for (const Glob& glob : rule.keys) add('k', glob.pattern());
  const uint64_t hash = SipHash()(text);
  std::array<uint8_t, 8> bytes{};
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(hash >> (8 * i));
  return hex_encode(bytes);
}

bool is_unit_of_cgroup(std::string_view part) {
  constexpr std::array<std::string_view, 6> kTypes{".service", ".scope", ".socket",
                                                   ".mount",   ".swap",  ".device"};
  return std::any_of(kTypes.begin(), kTypes.end(), [&](std::string_view type) {
    return part.size() > type.size() && part.ends_with(type);
  });
}

}  // namespace

std::string unit_of(std::string_view cgroup) {
  // As systemd does it: the first after the slices. What is below it belongs to that unit, whoever
  // named it.
  while (cgroup.starts_with('/')) {
    cgroup.remove_prefix(1);
    std::string_view part = cgroup.substr(0, cgroup.find('/'));
    cgroup.remove_prefix(part.size());
    if (part.starts_with('_')) part.remove_prefix(1);  // systemd's escape
    if (part.ends_with(".slice") && part.size() > 6) continue;
    return is_unit_of_cgroup(part) ? std::string(part) : "";
  }
  return "";
}

bool ConsumerRule::fits(const Who& who) const {
  const auto fits_one = [](const std::optional<Glob>& glob, const std::string& text) {
    return !glob || (!text.empty() && glob->matches(text));
  };
  return fits_one(unit, who.unit) && fits_one(cgroup, who.cgroup) &&
         fits_one(executable, who.executable) && (!uid || *uid == who.uid);
}

bool ConsumerRule::covers(std::string_view key) const {
  return keys.empty() ||
         std::any_of(keys.begin(), keys.end(), [&](const Glob& glob) { return glob.matches(key); });
}

Result<ConsumerRules> ConsumerRules::load(const ConfigFile& file, NameService& names) {
  ConsumerRules rules;
  for (const ConfigSection* section : file.all("consumer")) {
    if (rules.rules_.size() == kMaxRules) {
      return fail(section->mistake("there are more than 1000 consumers"));
    }
    auto rule = read_rule(*section, names);
    if (!rule) return fail(rule.error());
    rule->print = print_of(*rule, rules.rules_.empty() ? "" : rules.rules_.back().print);
    rules.rules_.push_back(std::move(*rule));
  }
  return rules;
}

const ConsumerRule* ConsumerRules::find(std::string_view name) const {
  for (const ConsumerRule& rule : rules_) {
    if (rule.name == name) return &rule;
  }
  return nullptr;
}

const ConsumerRule* ConsumerRules::rule_for(const Who& who, std::string_view key) const {
  for (const ConsumerRule& rule : rules_) {
    if (rule.fits(who) && rule.covers(key)) return &rule;
  }
  return nullptr;
}

bool ConsumerRules::any(RefreshKind kind) const {
  return std::any_of(rules_.begin(), rules_.end(),
                     [&](const ConsumerRule& rule) { return rule.refresh.kind == kind; });
}

}  // namespace keyfs
