#include "base/siphash.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>

#include "support/fake_random.h"

namespace keyfs {
namespace {

// Of the reference implementation (github.com/veorq/SipHash, vectors.h): the key is 00 01 .. 0f, the
// text 00 01 .. of that many bytes.
TEST(SipHash, gives_what_the_reference_gives) {
  const SipHash hash(0x0706050403020100u, 0x0f0e0d0c0b0a0908u);
  std::string text;
  const auto next = [&] { text += static_cast<char>(text.size()); };
  for (const uint64_t expected :
       {0x726fdb47dd0e0e31u, 0x74f839c593dc67fdu, 0x0d6c8009d9a94f5au, 0x85676696d7fb7e2du,
        0xcf2794e0277187b7u, 0x18765564cd99a68du, 0xcbc9466e58fee3ceu, 0xab0200f58b01d137u,
        0x93f5f5799a932462u, 0x9e0082df0ba9e4b0u, 0x7a5dbbc594ddb9f3u, 0xf4b32f46226bada7u,
        0x751e8fbc860ee5fbu, 0x14ea5627c0843d90u, 0xf723ca908e7af2eeu, 0xa129ca6149be45e5u}) {
    EXPECT_EQ(hash(text), expected) << text.size();
    next();
  }
}

TEST(SipHash, its_key_comes_from_the_random_source_whole) {
  FixedRandom fixed({0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15});
  const auto hash = SipHash::random(fixed);
  ASSERT_TRUE(hash);
  EXPECT_EQ((*hash)(""), 0x726fdb47dd0e0e31u);
  BrokenRandom broken;
  EXPECT_FALSE(SipHash::random(broken));
}

}  // namespace
}  // namespace keyfs
