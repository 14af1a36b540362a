#include "fs/spire/hcl.h"

#include <algorithm>
#include <cstdint>
#include <optional>

#include "base/text.h"

namespace keyfs {
namespace {

constexpr size_t kMaxHclItems = 4096;
constexpr size_t kMaxHclName = 256;

int hex_value(char c) {
  if (is_digit(c)) return c - '0';
  const char l = lower(c);
  return l >= 'a' && l <= 'f' ? l - 'a' + 10 : -1;
}

// Never more bytes than the escape has.
size_t put_code_point(uint32_t point, char* out) {
  if (point < 0x80) return out[0] = static_cast<char>(point), 1;
  if (point < 0x800) {
    out[0] = static_cast<char>(0xc0 | point >> 6);
    out[1] = static_cast<char>(0x80 | (point & 0x3f));
    return 2;
  }
  if (point < 0x10000) {
    out[0] = static_cast<char>(0xe0 | point >> 12);
    out[1] = static_cast<char>(0x80 | (point >> 6 & 0x3f));
    out[2] = static_cast<char>(0x80 | (point & 0x3f));
    return 3;
  }
  out[0] = static_cast<char>(0xf0 | point >> 18);
  out[1] = static_cast<char>(0x80 | (point >> 12 & 0x3f));
  out[2] = static_cast<char>(0x80 | (point >> 6 & 0x3f));
  out[3] = static_cast<char>(0x80 | (point & 0x3f));
  return 4;
}

// An escape at the start of `raw`: how long it is, 0 if it is none; the bytes that it stands for are
// written to `out`, `size` of them.
size_t read_escape(std::string_view raw, char* out, size_t& size) {
  if (raw.size() < 2) return 0;
  static constexpr std::string_view kNames = "abfnrtv\\\"";
  static constexpr std::string_view kValues = "\a\b\f\n\r\t\v\\\"";
  size = 1;
  if (const size_t at = kNames.find(raw[1]); at != std::string_view::npos) {
    out[0] = kValues[at];
    return 2;
  }
  const size_t digits = raw[1] == 'x' ? 2 : raw[1] == 'u' ? 4 : raw[1] == 'U' ? 8 : 0;
  if (digits == 0 || raw.size() < 2 + digits) return 0;
  uint32_t point = 0;
  for (size_t i = 0; i < digits; ++i) {
    const int value = hex_value(raw[2 + i]);
    if (value < 0 || point > 0x10ffff) return 0;
    point = point << 4 | static_cast<uint32_t>(value);
  }
  if (point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff)) return 0;
  if (raw[1] == 'x' && point >= 0x80) return 0;  // would not be UTF-8
  size = put_code_point(point, out);
  return 2 + digits;
}

// Into `out`, which has room for raw.size() bytes; how many.
size_t decode_text(std::string_view raw, char* out) {
  size_t written = 0;
  while (!raw.empty()) {
    if (raw.front() != '\\') {
      out[written++] = raw.front();
      raw.remove_prefix(1);
      continue;
    }
    size_t size = 0;
    const size_t taken = read_escape(raw, out + written, size);
    if (taken == 0) break;  // the parser has refused it
    written += size;
    raw.remove_prefix(taken);
  }
  return written;
}

class HclParser {
 public:
  explicit HclParser(std::string_view text) : rest_(text) {}

  Result<HclDocument> run() {
    HclDocument out;
    for (;;) {
      if (!skip_space()) return error("a comment has no end");
      if (rest_.empty()) return out;
      if (rest_.front() == ',') {  // as JSON that was printed as HCL
        if (out.entries.empty()) return error("a name is expected");
        rest_.remove_prefix(1);
        continue;
      }
      HclEntry entry;
      entry.line = line_;
      auto name = read_name();
      if (!name) return fail(name.error());
      entry.name = std::move(*name);
      if (auto ok = read_value(entry, out.mistakes); !ok) return fail(ok.error());
      if (++items_ > kMaxHclItems) return error("there are too many settings");
      const auto same = [&](const HclEntry& other) { return other.name == entry.name; };
      if (std::any_of(out.entries.begin(), out.entries.end(), same)) {
        out.mistakes.push_back(at_line(entry.line) + entry.name + " is set twice");
        continue;
      }
      out.entries.push_back(std::move(entry));
    }
  }

