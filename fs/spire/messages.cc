#include "fs/spire/messages.h"

#include <array>
#include <utility>

#include "fs/spire/wire.h"

namespace keyfs {
namespace {

// Of Go's crypto.Hash, which SPIRE uses.
constexpr uint64_t kSpireSha256 = 5;
constexpr uint64_t kSpireSha384 = 6;
constexpr uint64_t kSpireSha512 = 7;

bool take_text(const WireReader& in, std::string& text) {
  text = in.bytes();
  return is_utf8(in.bytes());
}

}  // namespace

std::optional<GenerateKeyMessage> parse_generate_key(std::string_view message) {
  GenerateKeyMessage out;
  WireReader in(message);
  while (in.next()) {
    if (in.field() == 1 && in.is_bytes() && !take_text(in, out.key_id)) return std::nullopt;
    if (in.field() == 2 && in.is_number()) out.key_type = in.number();
  }
  if (!in.ok()) return std::nullopt;
  return out;
}

std::optional<SignDataMessage> parse_sign_data(std::string_view message) {
  SignDataMessage out;
  WireReader in(message);
  while (in.next()) {
    if (in.field() == 1 && in.is_bytes() && !take_text(in, out.key_id)) return std::nullopt;
    if (in.field() == 2 && in.is_bytes()) out.data = in.bytes();
    if (in.field() == 3 && in.is_number()) {
      out.options = SignDataMessage::Options::kHash;
      out.hash = in.number();
    }
    if (in.field() == 4 && in.is_bytes()) {
      // One message in two pieces is merged, as Protocol Buffers say.
      if (out.options != SignDataMessage::Options::kPss) out.hash = 0;
      out.options = SignDataMessage::Options::kPss;
      WireReader pss(in.bytes());
      while (pss.next()) {
        if (pss.field() == 2 && pss.is_number()) out.hash = pss.number();
      }
      if (!pss.ok()) return std::nullopt;
    }
  }
  if (!in.ok()) return std::nullopt;
  return out;
}

std::optional<ConfigureMessage> parse_configure(std::string_view message) {
  ConfigureMessage out;
  WireReader in(message);
  while (in.next()) {
    if (in.field() == 1 && in.is_bytes()) {
      WireReader core(in.bytes());
      while (core.next()) {
        if (core.field() == 1 && core.is_bytes() && !take_text(core, out.trust_domain)) {
          return std::nullopt;
        }
      }
      if (!core.ok()) return std::nullopt;
    }
    if (in.field() == 2 && in.is_bytes()) {
      if (!is_utf8(in.bytes())) return std::nullopt;
      out.hcl = in.bytes();
    }
  }
  if (!in.ok()) return std::nullopt;
  return out;
}

std::optional<std::string> parse_name(std::string_view message) {
  std::string out;
  WireReader in(message);
  while (in.next()) {
    if (in.field() == 1 && in.is_bytes() && !take_text(in, out)) return std::nullopt;
  }
  if (!in.ok()) return std::nullopt;
  return out;
}

std::optional<SigningKeyType> key_type_of(uint64_t spires) {
  if (spires < 1 || spires > kSigningKeyTypes.size()) return std::nullopt;
  return kSigningKeyTypes[spires - 1];
}

uint64_t spires_number(SigningKeyType type) { return static_cast<uint64_t>(type) + 1; }

std::string hash_name(uint64_t hash) {
  switch (hash) {
    case kSpireSha256:
      return "SHA256";
    case kSpireSha384:
      return "SHA384";
    case kSpireSha512:
      return "SHA512";
    default:
      return "hash algorithm " + std::to_string(hash);
  }
}

std::optional<SigningAlgorithm> algorithm_of(SigningKeyType type, bool pss, uint64_t hash) {
  using A = SigningAlgorithm;
  switch (type) {
    case SigningKeyType::kEcP256:
      if (!pss && hash == kSpireSha256) return A::kEcdsaSha256;
      return std::nullopt;
    case SigningKeyType::kEcP384:
      if (!pss && hash == kSpireSha384) return A::kEcdsaSha384;
      return std::nullopt;
    case SigningKeyType::kRsa2048:
    case SigningKeyType::kRsa4096:
      if (hash == kSpireSha256) return pss ? A::kRsaPssSha256 : A::kRsaPkcs1Sha256;
      if (hash == kSpireSha384) return pss ? A::kRsaPssSha384 : A::kRsaPkcs1Sha384;
      if (hash == kSpireSha512) return pss ? A::kRsaPssSha512 : A::kRsaPkcs1Sha512;
      return std::nullopt;
  }
  return std::nullopt;
}

std::string public_key_message(const std::string& id, const PublicKey& key) {
  std::string out;
  put_bytes(out, 1, id);
  put_number(out, 2, spires_number(key.type()));
  put_bytes(out, 3, key.der());
  put_bytes(out, 4, key.fingerprint());
  return out;
}

std::string with_public_key(std::string_view public_key) {
  std::string out;
  put_element(out, 1, public_key);
  return out;
}

std::string sign_data_response(std::string_view signature, std::string_view fingerprint) {
  std::string out;
  put_bytes(out, 1, signature);
  put_bytes(out, 2, fingerprint);
  return out;
}

std::string validate_response(const std::vector<std::string>& mistakes) {
  std::string out;
  put_number(out, 1, mistakes.empty() ? 1 : 0);
  for (const std::string& mistake : mistakes) put_element(out, 2, mistake);
  return out;
}

std::string names_response(const std::vector<std::string>& names) {
  std::string out;
  for (const std::string& name : names) put_element(out, 1, name);
  return out;
}

std::string serving_response() {
  std::string out;
  put_number(out, 1, 1);
  return out;
}

}  // namespace keyfs
