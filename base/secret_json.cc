#include "base/secret_json.h"

#include <cctype>
#include <cstdint>
#include <cstring>

namespace keyfs {
namespace {

constexpr int kMaxDepth = 32;
constexpr size_t kMaxMembers = 256;

// Walks over a JSON text and checks its syntax; callers get positions of what was passed.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  size_t at() const { return at_; }
  bool done() const { return at_ == text_.size(); }
  void blanks() {
    while (!done() && (peek() == ' ' || peek() == '\t' || peek() == '\n' || peek() == '\r')) ++at_;
  }
  bool take(char c) {
    if (done() || peek() != c) return false;
    ++at_;
    return true;
  }
  bool string() {
    if (!take('"')) return false;
    while (!done()) {
      const unsigned char c = static_cast<unsigned char>(text_[at_++]);
      if (c == '"') return true;
      if (c < 0x20) return false;
      if (c != '\\') continue;
      if (done()) return false;
      const char escaped = text_[at_++];
      if (escaped == 'u') {
        for (int i = 0; i < 4; ++i) {
          if (done() || !std::isxdigit(static_cast<unsigned char>(text_[at_++]))) return false;
        }
      } else if (std::strchr("\"\\/bfnrt", escaped) == nullptr || escaped == 0) {
        return false;
      }
    }
    return false;
  }
  bool value(int depth = 0) {
    if (depth > kMaxDepth || done()) return false;
    switch (peek()) {
      case '"':
        return string();
      case '{':
        return list('{', '}', depth, true);
      case '[':
        return list('[', ']', depth, false);
      case 't':
        return word("true");
      case 'f':
        return word("false");
      case 'n':
        return word("null");
      default:
        return number();
    }
  }

 private:
  char peek() const { return text_[at_]; }
  bool word(std::string_view expected) {
    if (text_.substr(at_, expected.size()) != expected) return false;
    at_ += expected.size();
    return true;
  }
  bool digits() {
    const size_t begin = at_;
    while (!done() && std::isdigit(static_cast<unsigned char>(peek()))) ++at_;
    return at_ > begin;
  }
  bool number() {
    take('-');
    if (!take('0') && !digits()) return false;
    if (take('.') && !digits()) return false;
    if (take('e') || take('E')) {
      if (!take('+')) take('-');
      return digits();
    }
    return true;
  }
  bool list(char open, char close, int depth, bool named) {
    take(open);
    blanks();
    if (take(close)) return true;
    do {
      blanks();
      if (named) {
        if (!string()) return false;
        blanks();
        if (!take(':')) return false;
        blanks();
      }
      if (!value(depth + 1)) return false;
      blanks();
    } while (take(','));
    return take(close);
  }

  std::string_view text_;
  size_t at_ = 0;
};

unsigned hex4(std::string_view digits) {
  unsigned out = 0;
  for (const char c : digits.substr(0, 4)) {
    const auto digit = static_cast<unsigned char>(c);
    out = out * 16 +
          static_cast<unsigned>(std::isdigit(digit) ? digit - '0' : std::tolower(digit) - 'a' + 10);
  }
  return out;
}

// Writes the decoded form of a well-formed string (without its quotes); never longer than the
// string. Returns the size, or nullopt for a lone surrogate.
std::optional<size_t> unescape(std::string_view text, char* out) {
  size_t size = 0;
  while (!text.empty()) {
    if (text[0] != '\\') {
      out[size++] = text[0];
      text.remove_prefix(1);
      continue;
    }
    const char escaped = text[1];
    text.remove_prefix(2);
    switch (escaped) {
      case 'b':
        out[size++] = '\b';
        continue;
      case 'f':
        out[size++] = '\f';
        continue;
      case 'n':
        out[size++] = '\n';
        continue;
      case 'r':
        out[size++] = '\r';
        continue;
      case 't':
        out[size++] = '\t';
        continue;
      case 'u':
        break;
      default:
        out[size++] = escaped;
        continue;
    }
    uint32_t point = hex4(text);
    text.remove_prefix(4);
    if (point >= 0xd800 && point < 0xe000) {
      if (point >= 0xdc00 || text.size() < 6 || text[0] != '\\' || text[1] != 'u')
        return std::nullopt;
      const uint32_t low = hex4(text.substr(2));
      if (low < 0xdc00 || low >= 0xe000) return std::nullopt;
      text.remove_prefix(6);
      point = 0x10000 + ((point - 0xd800) << 10) + (low - 0xdc00);
    }
    const auto put = [&](uint32_t byte) { out[size++] = static_cast<char>(byte); };
    if (point < 0x80) {
      put(point);
    } else if (point < 0x800) {
      put(0xc0 | point >> 6);
      put(0x80 | (point & 0x3f));
    } else if (point < 0x10000) {
      put(0xe0 | point >> 12);
      put(0x80 | (point >> 6 & 0x3f));
      put(0x80 | (point & 0x3f));
    } else {
      put(0xf0 | point >> 18);
      put(0x80 | (point >> 12 & 0x3f));
      put(0x80 | (point >> 6 & 0x3f));
      put(0x80 | (point & 0x3f));
    }
  }
  return size;
}

tl::unexpected<Error> not_json() { return fail(Code::kCorrupt, "not a JSON object"); }

}  // namespace

