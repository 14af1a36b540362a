#include "base/config_reader.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "base/host.h"

namespace keyfs {
namespace {

struct Unit {
  std::string_view name;
  int64_t factor;
};

constexpr int64_t kSecond = 1000;
constexpr std::array<Unit, 5> kTimeUnits = {{
    {"ms", 1},
    {"s", kSecond},
    {"m", 60 * kSecond},
    {"h", 3600 * kSecond},
    {"d", 86400 * kSecond},
}};

std::optional<int64_t> whole_number(std::string_view text) {
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

// Digits followed directly by a unit.
std::pair<std::optional<int64_t>, std::string_view> number_and_rest(std::string_view text) {
  const size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
  return {whole_number(text.substr(0, digits)), text.substr(digits)};
}

std::string quote(std::string_view whole) {
  constexpr size_t kMost = 60;
  const std::string value = without_userinfo(whole);
  std::string text = "\"" + value.substr(0, kMost);
  return text + (value.size() > kMost ? "...\"" : "\"");
}

std::string time_text(std::chrono::milliseconds duration) {
  const int64_t ms = duration.count();
  for (auto unit = kTimeUnits.rbegin(); unit != kTimeUnits.rend(); ++unit) {
    if (ms >= unit->factor && ms % unit->factor == 0) {
      return std::to_string(ms / unit->factor) + std::string(unit->name);
    }
  }
  return std::to_string(ms) + "ms";
}

std::string names_text(std::span<const std::string_view> names) {
  std::string text;
  for (const std::string_view name : names) {
    if (!text.empty()) text += name == names.back() ? " or " : ", ";
    text += name;
  }
  return text;
}

}  // namespace

const ConfigSection::Entry* ConfigReader::use(std::string_view key) {
  if (std::find(asked_.begin(), asked_.end(), key) == asked_.end()) asked_.emplace_back(key);
  return section_.find(key);
}

void ConfigReader::add(int line, Error error) {
  if (!first_ || line < first_->first) first_.emplace(line, std::move(error));
}

void ConfigReader::mistake(std::string_view key, std::string_view message) {
  const auto* entry = use(key);
  add(entry != nullptr ? entry->line : section_.line(), section_.mistake(key, message));
}

void ConfigReader::not_here(const std::vector<std::string_view>& keys, std::string_view why) {
  for (const std::string_view key : keys) {
    if (use(key) != nullptr) mistake(key, why);
  }
}

std::optional<std::string> ConfigReader::string(std::string_view key) {
  const auto* entry = use(key);
  if (entry == nullptr) return std::nullopt;
  return entry->value;
}

std::string ConfigReader::string(std::string_view key, std::string_view fallback) {
  const auto* entry = use(key);
  return entry != nullptr ? entry->value : std::string(fallback);
}

std::string ConfigReader::required(std::string_view key) {
  const auto* entry = use(key);
  if (entry != nullptr) return entry->value;
  mistake(key, "is missing");
  return {};
}

std::optional<ConfigReader::Milliseconds> ConfigReader::duration(std::string_view key,
                                                                 Milliseconds least,
                                                                 Milliseconds most) {
  const auto* entry = use(key);
  if (entry == nullptr) return std::nullopt;
  const auto [number, rest] = number_and_rest(entry->value);
  const auto unit = std::find_if(kTimeUnits.begin(), kTimeUnits.end(),
                                 [rest = rest](const Unit& u) { return u.name == rest; });
  if (!number || unit == kTimeUnits.end()) {
    mistake(key, quote(entry->value) + " is not a duration: write 250ms, 10s, 5m, 24h or 7d");
    return std::nullopt;
  }
  const bool fits = *number <= std::numeric_limits<int64_t>::max() / unit->factor;
  if (const Milliseconds value(fits ? *number * unit->factor : 0);
      fits && value >= least && value <= most) {
    return value;
  }
  mistake(key, quote(entry->value) + " is out of range: from " + time_text(least) + " to " +
                   time_text(most));
  return std::nullopt;
}

ConfigReader::Milliseconds ConfigReader::duration(std::string_view key, Milliseconds fallback,
                                                  Milliseconds least, Milliseconds most) {
  return duration(key, least, most).value_or(fallback);
}

std::optional<int64_t> ConfigReader::integer(std::string_view key, int64_t least, int64_t most) {
  const auto* entry = use(key);
  if (entry == nullptr) return std::nullopt;
  const auto number = whole_number(entry->value);
  if (number && *number >= least && *number <= most) return number;
  mistake(key, quote(entry->value) + " is not a whole number from " + std::to_string(least) +
                   " to " + std::to_string(most));
  return std::nullopt;
}

int64_t ConfigReader::integer(std::string_view key, int64_t fallback, int64_t least, int64_t most) {
  return integer(key, least, most).value_or(fallback);
}

uint64_t ConfigReader::size(std::string_view key, uint64_t fallback, uint64_t least,
                            uint64_t most) {
  const auto* entry = use(key);
  if (entry == nullptr) return fallback;
  const auto [number, rest] = number_and_rest(entry->value);
  std::optional<int> shift;
  if (rest.empty() || rest == "B") shift = 0;
  if (rest == "k" || rest == "K" || rest == "KiB") shift = 10;
  if (rest == "m" || rest == "M" || rest == "MiB") shift = 20;
  if (rest == "g" || rest == "G" || rest == "GiB") shift = 30;
  if (!number || !shift) {
    mistake(key, quote(entry->value) + " is not a size: write 512, 64k, 16m or 1g");
    return fallback;
  }
  const auto count = static_cast<uint64_t>(*number);
  const uint64_t value = count << *shift;
  if (value >> *shift == count && value >= least && value <= most) return value;
  mistake(key, quote(entry->value) + " is out of range: from " + std::to_string(least) + " to " +
                   std::to_string(most) + " bytes");
  return fallback;
}

bool ConfigReader::boolean(std::string_view key, bool fallback) {
  const auto* entry = use(key);
  if (entry == nullptr) return fallback;
  const std::string& value = entry->value;
  if (value == "yes" || value == "true" || value == "on") return true;
  if (value == "no" || value == "false" || value == "off") return false;
  mistake(key, quote(value) + " is neither yes nor no");
  return fallback;
}

std::vector<std::string> ConfigReader::list(std::string_view key) {
  std::vector<std::string> items;
  const auto* entry = use(key);
  if (entry == nullptr) return items;
  std::string_view rest = entry->value;
  for (bool more = true; more;) {
    const size_t comma = rest.find(',');
    std::string_view item = rest.substr(0, comma);
    more = comma != rest.npos;
    if (more) rest.remove_prefix(comma + 1);
    const size_t first = item.find_first_not_of(" \t");
    if (first == item.npos) {
      mistake(key, "has an empty item in its list");
      break;
    }
    item = item.substr(first, item.find_last_not_of(" \t") - first + 1);
    if (std::find(items.begin(), items.end(), item) != items.end()) {
      mistake(key, quote(item) + " is in the list twice");
      break;
    }
    items.emplace_back(item);
  }
  return items;
}

std::vector<std::string> ConfigReader::required_list(std::string_view key) {
  if (use(key) == nullptr) mistake(key, "is missing");
  return list(key);
}

std::optional<std::string> ConfigReader::choice(std::string_view key,
                                                const std::vector<std::string_view>& names) {
  const auto* entry = use(key);
  if (entry == nullptr) {
    mistake(key, "is missing: " + names_text(names));
    return std::nullopt;
  }
  if (std::find(names.begin(), names.end(), entry->value) != names.end()) return entry->value;
  std::string message = quote(entry->value) + " is not one of " + names_text(names);
  if (const auto near = nearest_name(entry->value, names)) {
    message += " (did you mean " + std::string(*near) + "?)";
  }
  mistake(key, message);
  return std::nullopt;
}

std::string ConfigReader::choice(std::string_view key, const std::vector<std::string_view>& names,
                                 std::string_view fallback) {
  if (use(key) == nullptr) return std::string(fallback);
  return choice(key, names).value_or(std::string(fallback));
}

Result<void> ConfigReader::finish() {
  std::vector<std::string_view> known(asked_.begin(), asked_.end());
  for (const auto& entry : section_.entries()) {
    if (std::find(known.begin(), known.end(), entry.key) != known.end()) continue;
    std::string message = "unknown key";
    if (const auto near = nearest_name(entry.key, known)) {
      message += " (did you mean " + std::string(*near) + "?)";
    }
    add(entry.line, section_.mistake(entry.key, message));
  }
  if (first_) return fail(first_->second);
  return {};
}

Error missing_key(const ConfigSection& section, std::string_view key, std::string_view hint) {
  const std::array<std::string_view, 1> names = {key};
  for (const auto& entry : section.entries()) {
    if (nearest_name(entry.key, names)) {
      return section.mistake(entry.key, "unknown key (did you mean " + std::string(key) + "?)");
    }
  }
  return section.mistake(key, "is missing: " + std::string(hint));
}

}  // namespace keyfs
