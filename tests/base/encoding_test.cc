#include "base/encoding.h"

#include <gtest/gtest.h>

#include <numeric>

namespace keyfs {
namespace {

std::string text_of(std::span<const uint8_t> bytes) { return {bytes.begin(), bytes.end()}; }

TEST(Base64, rfc_4648_section_10) {
  const std::pair<const char*, const char*> vectors[] = {{"", ""},
                                                         {"f", "Zg=="},
                                                         {"fo", "Zm8="},
                                                         {"foo", "Zm9v"},
                                                         {"foob", "Zm9vYg=="},
                                                         {"fooba", "Zm9vYmE="},
                                                         {"foobar", "Zm9vYmFy"}};
  SecretArena arena;
  for (const auto& [plain, encoded] : vectors) {
    EXPECT_EQ(base64_encode(plain), encoded);
    EXPECT_EQ(text_of(*base64_decode(encoded)), plain);
    const auto secret = base64_decode_secret(arena, encoded);
    ASSERT_TRUE(secret);
    EXPECT_EQ(secret->reveal_text(), plain);
    EXPECT_EQ(base64_encode_secret(arena, secret->reveal())->reveal_text(), encoded);
  }
}

TEST(Base64, every_byte_and_every_length_come_back) {
  std::vector<uint8_t> bytes(256);
  std::iota(bytes.begin(), bytes.end(), uint8_t{0});
  for (size_t length = 0; length <= bytes.size(); ++length) {
    const auto part = std::span(bytes).last(length);
    const std::string text = base64_encode(part);
    EXPECT_EQ(text.size(), base64_size(length));
    EXPECT_EQ(*base64_decode(text), std::vector<uint8_t>(part.begin(), part.end()));
  }
  // All 64 characters, in order.
  const std::string alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  EXPECT_EQ(base64_encode(*base64_decode(alphabet)), alphabet);
}

TEST(Base64, only_what_encoding_writes_is_decoded) {
  SecretArena arena;
  for (const std::string_view bad :
       {"A", "AA", "AAA", "A===", "====", "=", "AA=A", "A=AA", "Zg==Zg==", "Zm8=Zm8=", "Zg==\n",
        "Zm9v\n", " Zm9", "Zm 9", "Zm-_", "Zm9*", "AAA=AAAA", "\xffm9v", "Zm9\x80",
        // stray bits in the last character
        "Zh==", "Zm9=", "AB==", "AAB=", "//==", "///="}) {
    const auto decoded = base64_decode(bad);
    ASSERT_FALSE(decoded) << bad;
    EXPECT_EQ(decoded.error().code, Code::kInvalid);
    EXPECT_EQ(decoded.error().message.find(bad), std::string::npos);
    EXPECT_FALSE(base64_decode_secret(arena, bad)) << bad;
  }
  EXPECT_FALSE(base64_decode(std::string_view("Zm9\0", 4)));
  EXPECT_EQ(arena.usage().secrets, 0u);
}

TEST(Base64, of_all_characters_only_64_are_taken) {
  int taken = 0;
  for (int c = 0; c < 256; ++c) {
    const std::string text = {'A', 'A', 'A', static_cast<char>(c)};
    if (const auto decoded = base64_decode(text)) {
      ++taken;
      EXPECT_EQ(base64_encode(*decoded), text);
    }
  }
  EXPECT_EQ(taken, 65);  // and "=", which ends two bytes
}

TEST(Hex, both_ways) {
  const std::vector<uint8_t> bytes = {0x00, 0x01, 0x7f, 0x80, 0xab, 0xff};
  EXPECT_EQ(hex_encode(bytes), "00017f80abff");
  EXPECT_EQ(*hex_decode("00017F80aBff"), bytes);
  EXPECT_TRUE(hex_decode("")->empty());
  for (const char* bad : {"0", "0g", "g0", "0x", " 0", "0 ", "-1"}) EXPECT_FALSE(hex_decode(bad));
}

TEST(PercentEncoding, only_unreserved_characters_stay) {
  EXPECT_EQ(percent_encode("AZaz09-._~"), "AZaz09-._~");
  EXPECT_EQ(percent_encode("a b/c+d=e%\xc3\xa9"), "a%20b%2Fc%2Bd%3De%25%C3%A9");
  EXPECT_EQ(percent_encode("/a b/c", /*keep_slash=*/true), "/a%20b/c");
  EXPECT_EQ(percent_encode(std::string_view("\0\n", 2)), "%00%0A");
}

TEST(PercentEncoding, decoding_is_strict) {
  EXPECT_EQ(*percent_decode("a%20b%2fc%2Bd+e"), "a b/c+d+e");
  for (const char* bad : {"%", "a%", "a%2", "%2", "%zz", "%2z", "%%20"}) {
    EXPECT_FALSE(percent_decode(bad)) << bad;
  }
  std::string all;
  for (int c = 0; c < 256; ++c) all += static_cast<char>(c);
  EXPECT_EQ(*percent_decode(percent_encode(all)), all);
}

}  // namespace
}  // namespace keyfs
