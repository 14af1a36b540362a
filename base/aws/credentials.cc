#include "base/aws/credentials.h"

#include <algorithm>
#include <utility>

#include "base/aws/credentials_sources.h"
#include "base/aws/endpoint.h"
#include "base/text.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;

constexpr auto kRenewBefore = 5min;
constexpr auto kFetchWithin = 30s;      // several requests, and a process perhaps
constexpr auto kRememberFailure = 1s;   // so that a burst of callers does not cause a burst of
                                        // fetches
constexpr auto kRetryBackground = 15s;  // while the old ones are still good

// The order of AWS tools. Looks again each time: files and tokens are replaced under a running
// daemon.
class Chain final : public AwsCredentialSource {
 public:
  Chain(HttpClient& http, HttpClient& direct, LazyWorker& worker, Environment environment,
        AwsCredentialOptions options, std::shared_ptr<const std::vector<std::string>> sts_regions,
        const bool& allow_plain_http)
      : clock_(http.loop().clock()),
        parts_{http, direct, worker, std::move(environment), {}, clock_, allow_plain_http},
        options_(std::move(options)),
        sts_regions_(std::move(sts_regions)) {}

  std::string name() const override { return name_; }
  bool good_past_expiration() const override { return good_past_expiration_; }

  Task<Result<AwsCredentialsPtr>> fetch(TimePoint deadline) override {
    const std::function<Result<AwsProfiles>()> read =
        [&arena = parts_.http.arena(),
         files = aws_profile_files(parts_.environment, options_.home)] {
          return read_aws_profiles(arena, files);
        };
    auto profiles = co_await parts_.worker.run(read);
    if (!profiles) co_return fail(profiles.error());
    auto source = choose(*profiles);
    if (!source) co_return fail(source.error());
    if (!options_.role_arn.empty()) {
      AwsRole role;
      role.arn = options_.role_arn;
      *source = assumed_role(parts_, std::move(role), std::move(*source));
    }
    name_ = (*source)->name();
    good_past_expiration_ = (*source)->good_past_expiration();
    co_return co_await (*source)->fetch(deadline);
  }

 private:
  Result<AwsCredentialSourcePtr> choose(AwsProfiles& profiles) {
    const auto named = parts_.environment("AWS_PROFILE");
    const std::string profile =
        !options_.profile.empty() ? options_.profile : named.value_or("default");
    set_sts_regions(profiles, profile);
    if (options_.profile.empty()) {
      auto given = environment_credentials(parts_);
      if (!given || *given) return given;
    }
    if ((!options_.profile.empty() || named) && !profiles.contains(profile)) {
      return fail(Code::kInvalid, "there is no AWS profile " + profile);
    }
    auto source = profile_credentials(parts_, profiles, profile, options_.profile.empty());
    if (!source || *source) return source;
    if (!options_.profile.empty()) {
      return fail(Code::kUnauthenticated, "AWS profile " + profile + " has no credentials");
    }
    auto container = container_credentials(parts_);
    if (!container || *container) return container;
    const std::string disabled = parts_.environment("AWS_EC2_METADATA_DISABLED").value_or("");
    if (lower(disabled) != "true") return instance_credentials(parts_);
    return fail(Code::kUnauthenticated,
                "no AWS credentials: none in the environment, no web identity, no profile " +
                    profile +
                    ", no container, and the instance is not asked "
                    "(AWS_EC2_METADATA_DISABLED)");
  }

  void set_sts_regions(AwsProfiles& profiles, const std::string& profile) {
    auto& regions = parts_.sts_regions;
    regions.clear();
    const auto add = [&regions](const std::string& region) {
      if (!region.empty() && std::find(regions.begin(), regions.end(), region) == regions.end()) {
        regions.push_back(region);
      }
    };
    add(default_aws_region(parts_.environment));
    if (const auto it = profiles.find(profile); it != profiles.end()) add(it->second.get("region"));
    for (const auto& region : *sts_regions_) add(region);
    if (regions.empty()) regions.push_back("us-east-1");
  }

