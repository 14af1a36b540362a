#include "fs/spire/wire.h"

namespace keyfs {
namespace {

void put_varint(std::string& message, uint64_t value) {
  for (; value >= 0x80; value >>= 7) message += static_cast<char>(value | 0x80);
  message += static_cast<char>(value);
}

// The length of the sequence that `text` begins with (RFC 3629); 0 if it is none.
size_t utf8_length(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned first = byte(0);
  if (first < 0x80) return 1;
  if (first < 0xc2 || first > 0xf4) return 0;
  const size_t length = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  if (text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  const unsigned second = byte(1);
  const bool overlong = (first == 0xe0 && second < 0xa0) || (first == 0xf0 && second < 0x90);
  const bool beyond = (first == 0xed && second >= 0xa0) || (first == 0xf4 && second >= 0x90);
  return overlong || beyond ? 0 : length;
}

}  // namespace

bool WireReader::varint(uint64_t& value) {
  value = 0;
  for (unsigned shift = 0; shift < 64 && !rest_.empty(); shift += 7) {
    const auto byte = static_cast<unsigned char>(rest_.front());
    rest_.remove_prefix(1);
    value |= static_cast<uint64_t>(byte & 0x7f) << shift;
    if (byte < 0x80) return true;
  }
  return ok_ = false;
}

bool WireReader::skip(size_t bytes) {
  if (bytes > rest_.size()) return ok_ = false;
  bytes_ = rest_.substr(0, bytes);
  rest_.remove_prefix(bytes);
  return true;
}

bool WireReader::next() {
  if (!ok_ || rest_.empty()) return false;
  uint64_t tag = 0;
  if (!varint(tag)) return false;
  if (tag >> 3 == 0 || tag >> 3 > 0x1fffffff) return ok_ = false;
  field_ = static_cast<uint32_t>(tag >> 3);
  kind_ = static_cast<unsigned>(tag & 7);
  bytes_ = {};
  number_ = 0;
  switch (kind_) {
    case 0:
      return varint(number_);
    case 1:
      return skip(8);
    case 2: {
      uint64_t length = 0;
      return varint(length) && skip(length);
    }
    case 5:
      return skip(4);
    default:  // groups, which proto3 has none of
      return ok_ = false;
  }
}

void put_number(std::string& message, uint32_t field, uint64_t number) {
  if (number == 0) return;
  put_varint(message, uint64_t{field} << 3);
  put_varint(message, number);
}

void put_element(std::string& message, uint32_t field, std::string_view bytes) {
  put_varint(message, uint64_t{field} << 3 | 2);
  put_varint(message, bytes.size());
  message += bytes;
}

void put_bytes(std::string& message, uint32_t field, std::string_view bytes) {
  if (!bytes.empty()) put_element(message, field, bytes);
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const size_t length = utf8_length(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

}  // namespace keyfs
