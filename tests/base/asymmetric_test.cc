#include "base/asymmetric.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "base/crypto.h"
#include "base/encoding.h"

namespace keyfs {
namespace {

// Made by `openssl genpkey` and `openssl pkeyutl -sign` of SHA-256("abc"); in base64.
constexpr std::string_view kP256 =
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEr5cKliNBIqy0597FxyDxJogOHwD7hhNxHndalgU4lheSMh7p5qTQ"
    "gDwqko5MxX2yH6s/AwudksbtGBaZxly6ig==";
constexpr std::string_view kP256Signature =
    "MEYCIQDgPeenNhEr9RKjfVLAmvI9ZoMMRIfFAtl1xJCgLYqFFwIhAJW/TL+y4jkLDSlkGzQI6FeEZ8uDe7NEYJGg"
    "LYiMJPot";
constexpr std::string_view kRsa2048 =
    "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAnKqUxstZnHtT1QHkG3eKaOTRLgfdIRsIc6V3J/I6td1y"
    "VA3loc7M+Tp1RDaEEZhdDhs24VQElyYiEIO/QyxMZ79/KQXN0HU2DeTL8wHIfaxzdjRjGNXiR4aDmfv8VMRsPBWh"
    "6GTkk/cd3CYSf5+s1+ZvEe07nO/QLTuEHsqzwbPaDNbbX4po5/nV5beuNRaZ0JFCC4j1WOfHmHHMSrhTZjLGXzJX"
    "P38kfgNc34CRY92ElJzvAJobliTyOzEP2EQDpscj74Kf/ADqFMXAm3hlm2pNXEh4joat0MLnG5yBTsTISF7HU9lJ"
    "314BqKZs7RvSZDwCuEI6HPiRi6xQFIqJtQIDAQAB";
constexpr std::string_view kPkcs1Signature =
    "VvI5pd+9R36/Kr8gIny7uB1+pAcRHExypqCT+eCi9LEug97oYL+pYqFE7Ig6EOCu/Fpt2bbZs14wBaOHERo7DJs7"
    "nhKBspAzX+jVDIbYma6byLtOBfikOsGZ0UMcpeMga2IEVANeF73q2HRFiMJjdrFNcqWnJz2zcFnYVkoSZ+bf8Jdo"
    "7r0+tLgV5zzwxouC+I+0BQZWD30x0//Cg2EsbJY1rw382tCyGNVK3UUpaEI4tZ8Wrm7OmDmQfiB/Jj0aPY+2BFVP"
    "VMyU9s+HwG0Zdfledrt/r292f5Sv7qEjDlnERej+g7aPtOVQPhLQUaAJWJpSofdRqQOmcYb53bKX4Q==";
constexpr std::string_view kPssSignature =
    "P72ydzfG+djaotq5aDnPKvL3W3FwfUwx8NZvRzGbXl7rzDvIFj2DE9uxUbem8vO6O8Hs6IhiczJbZBy5tnGm3RQF"
    "FS0tez4aFWUFCBQRCZDQ1X7rYLtlLfyb7fnn8irAra1e/L5IiM+/uc66e9spiSZ/I4cL6wSu7hol0MDacYRc0TE/"
    "94Obiuf8lPEWVqPbpjpkBRSvxupHiNxNIfwdqva+H++65oLB64VITgpMSLkbr/RHYNOeI7KlfboMBXlS9j9uWcWJ"
    "PzQOzsilRREjifdWOb7jGqXW0frQWWplDO57QoKP9wMupd0iwfAO804wX3W4bx+cF079aRrBXlcUuw==";
constexpr std::string_view kPssOfSalt20 =
    "bztwMYTA7/q+7ozqJ1GFgznkGOfJKoSQ2Vrep0xhOKb0ARCIr8B/9UXkej671Tmla58ZHD/KjSWinD9o9qspBJTh"
    "z0M9nxAOLeT/2I14DCOm5oLmgoSwZPaaqTLigsyiBW8jPp76O/8H55SEjrjoxSALHDS74Ekxrac47ZDpQ4Gia8bg"
    "LbA9xNyXAputsluBjceQMRVurBwy1XzV2jN2iIkSTJt7Xge1bdgTRgrBBvSvbXoQxvbfERBTf3O4hnb2PLjamyi3"
    "ljDbeHGGMNCJMLHtAdx7Fd5LtiZv8hhg/4kQnv87E5ni68KJBTj6klEdaz3u0QxoxUY0i098ogYsOQ==";

// Public keys of other kinds, and in other forms.
constexpr std::string_view kSecp256k1 =
    "MFYwEAYHKoZIzj0CAQYFK4EEAAoDQgAERXrDBEZXTkybuP00DgD1lhIxbKLpO3xjymSBy3LmgThk6h3N5PcMtrny"
    "1Gv67SzeOUsaU/H0ejZaMLrDhZFrtw==";
constexpr std::string_view kP256Explicit =
    "MIIBSzCCAQMGByqGSM49AgEwgfcCAQEwLAYHKoZIzj0BAQIhAP////8AAAABAAAAAAAAAAAAAAAA////////////"
    "////MFsEIP////8AAAABAAAAAAAAAAAAAAAA///////////////8BCBaxjXYqjqT57PrvVV2mIa8ZR0GsMxTsPY7"
    "zjw+J9JgSwMVAMSdNgiG5wSTamZ44ROdJreBn36QBEEEaxfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpZP"
    "40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9QIhAP////8AAAAA//////////+85vqtpxeehPO5ysL8YyVR"
    "AgEBA0IABK+XCpYjQSKstOfexccg8SaIDh8A+4YTcR53WpYFOJYXkjIe6eak0IA8KpKOTMV9sh+rPwMLnZLG7RgW"
    "mcZcuoo=";
constexpr std::string_view kP256Compressed =
    "MDkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDIgACr5cKliNBIqy0597FxyDxJogOHwD7hhNxHndalgU4lhc=";
constexpr std::string_view kRsaExponent3 =
    "MIIBIDANBgkqhkiG9w0BAQEFAAOCAQ0AMIIBCAKCAQEAuCgqZLqpsqApVVkRdtq1SfD8ylozGhg80Xkbg6W6ILJI"
    "fwc66+uzmMvofR9De9NnBhe9if3P/4eLZKP/btlIZtREw0ZynHgGaf0uVcFBvP6UF4acQBNnV4YpE1lWEb2Rt+is"
    "KMETmKgjmQWMLpMAgUyLuLkF/ouz4twB+2ipSprwaM+gTbmgUqflGZkAeMREhlJRsTWz0V6WU9yCfJxNUb7TKz+B"
    "3z5CvR5I1IRfF8hslhfVwPv7gWkvcV173ObNcZ9HjOPq0Pp3S+wl4Y4y50h4Qpn115gUmOZ6UP6sEpixQtcGxqW0"
    "FI5+RNBYL3VGmY0YjF+BUjnXUNVxoTyTiwIBAw==";
constexpr std::string_view kRsa3072 =
    "MIIBojANBgkqhkiG9w0BAQEFAAOCAY8AMIIBigKCAYEAvJCBH47m+Qvf5ow2RP7KVuAYBaCizSocKwk2rvb9Cg4/"
    "U9ICnAYlI97nQTB0tltaYyytrgt6e53dQWsHnvywIcxYRXYy0ifpli7oJZFbbFjorLfQVUrSg7Pf3UFoxZQHYxfd"
    "CMXvZiSM4QA8IbNOxy7LdxOX8RSpb7hLESN0JZutNX50Vt+Oe+hHkYnsxTpkSj0PwyTYLM9xiUY8KeFNoAo2U21O"
    "6z0NHegctiM/v7XUODTGa0yVcJm0kZ+aZEw3kkB9v/EoUbzhULd8BRHQ3O8x8hhu83rjTZai7qeS8L6BE/UP4+do"
    "P3P8ytOvpuAoTyz3yJmXDCkE98P9c5/rXq1FqcUroyaSauKU1TPR3PZ7TZb4S7HyotXI0Ygp+BiQGT392Rf6i3R8"
    "+jz5gR5mi5rhQG4d1BekBjjFfvzPKsP/ZWjMrUukjlP5LwayhvuwLs+DJH4wzda5u1FZ46u/NPElCZTHxKYTPwlm"
    "qm9gNLteDKGXSIE0eyQyzRsThvzLAgMBAAE=";
constexpr std::string_view kRsaPssOnly =
    "MIIBIDALBgkqhkiG9w0BAQoDggEPADCCAQoCggEBANh0v6I9K2VRe4kZN8J7c/rH1YoL3szndusTyCWlnmtl+2CU"
    "aiAbytcqiuz+7oyFgYqq6kPPV6H++L62iDUzFPLBxT2TdmZ91oCp9kSH+YkljYcfAdAP9R/dE8F0ZBzoYxENr4/d"
    "PJ9oeVRTqVX6utI8260qeEkDlFV5pGwdv+PEA2tqjdUEUdOcZWb6k/oGh9cTJfn2CENGaLaGB2ulqV/MHMnF6pr3"
    "JevrzX7DzsAlCAM+BhG3uIBL4htrZfB3kKSjQC2RB/iRGpCpzprMWrNJvIeKyUXaxCDeTBDbfItgM2oWS5vHYd+i"
    "byzQnXw2HGZN/gybPqvDxNL77wquUV0CAwEAAQ==";
constexpr std::string_view kEd25519 =
    "MCowBQYDK2VwAyEAnWVagwQ9G7gfCPhlwBSWox06ZcxZ4+nkAuxJNRvE3l0=";

constexpr SignatureScheme kSchemes[] = {SignatureScheme::kEcdsa, SignatureScheme::kPkcs1,
                                        SignatureScheme::kPss};
constexpr DigestKind kHashes[] = {DigestKind::kSha256, DigestKind::kSha384, DigestKind::kSha512};

std::vector<uint8_t> bytes(std::string_view base64) { return *base64_decode(base64); }

AsymmetricKey parsed(std::string_view base64) {
  auto key = AsymmetricKey::parse(bytes(base64));
  if (!key) {
    ADD_FAILURE() << key.error().message;
    std::abort();
  }
  return std::move(*key);
}

std::vector<uint8_t> digest_of(DigestKind hash, uint8_t fill = 0x42) {
  const size_t size = hash == DigestKind::kSha256 ? 32 : hash == DigestKind::kSha384 ? 48 : 64;
  return std::vector<uint8_t>(size, fill);
}

// The 14 combinations, by kind.
bool is_one(AsymmetricKind kind, SignatureScheme scheme, DigestKind hash) {
  if (kind == AsymmetricKind::kP256) {
    return scheme == SignatureScheme::kEcdsa && hash == DigestKind::kSha256;
  }
  if (kind == AsymmetricKind::kP384) {
    return scheme == SignatureScheme::kEcdsa && hash == DigestKind::kSha384;
  }
  return scheme != SignatureScheme::kEcdsa;
}

TEST(Asymmetric, signatures_by_openssl_verify) {
  const auto digest = *sha256(bytes_of("abc"));
  const auto hash = DigestKind::kSha256;
  EXPECT_TRUE(parsed(kP256).verify(SignatureScheme::kEcdsa, hash, digest, bytes(kP256Signature)));
  const AsymmetricKey rsa = parsed(kRsa2048);
  EXPECT_EQ(rsa.kind(), AsymmetricKind::kRsa2048);
  EXPECT_TRUE(rsa.verify(SignatureScheme::kPkcs1, hash, digest, bytes(kPkcs1Signature)));
  EXPECT_TRUE(rsa.verify(SignatureScheme::kPss, hash, digest, bytes(kPssSignature)));
}

TEST(Asymmetric, what_is_no_signature_of_the_digest_is_corrupt) {
  const auto digest = *sha256(bytes_of("abc"));
  const auto other = *sha256(bytes_of("abd"));
  const auto hash = DigestKind::kSha256;
  const AsymmetricKey ec = parsed(kP256);
  const AsymmetricKey rsa = parsed(kRsa2048);
  const auto corrupt = [&](const AsymmetricKey& key, SignatureScheme scheme,
                           std::span<const uint8_t> of, std::span<const uint8_t> signature) {
    const auto verified = key.verify(scheme, hash, of, signature);
    return !verified && verified.error().code == Code::kCorrupt;
  };
  EXPECT_TRUE(corrupt(ec, SignatureScheme::kEcdsa, other, bytes(kP256Signature)));
  EXPECT_TRUE(corrupt(ec, SignatureScheme::kEcdsa, digest, bytes(kPssSignature)));
  EXPECT_TRUE(corrupt(ec, SignatureScheme::kEcdsa, digest, {}));
  EXPECT_TRUE(corrupt(rsa, SignatureScheme::kPkcs1, other, bytes(kPkcs1Signature)));
  EXPECT_TRUE(corrupt(rsa, SignatureScheme::kPkcs1, digest, bytes(kPssSignature)));
  EXPECT_TRUE(corrupt(rsa, SignatureScheme::kPss, digest, bytes(kPkcs1Signature)));
  EXPECT_TRUE(corrupt(rsa, SignatureScheme::kPss, digest, bytes(kPssOfSalt20)));
  auto longer = bytes(kPkcs1Signature);
  longer.insert(longer.begin(), 0);
  EXPECT_TRUE(corrupt(rsa, SignatureScheme::kPkcs1, digest, longer));
  auto trailing = bytes(kP256Signature);
  trailing.push_back(0);
  EXPECT_TRUE(corrupt(ec, SignatureScheme::kEcdsa, digest, trailing));
}

TEST(Asymmetric, every_kind_signs_its_combinations_and_no_others) {
  SecretArena arena;
  const AsymmetricKey stranger = parsed(kP256);
  size_t signatures = 0;
  for (const AsymmetricKind kind : {AsymmetricKind::kP256, AsymmetricKind::kP384,
                                    AsymmetricKind::kRsa2048, AsymmetricKind::kRsa4096}) {
    const auto secret = generate_private_key(arena, kind);
    ASSERT_TRUE(secret) << secret.error().message;
    const auto der = public_half(secret->reveal());
    ASSERT_TRUE(der) << der.error().message;
    const auto key = AsymmetricKey::parse(bytes_of(*der));
    ASSERT_TRUE(key) << key.error().message;
    EXPECT_EQ(key->kind(), kind);
    for (const SignatureScheme scheme : kSchemes) {
      for (const DigestKind hash : kHashes) {
        const auto digest = digest_of(hash);
        const auto signature = sign_digest(secret->reveal(), scheme, hash, digest);
        if (!is_one(kind, scheme, hash)) {
          ASSERT_FALSE(signature);
          EXPECT_EQ(signature.error().code, Code::kInvalid);
          EXPECT_EQ(key->verify(scheme, hash, digest, digest).error().code, Code::kInvalid);
          continue;
        }
        ++signatures;
        ASSERT_TRUE(signature) << signature.error().message;
        EXPECT_TRUE(key->verify(scheme, hash, digest, bytes_of(*signature)));
        EXPECT_FALSE(key->verify(scheme, hash, digest_of(hash, 0x43), bytes_of(*signature)));
        EXPECT_FALSE(stranger.verify(scheme, hash, digest, bytes_of(*signature)));
        auto short_digest = digest;
        short_digest.pop_back();
        const auto none = sign_digest(secret->reveal(), scheme, hash, short_digest);
        ASSERT_FALSE(none);
        EXPECT_EQ(none.error().code, Code::kInvalid);
      }
    }
  }
  EXPECT_EQ(signatures, 14u);
}

TEST(Asymmetric, only_the_four_kinds_in_der_are_public_keys) {
  EXPECT_EQ(parsed(kP256).kind(), AsymmetricKind::kP256);
  for (const auto other : {kSecp256k1, kP256Explicit, kP256Compressed, kRsaExponent3, kRsa3072,
                           kRsaPssOnly, kEd25519}) {
    const auto key = AsymmetricKey::parse(bytes(other));
    ASSERT_FALSE(key) << other;
    EXPECT_EQ(key.error().code, Code::kCorrupt);
  }
  for (const auto one : {kP256, kRsa2048}) {
    const auto good = bytes(one);
    for (size_t size = 0; size < good.size(); ++size) {
      EXPECT_FALSE(AsymmetricKey::parse(std::span(good).first(size)));
    }
    auto trailing = good;
    trailing.push_back(0);
    EXPECT_FALSE(AsymmetricKey::parse(trailing));
  }
  // The same key with the length of its sequence in one byte more.
  auto ber = bytes(kRsa2048);
  ber[1] = 0x83;
  ber.insert(ber.begin() + 2, 0);
  EXPECT_FALSE(AsymmetricKey::parse(ber));
  // A point that is not on the curve.
  auto point = bytes(kP256);
  point.back() ^= 1;
  EXPECT_FALSE(AsymmetricKey::parse(point));
}

TEST(Asymmetric, a_private_key_that_was_changed_signs_nothing) {
  SecretArena arena;
  const auto secret = generate_private_key(arena, AsymmetricKind::kP256);
  ASSERT_TRUE(secret) << secret.error().message;
  const auto digest = digest_of(DigestKind::kSha256);
  const auto sign = [&](std::span<const uint8_t> pkcs8) {
    return sign_digest(pkcs8, SignatureScheme::kEcdsa, DigestKind::kSha256, digest);
  };
  for (size_t size = 0; size < secret->size(); ++size) {
    const auto signature = sign(secret->reveal().first(size));
    ASSERT_FALSE(signature);
    EXPECT_EQ(signature.error().code, Code::kCorrupt);
  }
  auto longer = arena.allocate(secret->size() + 1);
  ASSERT_TRUE(longer);
  std::copy(secret->reveal().begin(), secret->reveal().end(), longer->reveal_mutable().begin());
  EXPECT_FALSE(sign(longer->reveal()));
  EXPECT_FALSE(public_half(longer->reveal()));
}

TEST(Asymmetric, a_public_key_as_text_is_pem) {
  const auto der = bytes(kP256);
  const std::string pem = public_pem({reinterpret_cast<const char*>(der.data()), der.size()});
  EXPECT_TRUE(pem.starts_with("-----BEGIN PUBLIC KEY-----\nMFkw"));
  EXPECT_TRUE(pem.ends_with("\n-----END PUBLIC KEY-----\n"));
  EXPECT_EQ(pem.find('\n', 27), 27u + 64);
}

}  // namespace
}  // namespace keyfs
