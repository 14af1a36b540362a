#include "fs/rotation/consumer_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <span>
#include <utility>

#include "base/encoding.h"
#include "base/file.h"
#include "base/private_file.h"
#include "base/strict_json.h"
#include "fs/policy/key_id.h"

namespace keyfs {
namespace {

using nlohmann::json;

// So that the file stays the same for a while.
constexpr std::chrono::minutes kSeenStep{10};
constexpr size_t kMaxValues = size_t{1} << 20;

std::span<const uint8_t> bytes(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

// Bytes that are not UTF-8 would make dump() throw.
bool is_utf8(const std::string& text) {
  try {
    (void)json(text).dump();
    return true;
  } catch (const json::exception&) {
    return false;
  }
}

void put(json& into, const std::string& name, const std::string& text) {
  if (is_utf8(text)) {
    into[name] = text;
  } else {
    into[name + "_hex"] = hex_encode(bytes(text));
  }
}

json uses_json(const ConsumerTable::Uses& uses) {
  json keys = json::object();
  for (const auto& [id, use] : uses) keys[id] = use.version;
  return keys;
}

json process_json(const ConsumerTable::Process& process) {
  return json::array({process.id.pid, process.id.start, uses_json(process.keys)});
}

std::optional<std::string> text_in(const json& from, const std::string& name) {
  if (const auto plain = from.find(name); plain != from.end() && plain->is_string()) {
    return plain->get<std::string>();
  }
  const auto hex = from.find(name + "_hex");
  if (hex == from.end() || !hex->is_string()) return std::nullopt;
  const auto text = hex_decode(hex->get_ref<const std::string&>());
  if (!text) return std::nullopt;
  return std::string(text->begin(), text->end());
}

template <class Number>
std::optional<Number> number_in(const json& value) {
  if (!value.is_number_unsigned()) return std::nullopt;
  const auto number = value.get<uint64_t>();
  if (number > static_cast<uint64_t>(std::numeric_limits<Number>::max())) return std::nullopt;
  return static_cast<Number>(number);
}

std::optional<ConsumerTable::Uses> uses_in(const json& keys) {
  if (!keys.is_object()) return std::nullopt;
  ConsumerTable::Uses uses;
  for (const auto& [id, value] : keys.items()) {
    const auto version = number_in<uint32_t>(value);
    if (!is_key_id(id) || !version) return std::nullopt;
    uses[id].version = *version;
  }
  return uses;
}

std::optional<ConsumerTable::Process> process_in(const json& value) {
  if (!value.is_array() || value.size() != 3) return std::nullopt;
  const auto pid = number_in<pid_t>(value[0]);
  const auto start = number_in<uint64_t>(value[1]);
  auto uses = uses_in(value[2]);
  if (!pid || *pid == 0 || !start || !uses) return std::nullopt;
  return ConsumerTable::Process{{*pid, *start}, std::move(*uses)};
}

bool sections_in(const json& names, std::set<std::string, std::less<>>& sections) {
  constexpr size_t kMaxName = 128;
  if (!names.is_array() || names.size() > ConsumerTable::kMaxFitted) return false;
  for (const json& name : names) {
    if (!name.is_string() || name.get_ref<const std::string&>().size() > kMaxName) return false;
    sections.insert(name.get<std::string>());
  }
  return true;
}

std::optional<ConsumerTable::Program> program_in(const json& value, bool with_processes) {
  if (!value.is_object()) return std::nullopt;
  const auto field = [&value](const char* name) -> const json& {
    static const json kNone;
    const auto found = value.find(name);
    return found != value.end() ? *found : kNone;
  };
  ConsumerTable::Program program;
  const auto unit = text_in(value, "unit");
  const auto cgroup = text_in(value, "cgroup");
  const auto executable = text_in(value, "exe");
  const auto uid = number_in<uid_t>(field("uid"));
  auto uses = uses_in(field("keys"));
  const json& seen = field("seen");
  const auto time =
      seen.is_string() ? from_rfc3339(seen.get_ref<const std::string&>()) : std::nullopt;
  if (!unit || !cgroup || !executable || !uid || !uses || !time) return std::nullopt;
  program.who = Who{*unit, *cgroup, *executable, *uid};
  program.keys = std::move(*uses);
  program.seen = *time;
  program.incomplete = field("incomplete") == json(true);
  program.unfollowed = with_processes && field("unfollowed") == json(true);
  const json& sections = field("sections");
  program.fitted_others = sections.is_null();
  if (!sections.is_null() && !sections_in(sections, program.fitted)) return std::nullopt;
  const json& processes = field("processes");
  if (!processes.is_array()) return std::nullopt;
  for (const json& one : processes) {
    auto process = process_in(one);
    if (!process) return std::nullopt;
    if (with_processes) program.processes.push_back(std::move(*process));
  }
  return program;
}

}  // namespace

json json_of(const ConsumerTable::Program& program, bool with_processes) {
  const Who& who = program.who;
  json one = {
      {"uid", who.uid},
      {"seen", to_rfc3339(WallTime(program.seen.time_since_epoch() / kSeenStep * kSeenStep))},
      {"incomplete", program.incomplete},
      {"unfollowed", program.unfollowed},
      {"keys", uses_json(program.keys)}};
  put(one, "unit", who.unit);
  put(one, "cgroup", who.cgroup);
  put(one, "exe", who.executable);
  if (!program.fitted_others) one["sections"] = program.fitted;
  json processes = json::array();
  if (with_processes) {
    for (const ConsumerTable::Process& process : program.processes) {
      processes.push_back(process_json(process));
    }
  }
  one["processes"] = std::move(processes);
  return one;
}

std::optional<ConsumerTable::Program> program_of_json(const json& value, bool with_processes) {
  return program_in(value, with_processes);
}

std::string set_aside(const std::string& path, const std::string& why) {
  const std::string aside = path + ".damaged";
  const bool moved = std::rename(path.c_str(), aside.c_str()) == 0;
  return path + ": " + why + (moved ? "; it is now " + aside : "");
}

Result<std::optional<std::string>> read_private_text(const std::string& path, size_t most) {
  auto opened = open_private_file(path, O_RDONLY, Guard::kOurs);
  if (!opened) {
    if (::access(path.c_str(), F_OK) != 0 && errno == ENOENT) return std::optional<std::string>();
    return fail(std::move(opened.error()));
  }
  std::string text;
  std::array<char, 65'536> piece;
  for (;;) {
    const ssize_t size = ::read(opened->get(), piece.data(), piece.size());
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return fail(os_error(path, "cannot be read"));
    if (size == 0) return std::optional<std::string>(std::move(text));
    text.append(piece.data(), static_cast<size_t>(size));
    if (text.size() > most) return fail(Code::kCorrupt, path + ": is too large");
  }
}

ConsumerText text_of(const ConsumerTable::Programs& programs, const std::string& epoch,
                     const std::function<bool(const ProcessId&)>& runs) {
  ConsumerText made;
  json list = json::array();
  for (const auto& [who, program] : programs) {
    json one = json_of(program, false);
    json& processes = one["processes"];
    for (const ConsumerTable::Process& process : program.processes) {
      if (!runs(process.id)) {
        made.ended.push_back(process.id);
      } else if (!epoch.empty()) {
        processes.push_back(process_json(process));
      }
    }
    list.push_back(std::move(one));
  }
  std::sort(made.ended.begin(), made.ended.end());
  const json all = {{"keyfs_consumers", 1}, {"epoch", epoch}, {"programs", std::move(list)}};
  made.text = all.dump() + "\n";
  return made;
}

Result<std::vector<ConsumerTable::Program>> parse_consumers(std::string_view text,
                                                            const std::string& epoch) {
  const auto damaged = [](const char* what) { return fail(Code::kCorrupt, what); };
  const auto all = parse_strict_json(text, kMaxConsumerFile, kMaxValues);
  if (!all) return fail(all.error());
  if (!all->is_object() || all->value("keyfs_consumers", json()) != json(1)) {
    return damaged("is not a file of consumers");
  }
  const json written_in = all->value("epoch", json());
  const json list = all->value("programs", json());
  if (!written_in.is_string() || !list.is_array()) return damaged("is not a file of consumers");
  const bool same = !epoch.empty() && written_in.get<std::string>() == epoch;
  std::vector<ConsumerTable::Program> programs;
  for (const json& one : list) {
    auto program = program_in(one, same);
    if (!program) return damaged("holds a program that is none");
    programs.push_back(std::move(*program));
  }
  return programs;
}

}  // namespace keyfs
