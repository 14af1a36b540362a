// What KMS answers about asymmetric keys and aliases, and what its refusals mean for them.
// Internal to kms/signing.
//   https://docs.aws.amazon.com/kms/latest/APIReference/API_ListAliases.html, API_KeyMetadata.html,
//   API_GetPublicKey.html, API_Sign.html
//
// Thread-safety: plain functions. Blocking: never. Errors: nullopt for what is no such answer.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/aws/client.h"
#include "base/clock.h"
#include "base/result.h"
#include "kms/kms_arn.h"
#include "kms/signing/key_types.h"

namespace keyfs {

std::string_view kms_key_spec(SigningKeyType type);  // "ECC_NIST_P256"
bool is_kms_signing_spec(std::string_view spec);     // of one of the four types

std::string to_text(const KmsKeyArn& arn);

struct KmsAlias {
  std::string name;  // "alias/..."
  KmsKeyArn target;  // whose region, account and partition are the alias's
  std::optional<WallTime> written;
};
struct KmsAliasPage {
  std::vector<KmsAlias> aliases;  // only those that refer to a key
  std::string next;               // empty: it was the last page
};
std::optional<KmsAliasPage> parse_kms_aliases(const nlohmann::json& body);

struct KmsKeyPage {
  std::vector<KmsKeyArn> keys;
  std::string next;
};
std::optional<KmsKeyPage> parse_kms_keys(const nlohmann::json& body);

struct KmsKeyFacts {
  KmsKeyArn arn;
  std::string state;  // "Enabled", "PendingDeletion"...
  std::string usage;  // "SIGN_VERIFY"
  std::string spec;
  std::string description;
  std::optional<WallTime> created;
  bool replica = false;               // of a multi-Region key
  std::vector<std::string> replicas;  // regions of a primary's replicas

  bool is_pending_deletion() const {
    return state == "PendingDeletion" || state == "PendingReplicaDeletion";
  }
};
// The KeyMetadata in a reply to DescribeKey or CreateKey.
std::optional<KmsKeyFacts> parse_kms_key_facts(const nlohmann::json& body);

// A member that is a text; empty for anything else.
std::string kms_text(const nlohmann::json& object, const char* member);

// A refusal, as the table in kms/signing/kms_custody.h says. `subject`: the key or alias.
Error kms_signing_error(const AwsReply& reply, const std::string& operation,
                        const std::string& subject, const std::string& region);
// Such an error says that there is no such key in that region. It may be in others.
bool says_not_found(const Error& error);

}  // namespace keyfs
