// Base64, hex and percent-encoding.
//
// Thread-safety: plain functions. Blocking: never. Errors: Code::kInvalid; the message never quotes
// the text, which may be secret.
//
// Base64: RFC 4648 section 4, the standard alphabet with padding, and nothing else. Decoding
// accepts only what encoding would have written: no white space, no missing padding, no stray bits
// in the last character. So every text has one value and every value one text. There, and in what is
// for secrets, no branch or table look-up depends on characters or bytes: the time taken reveals only
// the length.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/secret.h"

namespace keyfs {

// Characters for so many bytes.
constexpr size_t base64_size(size_t bytes) { return (bytes + 2) / 3 * 4; }

std::string base64_encode(std::span<const uint8_t> bytes);
std::string base64_encode(std::string_view bytes);
Result<std::vector<uint8_t>> base64_decode(std::string_view text);

// For secrets: the result is the only copy. Also SecretArena::allocate()'s errors.
Result<SecretBytes> base64_encode_secret(SecretArena& arena, std::span<const uint8_t> bytes);
Result<SecretBytes> base64_decode_secret(SecretArena& arena, std::string_view text);
Result<SecretBytes> hex_encode_secret(SecretArena& arena, std::span<const uint8_t> bytes);

std::string hex_encode(std::span<const uint8_t> bytes);          // lower case
Result<std::vector<uint8_t>> hex_decode(std::string_view text);  // either case

// RFC 3986: everything but A-Z a-z 0-9 - . _ ~ becomes %XX, in upper case. With keep_slash "/"
// stays as well, for paths. This is also what AWS calls UriEncode (SigV4).
std::string percent_encode(std::string_view text, bool keep_slash = false);
// An incomplete or malformed %XX is an error; "+" is a plus.
Result<std::string> percent_decode(std::string_view text);

}  // namespace keyfs
