#include "base/crypto.h"

#include <gtest/gtest.h>

#include <numeric>
#include <set>

#include "base/encoding.h"
#include "support/fake_random.h"

namespace keyfs {
namespace {

std::vector<uint8_t> hex(std::string_view text) { return *hex_decode(text); }
std::string hex(std::span<const uint8_t> bytes) { return hex_encode(bytes); }
std::vector<uint8_t> times(size_t count, uint8_t byte) { return std::vector<uint8_t>(count, byte); }

TEST(Sha256, fips_180_4_examples) {
  EXPECT_EQ(hex(*sha256(bytes_of("abc"))),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(hex(*sha256({})), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(hex(*sha256(bytes_of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"))),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

TEST(HmacSha256, rfc_4231_test_cases) {
  std::vector<uint8_t> counting(25);
  std::iota(counting.begin(), counting.end(), uint8_t{1});
  EXPECT_EQ(hex(*hmac_sha256(times(20, 0x0b), bytes_of("Hi There"))),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
  EXPECT_EQ(hex(*hmac_sha256(bytes_of("Jefe"), bytes_of("what do ya want for nothing?"))),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  EXPECT_EQ(hex(*hmac_sha256(times(20, 0xaa), times(50, 0xdd))),
            "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe");
  EXPECT_EQ(hex(*hmac_sha256(counting, times(50, 0xcd))),
            "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b");
  EXPECT_EQ(hex(*hmac_sha256(times(20, 0x0c), bytes_of("Test With Truncation"))).substr(0, 32),
            "a3b6167473100ee06e0c796c2955552b");
  EXPECT_EQ(hex(*hmac_sha256(times(131, 0xaa),
                             bytes_of("Test Using Larger Than Block-Size Key - Hash Key First"))),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
  EXPECT_EQ(hex(*hmac_sha256(
                times(131, 0xaa),
                bytes_of("This is a test using a larger than block-size key and a larger than "
                         "block-size data. The key needs to be hashed before being used by the "
                         "HMAC algorithm."))),
            "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2");
}

TEST(HmacSha256, nothing_under_an_empty_key_has_a_mac) {
  EXPECT_EQ(hex(*hmac_sha256({}, {})),
            "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

TEST(ConstantTimeEqual, compares_sizes_and_bytes) {
  EXPECT_TRUE(constant_time_equal(bytes_of("abc"), bytes_of("abc")));
  EXPECT_FALSE(constant_time_equal(bytes_of("abc"), bytes_of("abd")));
  EXPECT_FALSE(constant_time_equal(bytes_of("abc"), bytes_of("ab")));
  EXPECT_TRUE(constant_time_equal({}, {}));
}

// Test cases 13 to 16 of "The Galois/Counter Mode of Operation" (McGrew, Viega), as submitted to
// NIST: those with 256-bit keys and 96-bit nonces.
struct GcmVector {
  const char* key;
  const char* nonce;
  const char* associated_data;
  const char* plaintext;
  const char* ciphertext;
  const char* tag;
};
constexpr GcmVector kGcmVectors[] = {
    {"0000000000000000000000000000000000000000000000000000000000000000", "000000000000000000000000",
     "", "", "", "530f8afbc74536b9a963b4f1c4cb738b"},
    {"0000000000000000000000000000000000000000000000000000000000000000", "000000000000000000000000",
     "", "00000000000000000000000000000000", "cea7403d4d606b6e074ec5d3baf39d18",
     "d0d1c8a799996bf0265b98b5d48ab919"},
    {"feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888",
     "",
     "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
     "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255",
     "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
     "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad",
     "b094dac5d93471bdec1a502270e3cc6c"},
    {"feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888",
     "feedfacedeadbeeffeedfacedeadbeefabaddad2",
     "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
     "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
     "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
     "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
     "76fc6ece0f4e1768cddf8853bb2d551b"},
};

TEST(Aes256Gcm, published_vectors_seal_and_open) {
  SecretArena arena;
  for (const GcmVector& v : kGcmVectors) {
    FixedRandom nonce(hex(v.nonce));
    const auto sealed =
        aes_256_gcm_seal(hex(v.key), hex(v.associated_data), hex(v.plaintext), nonce);
    ASSERT_TRUE(sealed) << sealed.error().message;
    EXPECT_EQ(hex(*sealed), std::string(v.nonce) + v.ciphertext + v.tag);
    const auto opened = aes_256_gcm_open(arena, hex(v.key), hex(v.associated_data), *sealed);
    ASSERT_TRUE(opened) << opened.error().message;
    EXPECT_EQ(hex(opened->reveal()), v.plaintext);
  }
}

TEST(Aes256Gcm, nothing_opens_that_differs_in_one_bit_or_in_length) {
  SecretArena arena;
  FakeRandom random;
  const auto key = times(32, 7);
  const auto context = bytes_of("keyfs:id=orders");
  const auto sealed = *aes_256_gcm_seal(key, context, bytes_of("a data key"), random);
  ASSERT_TRUE(aes_256_gcm_open(arena, key, context, sealed));
  for (size_t bit = 0; bit < 8 * sealed.size(); ++bit) {
    auto changed = sealed;
    changed[bit / 8] ^= static_cast<uint8_t>(1u << bit % 8);
    const auto opened = aes_256_gcm_open(arena, key, context, changed);
    ASSERT_FALSE(opened) << bit;
    EXPECT_EQ(opened.error().code, Code::kCorrupt);
  }
  for (size_t size = 0; size < sealed.size(); ++size) {
    const auto opened = aes_256_gcm_open(arena, key, context, std::span(sealed).first(size));
    ASSERT_FALSE(opened) << size;
    EXPECT_EQ(opened.error().code, Code::kCorrupt);
  }
  EXPECT_FALSE(aes_256_gcm_open(arena, key, bytes_of("keyfs:id=other"), sealed));
  EXPECT_FALSE(aes_256_gcm_open(arena, key, {}, sealed));
  EXPECT_FALSE(aes_256_gcm_open(arena, times(32, 8), context, sealed));
  EXPECT_EQ(arena.usage().secrets, 0u);
}

TEST(Aes256Gcm, the_same_text_is_sealed_differently_each_time) {
  OsRandom random;
  std::set<std::string> seen;
  for (int i = 0; i < 100; ++i) {
    seen.insert(hex(*aes_256_gcm_seal(times(32, 1), {}, bytes_of("x"), random)));
  }
  EXPECT_EQ(seen.size(), 100u);
}

TEST(Aes256Gcm, a_key_of_another_size_is_refused) {
  SecretArena arena;
  FakeRandom random;
  for (const size_t size : {0u, 16u, 31u, 33u}) {
    EXPECT_EQ(aes_256_gcm_seal(times(size, 1), {}, {}, random).error().code, Code::kInvalid);
    EXPECT_EQ(aes_256_gcm_open(arena, times(size, 1), {}, times(40, 0)).error().code,
              Code::kInvalid);
  }
}

TEST(Aes256Gcm, without_random_bytes_nothing_is_sealed) {
  BrokenRandom random;
  const auto sealed = aes_256_gcm_seal(times(32, 1), {}, bytes_of("x"), random);
  ASSERT_FALSE(sealed);
  EXPECT_EQ(sealed.error().message, "no random bytes today");
}

TEST(Random, secrets_come_whole_and_differ) {
  SecretArena arena;
  OsRandom random;
  const auto a = random.secret(arena, 32);
  const auto b = random.secret(arena, 32);
  ASSERT_TRUE(a && b);
  EXPECT_EQ(a->size(), 32u);
  EXPECT_FALSE(a->equals(b->reveal()));
  // Were the last byte left out, it would be zero each time.
  int zeros = 0;
  for (int i = 0; i < 64; ++i) zeros += random.secret(arena, 33)->reveal().back() == 0 ? 1 : 0;
  EXPECT_LT(zeros, 16);
}

TEST(Random, a_failure_gives_no_secret) {
  SecretArena arena;
  BrokenRandom random;
  const auto secret = random.secret(arena, 32);
  ASSERT_FALSE(secret);
  EXPECT_EQ(secret.error().code, Code::kUnavailable);
  EXPECT_EQ(arena.usage().secrets, 0u);
}

// Computed independently, by Python's hmac. They guard the stored format: never change them.
TEST(KeyCheckValue, the_format_stays_as_it_is_for_ever) {
  std::vector<uint8_t> key(32);
  std::iota(key.begin(), key.end(), uint8_t{0});
  EXPECT_EQ(hex(*key_check_value(key, "orders", 1)), "4d67ccb1e8f1454172af59ceab364dd3");
  EXPECT_EQ(hex(*key_check_value(key, "orders", (uint64_t{1} << 40) + 7)),
            "ef7232efbff746d413ad06aefa66faff");
  EXPECT_EQ(hex(*key_check_value(bytes_of("k"), "", 0)), "27a70038637ec94219f60bc48585edcd");
  // The message as the header spells it.
  const auto message =
      hex("000000126b65796673206b657920636865636b20763100000006"
          "6f7264657273000000080000000000000001");
  EXPECT_EQ(hex(*hmac_sha256(key, message)).substr(0, 32), hex(*key_check_value(key, "orders", 1)));
}

TEST(KeyCheckValue, key_id_and_version_all_count) {
  const auto key = times(32, 1);
  const auto check = *key_check_value(key, "a", 1);
  EXPECT_NE(check, *key_check_value(times(32, 2), "a", 1));
  EXPECT_NE(check, *key_check_value(key, "b", 1));
  EXPECT_NE(check, *key_check_value(key, "a", 2));
  EXPECT_EQ(check, *key_check_value(key, "a", 1));
  EXPECT_EQ(key_check_value({}, "a", 1).error().code, Code::kInvalid);
}

}  // namespace
}  // namespace keyfs
