// What SPIRE and a key manager plugin say to each other: the messages of SPIRE's plugin SDK
// (spire-plugin-sdk/proto) and of go-plugin, in the wire format of Protocol Buffers. So few that
// they are read and written by hand: nothing is generated, and this builds without gRPC.
//
//   PublicKey            id 1, type 2, pkix_data 3, fingerprint 4
//   GenerateKeyRequest   key_id 1, key_type 2          Response  public_key 1
//   GetPublicKeyRequest  key_id 1                      Response  public_key 1
//   GetPublicKeysRequest                               Response  public_keys 1 (repeated)
//   SignDataRequest      key_id 1, data 2, oneof hash_algorithm 3 | pss_options 4
//                        {salt_length 1, hash_algorithm 2}
//                                                      Response  signature 1, key_fingerprint 2
//   ConfigureRequest     core_configuration 1 {trust_domain 1}, hcl_configuration 2
//   ValidateResponse     valid 1, notes 2 (repeated)
//   InitResponse         plugin_service_names 1 (repeated)
//   HealthCheckRequest   service 1                     Response  status 1 (SERVING 1)
//
// Thread-safety: plain values. Blocking: never. Errors: nullopt for what is no such message, or
// holds a text that is not UTF-8.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kms/signing/key_types.h"
#include "kms/signing/public_key.h"

namespace keyfs {

struct GenerateKeyMessage {
  std::string key_id;
  uint64_t key_type = 0;
};

struct SignDataMessage {
  enum class Options { kNone, kHash, kPss };
  std::string key_id;
  std::string data;  // a digest
  Options options = Options::kNone;
  uint64_t hash = 0;
};

struct ConfigureMessage {
  std::string trust_domain;
  std::string_view hcl;  // within the message: it may hold a secret, and is not copied
};

std::optional<GenerateKeyMessage> parse_generate_key(std::string_view message);
std::optional<SignDataMessage> parse_sign_data(std::string_view message);
std::optional<ConfigureMessage> parse_configure(std::string_view message);
// Of requests whose field 1 is a text: a key's id, a service's name.
std::optional<std::string> parse_name(std::string_view message);

// SPIRE's numbers; nullopt for another number, 0 (unspecified) included.
std::optional<SigningKeyType> key_type_of(uint64_t spires);
uint64_t spires_number(SigningKeyType type);
// "SHA256", or "hash algorithm 3".
std::string hash_name(uint64_t hash);
// What that type of key signs with; nullopt for a combination that there is none of.
std::optional<SigningAlgorithm> algorithm_of(SigningKeyType type, bool pss, uint64_t hash);

std::string public_key_message(const std::string& id, const PublicKey& key);
// A response whose field 1 is a message.
std::string with_public_key(std::string_view public_key);
std::string sign_data_response(std::string_view signature, std::string_view fingerprint);
std::string validate_response(const std::vector<std::string>& mistakes);
std::string names_response(const std::vector<std::string>& names);
std::string serving_response();

}  // namespace keyfs
