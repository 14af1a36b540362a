// The custody of kms/signing/kms_custody.h. Internal to kms/signing; kms_custody.cc lists, finds and
// checks, kms_custody_names.cc moves names, kms_custody_keys.cc makes keys,
// kms_custody_deletion.cc deletes them, kms_custody_sign.cc signs, kms_custody_made.cc finds keys by their tokens, kms_custody_strays.cc finds
// and disposes of what was left behind.
//
// Everything else as there.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "kms/signing/kms_calls.h"
#include "kms/signing/kms_custody.h"
#include "kms/signing/kms_messages.h"

namespace keyfs {

class KmsCustody final : public Custody {
 public:
  KmsCustody(Loop& loop, RandomFraction random, std::vector<KmsSigningRegion> regions,
             KmsCustodyOptions options, SigningObserver* observer);

  std::string_view kind() const override { return "kms"; }
  Result<void> check_name(const std::string& name) const override;
  Task<Result<std::vector<NamedKey>>> list(TimePoint deadline) override;
  Task<Result<std::optional<NamedKey>>> find(std::string name, TimePoint deadline) override;
  Task<Result<std::optional<NamedKey>>> find_decided(std::string name, TimePoint deadline) override;
  void remember(const std::string& name, const std::string& key) override {
    known_names_[name] = key;
  }
  Task<Result<std::string>> create(CreateKeyRequest request, TimePoint deadline) override;
  Task<Result<std::optional<std::string>>> made(std::string name, std::string token,
                                                TimePoint deadline) override;
  Task<Result<PublicKeyPtr>> public_key(std::string key, TimePoint deadline) override;
  Task<Result<Signature>> sign(SignRequest request, TimePoint deadline) override;
  Task<Result<Pointed>> point(std::string name, std::string key, std::optional<std::string> from,
                              TimePoint deadline) override;
  Task<Result<Pointed>> keep_alive(std::string name, std::string key, TimePoint deadline) override;
  Task<Result<void>> remove_name(std::string name, std::string key, TimePoint deadline) override;
  Task<Result<Deletion>> schedule_deletion(std::string name, std::string key,
                                           TimePoint deadline) override;
  Task<Result<void>> set_enabled(std::string name, std::string key, bool enabled,
                                 TimePoint deadline) override;
  bool leaves_strays() const override { return true; }
  Task<Result<std::vector<StrayKey>>> stale_siblings(WallTime stale_before,
                                                     TimePoint deadline) override;
  Task<Result<std::vector<StrayKey>>> nameless_keys(WallTime created_before,
                                                    std::vector<std::string>& known,
                                                    TimePoint deadline) override;
  Task<Result<Deletion>> dispose(StrayKey stray, TimePoint deadline) override;
  Task<std::vector<CheckItem>> check(TimePoint deadline) override;

 private:
  SigningSlot& primary() { return *slots_.front(); }
  std::string alias_of(const std::string& name) const;
  std::string description_of(const std::string& name, const std::string& token) const;
  NamedKey named(const std::string& name, const KmsKeyArn& key) const;

  // The reference of a key that some region told of: of a multi-Region key, that of its primary.
  std::string reference(KmsKeyArn key) const;
  bool same_key(const std::string& one, const std::string& other) const;
  // Where it is, or has a replica, and its ARN there. kInvalid: nowhere that is configured.
  Result<std::vector<SigningSlot*>> places(const std::string& key);
  static std::string arn_in(const SigningSlot& slot, const std::string& key);

  // Calls that read, in any region: the first one that is not out, and the next if it does not
  // answer in its share of the time.
  std::vector<SigningSlot*> reading_order();
  TimePoint share_of(TimePoint deadline, size_t parts) const;

  // All pages; of one key if `key` is not empty.
  // `elsewhere`: as KmsQuestion's; of these three.
  Task<Result<std::vector<KmsAlias>>> aliases(SigningSlot& slot, std::string key,
                                              TimePoint deadline, bool elsewhere = false);
  // All of the first region.
  Task<Result<std::vector<KmsKeyArn>>> all_keys(TimePoint deadline);
  // By reference or alias; nullopt: there is none.
  Task<Result<std::optional<KmsKeyFacts>>> describe(SigningSlot& slot, std::string key,
                                                    TimePoint deadline, bool elsewhere = false,
                                                    bool until_there = false);
  // The aliases of a key wherever it is, or has a replica.
  using Named = std::pair<SigningSlot*, KmsAlias>;
  Task<Result<std::vector<Named>>> aliases_everywhere(std::string key, TimePoint deadline);
  Task<Result<std::optional<NamedKey>>> find_in(SigningSlot& slot, std::string name,
                                                TimePoint deadline, bool elsewhere = false);

  // CreateAlias or UpdateAlias.
  Task<KmsAnswer> write_alias(SigningSlot& slot, std::string operation, std::string alias,
                              std::string key, TimePoint deadline);
  Task<KmsAnswer> delete_alias(SigningSlot& slot, std::string alias, TimePoint deadline);
  // So that a start finds the name while the first region is out. The regions where it failed.
  Task<std::string> write_elsewhere(std::string alias, std::string key, TimePoint deadline);
  Task<bool> write_in(SigningSlot& slot, std::string alias, std::string key, TimePoint deadline);

  nlohmann::json with_policy_and_tags(nlohmann::json body, const std::string& description) const;
  Task<Result<void>> replicate(SigningSlot& slot, std::string key, std::string description,
                               TimePoint deadline);
  // Whether the key was made for this name by this owner, as far as its description tells: what another
  // program made has no mark.
  bool is_marked(const KmsKeyFacts& key, const std::string& name) const;
  // Whether it has no name anywhere; one of ours that is only late is written anew.
  Task<Result<bool>> is_nameless(std::string name, std::string key, TimePoint deadline);
  // In a region that is not configured: whether it has a name there nobody can tell.
  bool is_elsewhere(const KmsKeyFacts& key) const;
  Task<Result<void>> schedule_everywhere(std::string key, TimePoint deadline);
  Task<Result<void>> schedule_in(SigningSlot& slot, std::string key, TimePoint deadline);
  Task<Result<PublicKeyPtr>> public_key_in(SigningSlot& slot, std::string key, TimePoint deadline);
  Task<Result<Signature>> sign_in(SigningSlot& slot, const SignRequest& request,
                                  TimePoint deadline);

  // What a region that does not decide has told, corrected by what is known.
  Task<std::optional<NamedKey>> corrected(SigningSlot& slot, std::string name,
                                          std::optional<NamedKey> told, TimePoint deadline);
  bool is_of_sibling(const std::string& alias) const;
  bool carries_prefix(const KmsKeyFacts& key) const;
  Task<Result<bool>> is_as_found(const StrayKey& stray, TimePoint deadline);

  // KMS is consistent only after a while: a new key may not be found at once.
  void note_young(const std::string& key);
  bool is_young(const std::string& key) const;

  Loop& loop_;
  const KmsCustodyOptions options_;
  const std::string owner_;  // the mark of alias_prefix
  KmsCalls calls_;
  std::vector<std::unique_ptr<SigningSlot>> slots_;  // as configured
  std::vector<SigningSlot*> order_;                  // learned
  std::map<std::string, TimePoint> young_;           // until when
  // What names refer to, as the first region has said, or remember(); empty: to nothing any longer.
  std::map<std::string, std::string> known_names_;
  // What made() has learned, by key id. Empty: a key of somebody else. A description stays.
  std::map<std::string, std::string> descriptions_;
};

}  // namespace keyfs