 private:
  static std::string at_line(size_t line) { return "line " + std::to_string(line) + ": "; }
  tl::unexpected<Error> error(std::string_view what) const {
    return fail(Code::kInvalid, at_line(line_) + std::string(what));
  }

  // Spaces, newlines and comments; false for a comment without its end.
  bool skip_space() {
    while (!rest_.empty()) {
      const char c = rest_.front();
      if (c == ' ' || c == '\t' || c == '\r' || c == '\n') {
        if (c == '\n') ++line_;
        rest_.remove_prefix(1);
      } else if (c == '#' || rest_.starts_with("//")) {
        rest_.remove_prefix(std::min(rest_.find('\n'), rest_.size()));
      } else if (rest_.starts_with("/*")) {
        const size_t end = rest_.find("*/", 2);
        if (end == std::string_view::npos) return false;
        line_ += static_cast<size_t>(
            std::count(rest_.begin(), rest_.begin() + static_cast<ptrdiff_t>(end), '\n'));
        rest_.remove_prefix(end + 2);
      } else {
        return true;
      }
    }
    return true;
  }

  Result<std::string> read_name() {
    if (rest_.front() == '"') {
      auto raw = read_quoted();
      if (!raw) return fail(raw.error());
      if (raw->size() > kMaxHclName) return error("a name is too long");
      return HclScalar(HclScalar::Kind::kText, *raw).text();
    }
    size_t length = 0;
    while (length < rest_.size() &&
           (is_alnum(rest_[length]) || rest_[length] == '_' ||
            (length > 0 && (rest_[length] == '-' || rest_[length] == '.'))))
      ++length;
    if (length == 0 || is_digit(rest_.front())) return error("a name is expected");
    if (length > kMaxHclName) return error("a name is too long");
    std::string name(rest_.substr(0, length));
    rest_.remove_prefix(length);
    return name;
  }

  // A text in quotes: what is between them, whose escapes are right.
  Result<std::string_view> read_quoted() {
    for (size_t at = 1; at < rest_.size();) {
      const char c = rest_[at];
      if (c == '"') {
        const std::string_view raw = rest_.substr(1, at - 1);
        rest_.remove_prefix(at + 1);
        return raw;
      }
      if (c == '\n') return error("a text has no closing quote on its line");
      if (static_cast<unsigned char>(c) < 0x20 && c != '\t') {
        return error("a text holds a control character; write it as an escape");
      }
      size_t taken = 1;
      if (c == '\\') {
        char out[4];
        size_t size = 0;
        taken = read_escape(rest_.substr(at), out, size);
        if (taken == 0) return error("a text holds an escape that is none");
      }
      at += taken;
    }
    return error("a text has no closing quote");
  }

  Result<HclScalar> read_scalar() {
    if (rest_.empty()) return error("a value is expected");
    if (rest_.front() == '"') {
      auto raw = read_quoted();
      if (!raw) return fail(raw.error());
      return HclScalar(HclScalar::Kind::kText, *raw);
    }
    if (rest_.starts_with("<<")) return error("texts over several lines (<<) are not understood");
    if (rest_.front() == '[' || rest_.front() == '{') {
      return error("lists and maps within others are not understood");
    }
    size_t length = 0;
    while (length < rest_.size() && (is_alnum(rest_[length]) || rest_[length] == '.' ||
                                     rest_[length] == '-' || rest_[length] == '+'))
      ++length;
    const std::string_view word = rest_.substr(0, length);
    const bool is_bool = word == "true" || word == "false";
    if (!is_bool && !is_number(word)) {
      return error("a text in quotes, a number, true or false is expected");
    }
    rest_.remove_prefix(length);
    return HclScalar(is_bool ? HclScalar::Kind::kBool : HclScalar::Kind::kNumber, word);
  }

