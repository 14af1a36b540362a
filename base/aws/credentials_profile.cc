// From a profile to its source.
//   https://docs.aws.amazon.com/sdkref/latest/guide/feature-assume-role-credentials.html
#include <charconv>
#include <set>

#include "base/aws/credentials_sources.h"

namespace keyfs {
namespace {

class Resolver {
 public:
  Resolver(AwsSourceParts& parts, AwsProfiles& profiles) : parts_(parts), profiles_(profiles) {}

  // Null: the profile has nothing about credentials.
  Result<AwsCredentialSourcePtr> resolve(const std::string& name) {
    const auto it = profiles_.find(name);
    if (it == profiles_.end()) {
      return fail(Code::kInvalid, "there is no AWS profile " + name);
    }
    AwsProfile& profile = it->second;
    const std::string& role_arn = profile.get("role_arn");
    // A profile that names itself as its source means its own keys.
    const bool again = !visited_.insert(name).second;
    if (!role_arn.empty() && !again) return role(name, profile);
    if (!profile.get("aws_access_key_id").empty()) return keys(name, profile);
    if (again) return mistake(name, "source_profile goes round in a circle");
    if (!profile.get("credential_process").empty()) {
      return process_credentials(parts_, name, profile.get("credential_process"));
    }
    if (!profile.get("sso_session").empty() || !profile.get("sso_start_url").empty()) {
      return mistake(name,
                     "single sign-on is not supported by itself; say credential_process = aws "
                     "configure export-credentials --profile " +
                         name + " in another profile");
    }
    return AwsCredentialSourcePtr();
  }

 private:
  static tl::unexpected<Error> mistake(const std::string& name, const std::string& what) {
    return fail(Code::kInvalid, "AWS profile " + name + ": " + what);
  }

  Result<AwsCredentialSourcePtr> keys(const std::string& name, AwsProfile& profile) {
    SecretArena& arena = parts_.http.arena();
    auto secret = arena.copy_of(profile.secret_access_key.reveal());
    auto token = arena.copy_of(profile.session_token.reveal());
    if (!secret) return fail(secret.error());
    if (!token) return fail(token.error());
    const std::string who = "the profile " + name;
    auto credentials = make_credentials(who, profile.get("aws_access_key_id"), std::move(*secret),
                                        std::move(*token), "");
    if (!credentials) return fail(credentials.error());
    return given_credentials(who, *credentials);
  }

  Result<AwsCredentialSourcePtr> role(const std::string& name, AwsProfile& profile) {
    AwsRole role;
    role.arn = profile.get("role_arn");
    role.external_id = profile.get("external_id");
    if (const std::string& session = profile.get("role_session_name"); !session.empty()) {
      role.session_name = session;
    }
    if (const std::string& text = profile.get("duration_seconds"); !text.empty()) {
      const auto [end, error] =
          std::from_chars(text.data(), text.data() + text.size(), role.duration_seconds);
      if (error != std::errc() || end != text.data() + text.size() || role.duration_seconds < 900 ||
          role.duration_seconds > 43200) {
        return mistake(name, "duration_seconds is not from 900 to 43200");
      }
    }
    if (!profile.get("mfa_serial").empty()) {
      return mistake(name, "mfa_serial: there is nobody to ask for a code");
    }
    const std::string& token_file = profile.get("web_identity_token_file");
    const std::string& source = profile.get("source_profile");
    const std::string& credential_source = profile.get("credential_source");
    if (!token_file.empty()) return web_identity(parts_, std::move(role), token_file);
    if (!source.empty() && !credential_source.empty()) {
      return mistake(name, "source_profile and credential_source contradict each other");
    }
    Result<AwsCredentialSourcePtr> base = AwsCredentialSourcePtr();
    if (!source.empty()) {
      base = resolve(source);
    } else if (!credential_source.empty()) {
      base = source_named(name, credential_source);
    } else {
      return mistake(name, "role_arn needs a source_profile or a credential_source");
    }
    if (!base) return base;
    if (!*base) return mistake(name, "its source_profile " + source + " has no credentials");
    return assumed_role(parts_, std::move(role), std::move(*base));
  }

  Result<AwsCredentialSourcePtr> source_named(const std::string& name, const std::string& source) {
    if (source == "Ec2InstanceMetadata") return instance_credentials(parts_);
    if (source == "EcsContainer") {
      auto container = container_credentials(parts_);
      if (container && !*container) {
        return mistake(name, "credential_source = EcsContainer, and this is none");
      }
      return container;
    }
    if (source == "Environment") {
      auto given = environment_credentials(parts_);
      if (given && !*given) {
        return mistake(name, "credential_source = Environment, and AWS_ACCESS_KEY_ID is not set");
      }
      return given;
    }
    return mistake(name,
                   "credential_source is none of Environment, Ec2InstanceMetadata, EcsContainer");
  }

  AwsSourceParts& parts_;
  AwsProfiles& profiles_;
  std::set<std::string> visited_;
};

}  // namespace

Result<AwsCredentialSourcePtr> environment_credentials(AwsSourceParts& parts) {
  const auto id = parts.environment("AWS_ACCESS_KEY_ID");
  if (!id) return AwsCredentialSourcePtr();
  // The environment itself keeps them anyway; no need for one more copy.
  const auto variable = [&parts](const char* name) {
    std::string value = parts.environment(name).value_or("");
    auto kept = parts.http.arena().copy_of(value);
    wipe({reinterpret_cast<uint8_t*>(value.data()), value.size()});
    return kept;
  };
  auto secret = variable("AWS_SECRET_ACCESS_KEY");
  auto token = variable("AWS_SESSION_TOKEN");
  if (!secret) return fail(secret.error());
  if (!token) return fail(token.error());
  const std::string who = "the environment (AWS_ACCESS_KEY_ID)";
  auto credentials = make_credentials(who, *id, std::move(*secret), std::move(*token),
                                      parts.environment("AWS_CREDENTIAL_EXPIRATION").value_or(""));
  if (!credentials) return fail(credentials.error());
  return given_credentials(who, *credentials);
}

Result<AwsCredentialSourcePtr> profile_credentials(AwsSourceParts& parts, AwsProfiles& profiles,
                                                   const std::string& name) {
  return Resolver(parts, profiles).resolve(name);
}

}  // namespace keyfs
