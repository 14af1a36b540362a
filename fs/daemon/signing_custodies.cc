#include "fs/daemon/signing_custodies.h"

#include <fcntl.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "base/file.h"
#include "base/private_file.h"
#include "base/strict_json.h"
#include "kms/aws_region_factory.h"
#include "kms/signing/kms_custody.h"
#include "kms/signing/wrapped_custody.h"

namespace keyfs {
namespace {

// What KMS takes: https://docs.aws.amazon.com/kms/latest/APIReference/API_CreateKey.html
constexpr size_t kMaxKeyPolicy = 131'072;

Result<std::vector<KmsSigningRegion>> signing_regions(const Configuration& configuration,
                                                      RemoteParts& remote) {
  const SigningSettings& settings = configuration.signing;
  const ConfigSection* section = configuration.file.find("signing");
  std::vector<KmsSigningRegion> regions;
  if (section == nullptr) return regions;
  for (const std::string& name : settings.regions) {
    const KmsAccess access{name, settings.endpoint, settings.profile, settings.role_arn,
                           settings.allow_plain_http};
    auto client = remote.aws_signing_client(*section, access);
    if (!client) return fail(client.error());
    regions.push_back({name, std::move(*client)});
  }
  return regions;
}

Result<std::string> read_key_policy(const Configuration& configuration) {
  const std::string& path = configuration.signing.key_policy_file;
  const ConfigSection* section = configuration.file.find("signing");
  if (path.empty() || section == nullptr) return std::string();
  // Whoever can change it decides who may use new keys.
  const auto file = open_private_file(path, O_RDONLY, Guard::kTrusted);
  if (!file) return fail(section->mistake("key_policy_file", file.error().message));
  const auto text = read_to_end("/proc/self/fd/" + std::to_string(file->get()), kMaxKeyPolicy);
  if (!text) {
    return fail(section->mistake("key_policy_file", os_error(path, "cannot be read").message));
  }
  if (const auto good = parse_strict_json(*text, kMaxKeyPolicy); !good) {
    return fail(section->mistake("key_policy_file", path + " " + good.error().message));
  }
  return *text;
}

}  // namespace

Result<void> SigningCustodies::check(const Configuration& configuration, RemoteParts& remote) {
  if (auto regions = signing_regions(configuration, remote); !regions) {
    return fail(regions.error());
  }
  return {};
}

Result<std::unique_ptr<SigningCustodies>> SigningCustodies::make(
    const Configuration& configuration, Backends& backends, ShelfNotes notes,
    SigningObserver* observer, std::function<void(const std::string& id)> degraded) {
  const SigningSettings& settings = configuration.signing;
  std::unique_ptr<SigningCustodies> self(new SigningCustodies);
  self->shelf_ = make_store_shelf(backends.loop(), backends.store(), host_name(), notes);
  WrappedCustodyOptions wrapped;
  wrapped.keep_for = configuration.settings.fresh_for;
  wrapped.serve_stale_for = configuration.settings.serve_stale_for;
  wrapped.degraded = std::move(degraded);
  self->wrapped_ = make_wrapped_custody(backends.loop(), backends.arena(), backends.random(),
                                        backends.regions(), *self->shelf_, std::move(wrapped));
  if (!settings.regions.empty()) {
    auto regions = signing_regions(configuration, backends.remote());
    if (!regions) return fail(regions.error());
    auto policy = read_key_policy(configuration);
    if (!policy) return fail(policy.error());
    KmsCustodyOptions kms;
    kms.alias_prefix = settings.alias_prefix();
    kms.description_prefix = settings.description_prefix();
    kms.policy = std::move(*policy);
    kms.tags = settings.key_tags;
    auto made = make_kms_custody(backends.loop(), random_fraction(backends.random()),
                                 std::move(*regions), std::move(kms), observer);
    if (!made) return fail(made.error());
    self->kms_ = std::move(*made);
    self->all_.push_back(self->kms_.get());
  }
  const auto place = settings.custody == "kms" ? self->all_.end() : self->all_.begin();
  self->all_.insert(place, self->wrapped_.get());
  return self;
}

Custody* SigningCustodies::find(std::string_view kind) const {
  for (Custody* custody : all_) {
    if (custody->kind() == kind) return custody;
  }
  return nullptr;
}

}  // namespace keyfs
