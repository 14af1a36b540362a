#include "base/encoding.h"

#include <algorithm>

namespace keyfs {
namespace {

// 0xff if low <= value <= high, else 0, without a branch. All of them are below 2^16.
uint32_t within(uint32_t value, uint32_t low, uint32_t high) {
  return ~(((value - low) | (high - value)) >> 24) & 0xff;
}

char to_character(uint32_t six_bits) {
  const uint32_t c = (within(six_bits, 0, 25) & (six_bits + 'A')) |
                     (within(six_bits, 26, 51) & (six_bits - 26 + 'a')) |
                     (within(six_bits, 52, 61) & (six_bits - 52 + '0')) |
                     (within(six_bits, 62, 62) & '+') | (within(six_bits, 63, 63) & '/');
  return static_cast<char>(c);
}

// The six bits, with bit 8 set if the character is not in the alphabet.
uint32_t from_character(char character) {
  const uint32_t c = static_cast<unsigned char>(character);
  const uint32_t upper = within(c, 'A', 'Z');
  const uint32_t lower = within(c, 'a', 'z');
  const uint32_t digit = within(c, '0', '9');
  const uint32_t plus = within(c, '+', '+');
  const uint32_t slash = within(c, '/', '/');
  const uint32_t bits = (upper & (c - 'A')) | (lower & (c - 'a' + 26)) | (digit & (c - '0' + 52)) |
                        (plus & 62) | (slash & 63);
  const uint32_t known = upper | lower | digit | plus | slash;
  return bits | ((known ^ 0xff) << 1 & 0x100);
}

void encode(std::span<const uint8_t> bytes, char* out) {
  size_t i = 0;
  for (; i + 3 <= bytes.size(); i += 3) {
    const uint32_t group = uint32_t{bytes[i]} << 16 | uint32_t{bytes[i + 1]} << 8 | bytes[i + 2];
    *out++ = to_character(group >> 18);
    *out++ = to_character(group >> 12 & 63);
    *out++ = to_character(group >> 6 & 63);
    *out++ = to_character(group & 63);
  }
  const size_t rest = bytes.size() - i;
  if (rest == 0) return;
  const uint32_t group =
      uint32_t{bytes[i]} << 16 | (rest == 2 ? uint32_t{bytes[i + 1]} << 8 : uint32_t{0});
  *out++ = to_character(group >> 18);
  *out++ = to_character(group >> 12 & 63);
  *out++ = rest == 2 ? to_character(group >> 6 & 63) : '=';
  *out++ = '=';
}

// How many bytes the text encodes, from its length and padding.
Result<size_t> decoded_size(std::string_view text) {
  if (text.size() % 4 != 0) return fail(Code::kInvalid, "the base64 text is truncated");
  size_t padding = 0;
  if (text.ends_with("==")) {
    padding = 2;
  } else if (text.ends_with('=')) {
    padding = 1;
  }
  return text.size() / 4 * 3 - padding;
}

// `out` has the size from decoded_size().
Result<void> decode(std::string_view text, std::span<uint8_t> out) {
  uint32_t wrong = 0;
  size_t at = 0;
  for (size_t i = 0; i < text.size(); i += 4) {
    const size_t here = std::min<size_t>(3, out.size() - at);  // 3, or less in the last group
    uint32_t group = 0;
    for (size_t j = 0; j < 4; ++j) {
      const uint32_t bits = j <= here ? from_character(text[i + j]) : 0;
      wrong |= bits & 0x100;
      group = group << 6 | (bits & 63);
    }
    for (size_t j = 0; j < here; ++j) out[at++] = static_cast<uint8_t>(group >> (16 - 8 * j));
    if (here == 2) wrong |= group & 0xff;  // bits that are not part of any byte
    if (here == 1) wrong |= group & 0xffff;
  }
  if (wrong != 0) return fail(Code::kInvalid, "the text is not base64");
  return {};
}

constexpr std::string_view kHexDigits = "0123456789abcdef";

// The value of a hex digit, or 16.
uint32_t hex_value(char c) {
  if (c >= '0' && c <= '9') return static_cast<uint32_t>(c - '0');
  if (c >= 'a' && c <= 'f') return static_cast<uint32_t>(c - 'a' + 10);
  if (c >= 'A' && c <= 'F') return static_cast<uint32_t>(c - 'A' + 10);
  return 16;
}

bool is_unreserved(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '.' || c == '_' || c == '~';
}

}  // namespace

std::string base64_encode(std::span<const uint8_t> bytes) {
  std::string text(base64_size(bytes.size()), '\0');
  encode(bytes, text.data());
  return text;
}

std::string base64_encode(std::string_view bytes) {
  return base64_encode(std::span(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()));
}

Result<std::vector<uint8_t>> base64_decode(std::string_view text) {
  const auto size = decoded_size(text);
  if (!size) return fail(size.error());
  std::vector<uint8_t> bytes(*size);
  if (auto done = decode(text, bytes); !done) return fail(done.error());
  return bytes;
}

Result<SecretBytes> base64_encode_secret(SecretArena& arena, std::span<const uint8_t> bytes) {
  auto text = arena.allocate(base64_size(bytes.size()));
  if (!text) return text;
  encode(bytes, reinterpret_cast<char*>(text->reveal_mutable().data()));
  return text;
}

Result<SecretBytes> base64_decode_secret(SecretArena& arena, std::string_view text) {
  const auto size = decoded_size(text);
  if (!size) return fail(size.error());
  auto bytes = arena.allocate(*size);
  if (!bytes) return bytes;
  if (auto done = decode(text, bytes->reveal_mutable()); !done) return fail(done.error());
  return bytes;
}

Result<SecretBytes> hex_encode_secret(SecretArena& arena, std::span<const uint8_t> bytes) {
  auto text = arena.allocate(2 * bytes.size());
  if (!text) return text;
  const auto digit = [](uint32_t four_bits) {
    const uint32_t letter = within(four_bits, 10, 15);
    return static_cast<uint8_t>((letter & (four_bits - 10 + 'a')) |
                                (~letter & 0xff & (four_bits + '0')));
  };
  auto out = text->reveal_mutable();
  for (size_t i = 0; i < bytes.size(); ++i) {
    out[2 * i] = digit(bytes[i] >> 4);
    out[2 * i + 1] = digit(bytes[i] & 15);
  }
  return text;
}

std::string hex_encode(std::span<const uint8_t> bytes) {
  std::string text;
  text.reserve(2 * bytes.size());
  for (const uint8_t byte : bytes) {
    text += kHexDigits[byte >> 4];
    text += kHexDigits[byte & 15];
  }
  return text;
}

Result<std::vector<uint8_t>> hex_decode(std::string_view text) {
  if (text.size() % 2 != 0) return fail(Code::kInvalid, "the hex text has an odd length");
  std::vector<uint8_t> bytes(text.size() / 2);
  for (size_t i = 0; i < bytes.size(); ++i) {
    const uint32_t high = hex_value(text[2 * i]);
    const uint32_t low = hex_value(text[2 * i + 1]);
    if (high > 15 || low > 15) return fail(Code::kInvalid, "the text is not hex");
    bytes[i] = static_cast<uint8_t>(high << 4 | low);
  }
  return bytes;
}

std::string percent_encode(std::string_view text, bool keep_slash) {
  constexpr std::string_view kUpper = "0123456789ABCDEF";
  std::string encoded;
  encoded.reserve(text.size());
  for (const char c : text) {
    if (is_unreserved(c) || (keep_slash && c == '/')) {
      encoded += c;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      encoded += '%';
      encoded += kUpper[byte >> 4];
      encoded += kUpper[byte & 15];
    }
  }
  return encoded;
}

Result<std::string> percent_decode(std::string_view text) {
  std::string decoded;
  decoded.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      decoded += text[i];
      continue;
    }
    const uint32_t high = i + 2 < text.size() ? hex_value(text[i + 1]) : 16;
    const uint32_t low = i + 2 < text.size() ? hex_value(text[i + 2]) : 16;
    if (high > 15 || low > 15) {
      return fail(Code::kInvalid, "the percent-encoded text has a \"%\" without two hex digits");
    }
    decoded += static_cast<char>(high << 4 | low);
    i += 2;
  }
  return decoded;
}

}  // namespace keyfs