Result<SecretJson> SecretJson::parse(std::string_view text) {
  SecretJson out;
  Scanner scanner(text);
  scanner.blanks();
  if (!scanner.take('{')) return not_json();
  scanner.blanks();
  if (!scanner.take('}')) {
    do {
      scanner.blanks();
      const size_t name = scanner.at();
      if (!scanner.string()) return not_json();
      const size_t name_end = scanner.at();
      scanner.blanks();
      if (!scanner.take(':')) return not_json();
      scanner.blanks();
      const size_t value = scanner.at();
      if (!scanner.value()) return not_json();
      if (out.members_.size() == kMaxMembers) {
        return fail(Code::kCorrupt, "the JSON object has too many members");
      }
      out.members_.push_back(
          {text.substr(name + 1, name_end - name - 2), text.substr(value, scanner.at() - value)});
      scanner.blanks();
    } while (scanner.take(','));
    if (!scanner.take('}')) return not_json();
  }
  scanner.blanks();
  if (!scanner.done()) return not_json();
  for (size_t i = 0; i < out.members_.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      if (out.members_[i].name == out.members_[j].name) {
        return fail(Code::kCorrupt, "the JSON object has a duplicate member");
      }
    }
  }
  return out;
}

const SecretJson::Member* SecretJson::find(std::string_view name) const {
  for (const Member& member : members_) {
    if (member.name == name) return member.value == "null" ? nullptr : &member;
  }
  return nullptr;
}

std::optional<std::string_view> SecretJson::raw(std::string_view name) const {
  const Member* member = find(name);
  if (member == nullptr) return std::nullopt;
  return member->value;
}

Result<std::optional<SecretBytes>> SecretJson::secret(SecretArena& arena,
                                                      std::string_view name) const {
  const Member* member = find(name);
  if (member == nullptr) return std::nullopt;
  if (member->value.front() != '"') {
    return fail(Code::kCorrupt, std::string(name) + " is not a string");
  }
  const std::string_view inside = member->value.substr(1, member->value.size() - 2);
  auto out = arena.allocate(inside.size());
  if (!out) return fail(out.error());
  const auto size = unescape(inside, reinterpret_cast<char*>(out->reveal_mutable().data()));
  if (!size) return fail(Code::kCorrupt, std::string(name) + " is not valid Unicode");
  out->truncate(*size);
  return std::move(*out);
}

Result<std::optional<std::string>> SecretJson::string(std::string_view name) const {
  const Member* member = find(name);
  if (member == nullptr) return std::nullopt;
  if (member->value.front() != '"') {
    return fail(Code::kCorrupt, std::string(name) + " is not a string");
  }
  const std::string_view inside = member->value.substr(1, member->value.size() - 2);
  std::string out(inside.size(), '\0');
  const auto size = unescape(inside, out.data());
  if (!size) return fail(Code::kCorrupt, std::string(name) + " is not valid Unicode");
  out.resize(*size);
  return out;
}

}  // namespace keyfs