  static bool is_number(std::string_view word) {
    if (word.starts_with('-')) word.remove_prefix(1);
    const size_t point = std::min(word.find('.'), word.size());
    const auto digits = [](std::string_view part) {
      return !part.empty() &&
             std::all_of(part.begin(), part.end(), [](char c) { return is_digit(c); });
    };
    return digits(word.substr(0, point)) &&
           (point == word.size() || digits(word.substr(point + 1)));
  }

  Result<void> read_value(HclEntry& entry, std::vector<std::string>& mistakes) {
    if (!skip_space()) return error("a comment has no end");
    const bool assigned = !rest_.empty() && rest_.front() == '=';
    if (assigned) {
      rest_.remove_prefix(1);
      if (!skip_space()) return error("a comment has no end");
    }
    if (rest_.empty() || (!assigned && rest_.front() != '{')) {
      return error(entry.name + ": = is expected after a name");
    }
    if (rest_.front() == '{') return read_map(entry, mistakes);
    if (rest_.front() == '[') return read_list(entry);
    auto scalar = read_scalar();
    if (!scalar) return fail(scalar.error());
    entry.scalar = *scalar;
    return {};
  }

  Result<void> read_list(HclEntry& entry) {
    entry.kind = HclEntry::Kind::kList;
    rest_.remove_prefix(1);
    for (bool comma = true;; comma = false) {
      if (!skip_space()) return error("a comment has no end");
      if (rest_.empty()) return error("a list has no closing ]");
      if (rest_.front() == ']') break;
      if (rest_.front() == ',' && !comma) {
        rest_.remove_prefix(1);
        if (!skip_space()) return error("a comment has no end");
        if (rest_.empty()) return error("a list has no closing ]");
        if (rest_.front() == ']') break;
      } else if (!comma) {
        return error("a comma or ] is expected");
      }
      auto scalar = read_scalar();
      if (!scalar) return fail(scalar.error());
      if (++items_ > kMaxHclItems) return error("there are too many settings");
      entry.list.push_back(*scalar);
    }
    rest_.remove_prefix(1);
    return {};
  }

  Result<void> read_map(HclEntry& entry, std::vector<std::string>& mistakes) {
    entry.kind = HclEntry::Kind::kMap;
    rest_.remove_prefix(1);
    for (;;) {
      if (!skip_space()) return error("a comment has no end");
      if (rest_.empty()) return error("a map has no closing }");
      if (rest_.front() == '}') break;
      if (rest_.front() == ',' && !entry.map.empty()) {
        rest_.remove_prefix(1);
        continue;
      }
      const size_t line = line_;
      auto name = read_name();
      if (!name) return fail(name.error());
      if (!skip_space()) return error("a comment has no end");
      if (rest_.empty() || rest_.front() != '=') {
        return error(entry.name + ": = is expected after a name");
      }
      rest_.remove_prefix(1);
      if (!skip_space()) return error("a comment has no end");
      auto scalar = read_scalar();
      if (!scalar) return fail(scalar.error());
      if (++items_ > kMaxHclItems) return error("there are too many settings");
      const auto same = [&](const auto& other) { return other.first == *name; };
      if (std::any_of(entry.map.begin(), entry.map.end(), same)) {
        mistakes.push_back(at_line(line) + *name + " is set twice in " + entry.name);
        continue;
      }
      entry.map.emplace_back(std::move(*name), *scalar);
    }
    rest_.remove_prefix(1);
    return {};
  }

  std::string_view rest_;
  size_t line_ = 1;
  size_t items_ = 0;
};

}  // namespace

std::string HclScalar::text() const {
  if (kind_ != Kind::kText) return std::string(raw_);
  std::string out(raw_.size(), '\0');
  out.resize(decode_text(raw_, out.data()));
  return out;
}

Result<SecretBytes> HclScalar::secret(SecretArena& arena) const {
  if (raw_.empty()) return SecretBytes();
  auto out = arena.allocate(raw_.size());
  if (!out) return fail(out.error());
  out->truncate(decode_text(raw_, reinterpret_cast<char*>(out->reveal_mutable().data())));
  return out;
}

Result<HclDocument> parse_hcl(std::string_view text) {
  if (text.size() > kMaxHcl) return fail(Code::kInvalid, "is longer than 256 KiB");
  return HclParser(text).run();
}

}  // namespace keyfs
