// A region of AWS KMS.
//   https://docs.aws.amazon.com/kms/latest/APIReference/Welcome.html
//
// Thread-safety, blocking, deadlines: as kms/region.h. Ownership: owns its client; what the client
// refers to outlives the region.
// Errors: as kms/region.h; which error of KMS is which code stands in kms/kms_error.h. Nothing is
// tried twice here but what base/aws/client.h does (credentials, clock): another region is asked
// instead, and kms/regions.h holds the pauses and the budget for another round.
//
// Which key: an ARN, a key id, or an alias. What is stored is always the ARN that KMS named, and
// Decrypt names its KeyId, so that KMS refuses a blob of any other key; the reply's KeyId is
// compared on top. Accepted are
//   - the configured key;
//   - for a multi-Region key, what another replica of it wrapped: one wrap serves all replicas;
//   - what another key of the same account in this region wrapped. An alias that was pointed at
//     a new key leaves the old wraps readable; IAM says which keys keyfs may use at all.
// A first Decrypt before the alias's key is known names the alias; should KMS then say that the
// wrap is another key's, DescribeKey tells whose account it is, and the wrap's own key is named.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/aws/client.h"
#include "base/loop.h"
#include "base/secret.h"
#include "kms/kms_arn.h"
#include "kms/region.h"

namespace keyfs {

struct AwsRegionOptions {
  std::string name;    // [region NAME]
  std::string region;  // of AWS: what is signed
  std::string key;     // id, ARN or alias
};

class AwsRegion final : public Region {
 public:
  // The services that the client must be made for.
  static constexpr const char* kService = "kms";
  static constexpr const char* kTargetPrefix = "TrentService.";
  static constexpr const char* kJsonVersion = "1.1";

  AwsRegion(Loop& loop, SecretArena& arena, AwsRegionOptions options,
            std::unique_ptr<AwsClient> client);

  const std::string& name() const override { return options_.name; }
  // 1 to 1024 bytes: what GenerateDataKey gives.
  Task<Result<GeneratedKey>> generate(size_t bytes, EncryptionContext context,
                                      TimePoint deadline) override;
  // 1 to 4096 bytes: what Encrypt takes.
  Task<Result<WrappedKey>> wrap(const SecretBytes& key, EncryptionContext context,
                                TimePoint deadline) override;
  Task<Result<SecretBytes>> unwrap(WrappedKey wrapped, EncryptionContext context,
                                   TimePoint deadline) override;
  bool unwraps(const std::string& master) const override;
  bool covered_by(const std::string& master) const override;
  bool is_other_master(const std::string& master) const override;
  Task<void> keep_warm() override;
  Task<RegionCheck> check(TimePoint deadline) override;

 private:
  Result<std::string> own_key(std::string_view reply_key);
  Task<Result<void>> describe(TimePoint deadline);
  Task<Result<SecretBytes>> decrypt(const WrappedKey& wrapped, const EncryptionContext& context,
                                    std::string pin, TimePoint deadline);
  std::string pin_for(const std::string& master) const;
  Error failed(const AwsReply& reply, const std::string& operation) const;

  Loop& loop_;
  SecretArena& arena_;
  AwsRegionOptions options_;
  std::unique_ptr<AwsClient> client_;
  std::optional<KmsKeyArn> own_;  // what `key` stands for, once KMS has told
  std::string own_text_;
};

}  // namespace keyfs
