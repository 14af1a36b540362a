// Protocol Buffers' wire format, as far as the messages of fs/spire/messages.h need it.
//   https://protobuf.dev/programming-guides/encoding/
//
// Thread-safety: plain values. Ownership: a reader refers to the text that it reads. Blocking:
// never. Errors: ok() is false for what is no message; a field of a kind that nobody expects is
// skipped, as an unknown one.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace keyfs {

class WireReader {
 public:
  explicit WireReader(std::string_view message) : rest_(message) {}

  // The next field; false at the end, and for what is no message.
  bool next();
  bool ok() const { return ok_; }

  uint32_t field() const { return field_; }
  // Numbers and enums (varint); texts, bytes and messages.
  bool is_number() const { return kind_ == 0; }
  bool is_bytes() const { return kind_ == 2; }
  uint64_t number() const { return number_; }
  std::string_view bytes() const { return bytes_; }

 private:
  bool varint(uint64_t& value);
  bool skip(size_t bytes);

  std::string_view rest_;
  bool ok_ = true;
  uint32_t field_ = 0;
  unsigned kind_ = 0;
  uint64_t number_ = 0;
  std::string_view bytes_;
};

// Appends one field; a number of 0 and empty bytes are left out, as proto3 does.
void put_number(std::string& message, uint32_t field, uint64_t number);
void put_bytes(std::string& message, uint32_t field, std::string_view bytes);
// Also if it is empty: a message in a message, or an element of a list.
void put_element(std::string& message, uint32_t field, std::string_view bytes);

// What a proto3 string may hold.
bool is_utf8(std::string_view text);

}  // namespace keyfs
