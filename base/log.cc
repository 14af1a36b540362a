#include "base/log.h"

#include <charconv>
#include <cmath>
#include <cstdio>

namespace keyfs {
namespace {

// Beyond a number of kinds of message in one interval, further ones are counted under this name.
constexpr size_t kMaxKinds = 512;
constexpr std::string_view kOthers = "events of other kinds";

// The length of the UTF-8 sequence at the start of `text` and its code point; 0 if it is not one
// (RFC 3629: no overlong forms, no surrogates, nothing over U+10FFFF).
size_t decode_utf8(std::string_view text, uint32_t& point) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const auto follows = [&](size_t i) { return i < text.size() && (byte(i) & 0xc0) == 0x80; };
  const uint32_t first = byte(0);
  if (first < 0x80) return point = first, 1;
  if (first >= 0xc2 && first < 0xe0 && follows(1)) {
    point = (first & 0x1f) << 6 | (byte(1) & 0x3fu);
    return 2;
  }
  if (first >= 0xe0 && first < 0xf0 && follows(1) && follows(2)) {
    point = (first & 0x0f) << 12 | (byte(1) & 0x3fu) << 6 | (byte(2) & 0x3fu);
    return point >= 0x800 && (point < 0xd800 || point > 0xdfff) ? 3 : 0;
  }
  if (first >= 0xf0 && first < 0xf5 && follows(1) && follows(2) && follows(3)) {
    point =
        (first & 0x07) << 18 | (byte(1) & 0x3fu) << 12 | (byte(2) & 0x3fu) << 6 | (byte(3) & 0x3fu);
    return point >= 0x10000 && point <= 0x10ffff ? 4 : 0;
  }
  return 0;
}

// Controls in ASCII and Latin-1, and what Unicode calls line ends and direction overrides.
bool must_escape(uint32_t point) {
  return point < 0x20 || (point >= 0x7f && point < 0xa0) || point == 0x2028 || point == 0x2029 ||
         (point >= 0x202a && point <= 0x202e) || (point >= 0x2066 && point <= 0x2069);
}

// As a JSON string (RFC 8259), which logfmt readers accept too. At most `most` bytes, and a few
// more.
void append_quoted(std::string& out, std::string_view text, size_t most) {
  const size_t start = out.size();
  out += '"';
  while (!text.empty()) {
    if (out.size() - start > most) {
      out += "...";
      break;
    }
    uint32_t point = 0;
    const size_t length = decode_utf8(text, point);
    if (length == 0) {
      out += "\\ufffd";
      text.remove_prefix(1);
      continue;
    }
    if (point == '"' || point == '\\') {
      out += '\\';
      out += static_cast<char>(point);
    } else if (point == '\n') {
      out += "\\n";
    } else if (point == '\t') {
      out += "\\t";
    } else if (must_escape(point)) {
      char escaped[12];
      (void)std::snprintf(escaped, sizeof escaped, "\\u%04x", point);
      out += escaped;
    } else {
      out += text.substr(0, length);
    }
    text.remove_prefix(length);
  }
  out += '"';
}

bool is_bare(std::string_view text) {
  if (text.empty() || text.size() > 200) return false;
  for (const char c : text) {
    if (c <= ' ' || c >= 0x7f || c == '"' || c == '\\' || c == '=') return false;
  }
  return true;
}

// Builds one line, in either format.
class Line {
 public:
  explicit Line(LogFormat format) : json_(format == LogFormat::kJson) {
    if (json_) text_ += '{';
  }

  void add(std::string_view key, std::string_view value) {
    if (!begin(key)) return;
    if (!json_ && is_bare(value)) {
      text_ += value;
    } else {
      append_quoted(text_, value, kMostInValue);
    }
  }
  void add(std::string_view key, bool value) {
    if (begin(key)) text_ += value ? "true" : "false";
  }
  template <class Number>
  requires(std::integral<Number> || std::floating_point<Number>) void add(std::string_view key,
                                                                          Number value) {
    if (!begin(key)) return;
    char digits[40];
    const auto [end, error] = std::to_chars(digits, digits + sizeof digits, value);
    text_.append(digits, error == std::errc() ? end : digits);
  }
  void add(std::string_view key, double value) {
    if (!std::isfinite(value)) return add(key, std::string_view("not a number"));
    add<double>(key, value);
  }
  void add(std::string_view key, Duration value) { add(key, std::string_view(to_text(value))); }

  std::string finish() {
    if (json_) text_ += '}';
    return std::move(text_);
  }

 private:
  // No value is longer than 6 times this, and none is started past the first limit.
  static constexpr size_t kMostInValue = 1500;
  static constexpr size_t kBeginBefore = Log::kMaxLine - kMostInValue - 100;

