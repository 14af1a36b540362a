// Names of KMS keys: ARNs, and how keyfs compares them.
//   https://docs.aws.amazon.com/kms/latest/developerguide/concepts.html#key-id-key-ARN
//   https://docs.aws.amazon.com/kms/latest/developerguide/multi-region-keys-overview.html
//
// Thread-safety: plain values. Blocking: never. Errors: none; what is no such name is nullopt.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace keyfs {

// arn:PARTITION:kms:REGION:ACCOUNT:key/ID
struct KmsKeyArn {
  std::string partition;
  std::string region;
  std::string account;
  std::string id;  // "1234abcd-...", or "mrk-..." for a multi-Region key

  // nullopt for anything else, an alias's ARN included.
  static std::optional<KmsKeyArn> parse(std::string_view text);

  bool multi_region() const { return id.starts_with("mrk-"); }
  bool same_account(const KmsKeyArn& other) const {
    return partition == other.partition && account == other.account;
  }
  // Replicas of one multi-Region key have the same id in the same account.
  bool replica_of(const KmsKeyArn& other) const {
    return multi_region() && id == other.id && same_account(other);
  }
  bool operator==(const KmsKeyArn&) const = default;
};

// The region in the ARN of a key or an alias; empty for anything that is not a KMS ARN.
std::string kms_arn_region(std::string_view text);

}  // namespace keyfs
