#include "kms/signing/kms_messages.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "base/text.h"
#include "kms/kms_error.h"

namespace keyfs {
namespace {

using namespace std::string_view_literals;
using SigningJson = nlohmann::json;

constexpr std::array kKmsSpecs = {"ECC_NIST_P256"sv, "ECC_NIST_P384"sv, "RSA_2048"sv, "RSA_4096"sv};

constexpr std::string_view kNotFoundMark = "(NotFoundException)";

// What KMS refuses however often it is asked.
constexpr std::array kRefusesTheRequest = {"AlreadyExistsException"sv,
                                           "InvalidAliasNameException"sv,
                                           "InvalidKeyUsageException"sv,
                                           "InvalidMarkerException"sv,
                                           "TagException"sv,
                                           "MalformedPolicyDocumentException"sv,
                                           "UnsupportedOperationException"sv};

// Seconds since 1970, as a number with a fraction.
std::optional<WallTime> kms_time(const SigningJson& object, const char* member) {
  const auto found = object.find(member);
  if (found == object.end() || !found->is_number()) return std::nullopt;
  const double seconds = found->get<double>();
  if (!(seconds >= 0 && seconds < 1e11)) return std::nullopt;
  return WallTime(std::chrono::milliseconds(std::llround(seconds * 1000)));
}

const SigningJson* kms_list(const SigningJson& body, const char* member) {
  if (!body.is_object()) return nullptr;
  const auto found = body.find(member);
  return found == body.end() || !found->is_array() ? nullptr : &*found;
}

// A page that says that there are more, and not where, would end the list early.
std::optional<std::string> kms_next(const SigningJson& body) {
  const auto truncated = body.find("Truncated");
  if (truncated == body.end() || !truncated->is_boolean() || !truncated->get<bool>()) return "";
  std::string marker = kms_text(body, "NextMarker");
  if (marker.empty()) return std::nullopt;
  return marker;
}

// arn:PARTITION:kms:REGION:ACCOUNT:alias/NAME, and the id that it refers to.
std::optional<KmsKeyArn> target_of(const std::string& alias_arn, const std::string& id) {
  const size_t at = alias_arn.find(":alias/");
  if (at == std::string::npos || id.empty()) return std::nullopt;
  return KmsKeyArn::parse(alias_arn.substr(0, at) + ":key/" + id);
}

}  // namespace

std::string_view kms_key_spec(SigningKeyType type) { return kKmsSpecs[static_cast<size_t>(type)]; }

bool is_kms_signing_spec(std::string_view spec) {
  return std::find(kKmsSpecs.begin(), kKmsSpecs.end(), spec) != kKmsSpecs.end();
}

std::string to_text(const KmsKeyArn& arn) {
  return "arn:" + arn.partition + ":kms:" + arn.region + ":" + arn.account + ":key/" + arn.id;
}

std::string kms_text(const SigningJson& object, const char* member) {
  if (!object.is_object()) return "";
  const auto found = object.find(member);
  return found == object.end() || !found->is_string() ? "" : found->get<std::string>();
}

std::optional<KmsAliasPage> parse_kms_aliases(const SigningJson& body) {
  const SigningJson* list = kms_list(body, "Aliases");
  if (list == nullptr) return std::nullopt;
  KmsAliasPage page;
  for (const SigningJson& entry : *list) {
    KmsAlias alias;
    alias.name = kms_text(entry, "AliasName");
    auto target = target_of(kms_text(entry, "AliasArn"), kms_text(entry, "TargetKeyId"));
    if (alias.name.empty() || !target) continue;  // AWS's own refer to nothing until they are used
    alias.target = std::move(*target);
    alias.written = kms_time(entry, "LastUpdatedDate");
    if (!alias.written) alias.written = kms_time(entry, "CreationDate");
    page.aliases.push_back(std::move(alias));
  }
  auto next = kms_next(body);
  if (!next) return std::nullopt;
  page.next = std::move(*next);
  return page;
}

std::optional<KmsKeyPage> parse_kms_keys(const SigningJson& body) {
  const SigningJson* list = kms_list(body, "Keys");
  if (list == nullptr) return std::nullopt;
  KmsKeyPage page;
  for (const SigningJson& entry : *list) {
    auto arn = KmsKeyArn::parse(kms_text(entry, "KeyArn"));
    if (!arn) return std::nullopt;
    page.keys.push_back(std::move(*arn));
  }
  auto next = kms_next(body);
  if (!next) return std::nullopt;
  page.next = std::move(*next);
  return page;
}

std::optional<KmsKeyFacts> parse_kms_key_facts(const SigningJson& body) {
  if (!body.is_object()) return std::nullopt;
  const auto metadata = body.find("KeyMetadata");
  if (metadata == body.end() || !metadata->is_object()) return std::nullopt;
  auto arn = KmsKeyArn::parse(kms_text(*metadata, "Arn"));
  if (!arn) return std::nullopt;
  KmsKeyFacts facts;
  facts.arn = std::move(*arn);
  facts.state = kms_text(*metadata, "KeyState");
  facts.usage = kms_text(*metadata, "KeyUsage");
  facts.spec = kms_text(*metadata, "KeySpec");
  facts.description = kms_text(*metadata, "Description");
  facts.created = kms_time(*metadata, "CreationDate");
  const auto regions = metadata->find("MultiRegionConfiguration");
  if (regions == metadata->end()) return facts;
  facts.replica = kms_text(*regions, "MultiRegionKeyType") == "REPLICA";
  const SigningJson* replicas = kms_list(*regions, "ReplicaKeys");
  if (replicas == nullptr) return facts;
  for (const SigningJson& one : *replicas) facts.replicas.push_back(kms_text(one, "Region"));
  return facts;
}

Error kms_signing_error(const AwsReply& reply, const std::string& operation,
                        const std::string& subject, const std::string& region) {
  const std::string reason = " (" + reply.reason() + ")";
  const std::string what = subject + " in " + region;
  if (reply.error == "DisabledException") {
    return Error(Code::kRevoked, what + " is disabled" + reason);
  }
  if (reply.error == "KMSInvalidStateException") {
    return Error(Code::kRevoked, what + " is pending deletion or not ready" + reason);
  }
  if (reply.error == "NotFoundException") {
    return Error(Code::kRevoked, what + " does not exist " + std::string(kNotFoundMark));
  }
  if (reply.error == "AccessDeniedException") {
    return Error(Code::kDenied, "kms:" + operation + " with " + what + " is not permitted" +
                                    reason +
                                    ": the key's policy and the caller's IAM policy must allow it");
  }
  const bool ours = std::find(kRefusesTheRequest.begin(), kRefusesTheRequest.end(), reply.error) !=
                    kRefusesTheRequest.end();
  const Code code = ours ? Code::kInvalid : kms_error_code(reply);
  return Error(code, "KMS in " + region + " answers " + operation + " of " + subject + " with " +
                         reply.reason());
}

bool says_not_found(const Error& error) {
  return error.code == Code::kRevoked && error.message.ends_with(kNotFoundMark);
}

}  // namespace keyfs