  AwsClock clock_;
  AwsSourceParts parts_;
  AwsCredentialOptions options_;
  std::shared_ptr<const std::vector<std::string>> sts_regions_;
  std::string name_;
  bool good_past_expiration_ = false;
};

}  // namespace

AwsCredentialProvider::AwsCredentialProvider(HttpClient& http, HttpClient& direct,
                                             Environment environment, AwsCredentialOptions options)
    : AwsCredentialProvider(http, nullptr) {
  *sts_regions_ = options.sts_regions;
  warn_ = std::move(options.warn);
  worker_ = std::make_unique<LazyWorker>(loop_, "keyfs-aws");
  source_ = std::make_unique<Chain>(http, direct, *worker_, std::move(environment),
                                    std::move(options), sts_regions_, allow_plain_http_);
}

AwsCredentialProvider::AwsCredentialProvider(HttpClient& http,
                                             std::unique_ptr<AwsCredentialSource> source)
    : loop_(http.loop()),
      sts_regions_(std::make_shared<std::vector<std::string>>()),
      source_(std::move(source)),
      flights_(loop_),
      background_(loop_) {}

void AwsCredentialProvider::add_sts_region(const std::string& region) {
  sts_regions_->push_back(region);
}

AwsCredentialProvider::~AwsCredentialProvider() = default;

Task<Result<AwsCredentialsPtr>> AwsCredentialProvider::get(TimePoint deadline) {
  if (current_ != nullptr && !refused_) {
    const WallTime now = loop_.clock().wall();
    const auto& expires = current_->expires;
    if (!expires || now + kRenewBefore < *expires) co_return current_;
    if (now < *expires || source_->good_past_expiration()) {
      renew_in_background();
      co_return current_;
    }
  }
  if (failure_ && loop_.now() < failed_at_ + kRememberFailure) co_return fail(*failure_);
  co_return co_await before(loop_, deadline, "could not get AWS credentials", join());
}

Task<Result<AwsCredentialsPtr>> AwsCredentialProvider::join() {
  return flights_.join("", [this](Flight::Flight&) { return renew(); });
}

Task<Result<AwsCredentialsPtr>> AwsCredentialProvider::renew() {
  next_renewal_ = loop_.now() + kRetryBackground;
  auto fetched = co_await source_->fetch(loop_.now() + kFetchWithin);
  origin_ = source_->name();
  failure_.reset();
  if (!fetched) {
    failure_ = fetched.error().within("could not get AWS credentials");
  } else if (const auto& expires = (*fetched)->expires;
             expires && *expires <= loop_.clock().wall()) {
    if (source_->good_past_expiration()) {
      current_ = *fetched;
      refused_ = false;
      warn_expired();
      co_return current_;
    }
    failure_ = Error(Code::kUnauthenticated,
                     "the AWS credentials from " + origin_ + " expired at " + to_rfc3339(*expires) +
                         ": renew them at their source, or set this machine's clock");
  }
  if (failure_) {
    failed_at_ = loop_.now();
    warn_expired();
    co_return fail(*failure_);
  }
  current_ = *fetched;
  refused_ = false;
  co_return current_;
}

void AwsCredentialProvider::warn_expired() {
  if (!warn_ || current_ == nullptr || refused_ || !source_->good_past_expiration()) return;
  if (!current_->expires || loop_.clock().wall() < *current_->expires) return;
  warn_("the AWS credentials from " + origin_ + " expired at " + to_rfc3339(*current_->expires) +
        " and there are no newer ones yet; they stay in use until AWS refuses them");
}

void AwsCredentialProvider::renew_in_background() {
  if (flights_.in_flight("") || loop_.now() < next_renewal_) return;
  background_.cancel(background_number_);  // the last one, which has ended
  background_number_ = background_.start(join());
}

void AwsCredentialProvider::refused(const AwsCredentialsPtr& used) {
  if (used == current_) refused_ = true;
}

}  // namespace keyfs