  bool begin(std::string_view key) {
    if (text_.size() + key.size() > kBeginBefore) return false;
    if (text_.size() > 1) text_ += json_ ? ',' : ' ';
    if (json_) {
      append_quoted(text_, key, kMostInValue);
      text_ += ':';
    } else {
      text_ += key;
      text_ += '=';
    }
    return true;
  }

  bool json_;
  std::string text_;
};

}  // namespace

std::string_view to_string(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return "debug";
    case LogLevel::kInfo:
      return "info";
    case LogLevel::kWarn:
      return "warn";
    case LogLevel::kError:
      return "error";
  }
  return "error";
}

std::optional<LogLevel> log_level_from(std::string_view name) {
  for (const LogLevel level :
       {LogLevel::kDebug, LogLevel::kInfo, LogLevel::kWarn, LogLevel::kError}) {
    if (to_string(level) == name) return level;
  }
  return std::nullopt;
}

Log::Log(LogSink& sink, const Clock& clock, LogOptions options)
    : sink_(sink),
      clock_(clock),
      options_(options),
      least_(options.least),
      next_sweep_(clock.now().time_since_epoch().count()),
      losses_told_at_(clock.now() - options.interval) {}

Log::~Log() {
  try {
    write_summaries(clock_.now(), /*all=*/true);
  } catch (...) {
    ++lost_;
  }
}

void Log::write(LogLevel level, std::string_view message, Fields fields) noexcept {
  if (!enabled(level)) return;
  try {
    const TimePoint now = clock_.now();
    write_summaries(now, /*all=*/false);
    tell_losses(now);
    if (admit(level, message, now)) emit(level, message, fields);
  } catch (...) {  // no memory, or no mutex
    ++lost_;
  }
}

void Log::flush_repeats() noexcept {
  try {
    write_summaries(clock_.now(), /*all=*/false);
  } catch (...) {
    ++lost_;
  }
}

uint64_t Log::lost() const noexcept { return lost_ + sink_.lost(); }

bool Log::admit(LogLevel level, std::string_view message, TimePoint now) {
  std::lock_guard lock(mutex_);
  auto found = repeats_.find(message);
  if (found == repeats_.end()) {
    if (repeats_.size() >= kMaxKinds) message = kOthers;
    found = repeats_.try_emplace(std::string(message)).first;
    if (found->second.written == 0) found->second.since = now;
  }
  Repeats& repeats = found->second;
  repeats.level = std::max(repeats.level, level);
  if (repeats.written < options_.burst) {
    ++repeats.written;
    return true;
  }
  ++repeats.held_back;
  return false;
}

void Log::write_summaries(TimePoint now, bool all) {
  if (!all && now.time_since_epoch().count() < next_sweep_.load()) return;
  std::vector<Summary> summaries;
  {
    std::lock_guard lock(mutex_);
    TimePoint next = now + options_.interval;
    for (auto at = repeats_.begin(); at != repeats_.end();) {
      const Repeats& repeats = at->second;
      const TimePoint end = repeats.since + options_.interval;
      if (!all && end > now) {
        next = std::min(next, end);
        ++at;
        continue;
      }
      if (repeats.held_back > 0) {
        summaries.push_back({repeats.level, at->first, repeats.held_back});
      }
      at = repeats_.erase(at);
    }
    next_sweep_ = next.time_since_epoch().count();
  }
  for (const Summary& summary : summaries) {
    emit(summary.level,
         summary.message + " (and " + std::to_string(summary.held_back) + " more like it)",
         {{"held_back", summary.held_back}});
  }
}

void Log::tell_losses(TimePoint now) {
  const uint64_t lost = this->lost();
  uint64_t untold = 0;
  {
    std::lock_guard lock(mutex_);
    if (lost <= losses_told_ || now - losses_told_at_ < options_.interval) return;
    untold = lost - losses_told_;
    losses_told_ = lost;
    losses_told_at_ = now;
  }
  emit(LogLevel::kWarn, std::to_string(untold) + " lines of this log could not be written",
       {{"lost", lost}});
}

void Log::emit(LogLevel level, std::string_view message, Fields fields) {
  Line line(options_.format);
  if (options_.time) line.add("time", to_rfc3339(clock_.wall(), /*milliseconds=*/true));
  line.add("level", to_string(level));
  line.add("msg", message);
  for (const LogField& field : fields) {
    std::visit([&](const auto& value) { line.add(field.key, value); }, field.value.any());
  }
  sink_.write(level, line.finish());
}

}  // namespace keyfs
