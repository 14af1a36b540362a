// A region of AWS KMS.
//   https://docs.aws.amazon.com/kms/latest/APIReference/Welcome.html
//
// Thread-safety, blocking, deadlines: as kms/region.h. Ownership: owns its client; what the client
// refers to outlives the region.
// Errors: as kms/region.h; kms/kms_error.h maps KMS errors to codes. There are no retries here
// except those of base/aws/client.h (credentials, clock): another region is tried instead, and
// kms/regions.h has the pauses and the budget for further rounds.
//
// The key may be an ARN, a key id, or an alias. Records always store the ARN that KMS returned, and
// Decrypt names its KeyId, so that KMS refuses a blob of any other key; the reply's KeyId is
// compared as well. Accepted are
//   - the configured key;
//   - for a multi-Region key, what another replica of it wrapped: one wrap serves all replicas;
//   - what another key of the same account in this region wrapped. So old wraps stay readable after
//     an alias was pointed at a new key; IAM decides which keys keyfs may use.
// A first Decrypt, before the alias's key is known, names the alias. If KMS says that the wrap
// belongs to another key, DescribeKey gives the account, and the call is repeated with the wrap's
// own key.
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
  std::string region;  // the AWS region, as signed
  std::string key;     // id, ARN or alias
};

class AwsRegion final : public Region {
 public:
  // The services that the client must be created for.
  static constexpr const char* kService = "kms";
  static constexpr const char* kTargetPrefix = "TrentService.";
  static constexpr const char* kJsonVersion = "1.1";

  AwsRegion(Loop& loop, SecretArena& arena, AwsRegionOptions options,
            std::unique_ptr<AwsClient> client);

  const std::string& name() const override { return options_.name; }
  // 1 to 1024 bytes: the range of GenerateDataKey.
  Task<Result<GeneratedKey>> generate(size_t bytes, EncryptionContext context,
                                      TimePoint deadline) override;
  // 1 to 4096 bytes: the range of Encrypt.
  Task<Result<WrappedKey>> wrap(const SecretBytes& key, EncryptionContext context,
                                TimePoint deadline) override;
  Task<Result<SecretBytes>> unwrap(WrappedKey wrapped, EncryptionContext context,
                                   TimePoint deadline) override;
  bool unwraps(const std::string& master) const override;
  bool covered_by(const std::string& master) const override;
  bool is_other_master(const std::string& master) const override;
  std::string master() const override { return own_text_; }
  bool is_charged() const override { return true; }
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
  std::optional<KmsKeyArn> own_;  // what `key` refers to, once KMS has said
  std::string own_text_;
};

}  // namespace keyfs
