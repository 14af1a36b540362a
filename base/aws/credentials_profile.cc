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

  // Null: no credentials.
  Result<AwsCredentialSourcePtr> resolve(const std::string& name, bool with_environment) {
    visited_.insert(name);
    AwsProfile& profile = profiles_[name];
    if (assumes_role(profile)) return role(name, profile);
    return by_itself(name, profile, with_environment);
  }

 private:
  static tl::unexpected<Error> mistake(const std::string& name, const std::string& what) {
    return fail(Code::kInvalid, "AWS profile " + name + ": " + what);
  }

  static bool assumes_role(const AwsProfile& profile) {
    return profile.settings.contains("role_arn") &&
           !profile.settings.contains("web_identity_token_file");
  }
  static bool has_keys(const AwsProfile& profile) {
    return profile.in_credentials.any() || profile.in_config.any();
  }

  // Without a role to assume with other credentials.
  Result<AwsCredentialSourcePtr> by_itself(const std::string& name, AwsProfile& profile,
                                           bool with_environment) {
    const auto either = [&](const char* variable, const char* setting) {
      const auto value = with_environment ? parts_.environment(variable) : std::nullopt;
      return value ? *value : profile.get(setting);
    };
    const std::string token_file = either("AWS_WEB_IDENTITY_TOKEN_FILE", "web_identity_token_file");
    if (!token_file.empty()) {
      AwsRole role;
      role.arn = either("AWS_ROLE_ARN", "role_arn");
      if (role.arn.empty()) return mistake(name, "there is a web identity, but no role for it");
      const std::string session = either("AWS_ROLE_SESSION_NAME", "role_session_name");
      if (!session.empty()) role.session_name = session;
      return web_identity(parts_, std::move(role), token_file);
    }
    for (const char* of_sso : {"sso_account_id", "sso_role_name"}) {
      if (profile.settings.contains(of_sso)) return signs_on(name);
    }
    if (profile.in_credentials.access_key_id) return keys(name, profile.in_credentials);
    if (profile.settings.contains("login_session")) return signs_on(name);
    if (const auto command = profile.settings.find("credential_process");
        command != profile.settings.end()) {
      return process_credentials(parts_, name, command->second);
    }
    if (profile.in_config.access_key_id) return keys(name, profile.in_config);
    return AwsCredentialSourcePtr();
  }

  static tl::unexpected<Error> signs_on(const std::string& name) {
    return mistake(name,
                   "single sign-on is not supported directly; write credential_process = aws "
                   "configure export-credentials --profile " +
                       name + " in another profile");
  }

  Result<AwsCredentialSourcePtr> keys(const std::string& name, const AwsProfileKeys& from) {
    SecretArena& arena = parts_.http.arena();
    auto secret = arena.copy_of(from.secret_access_key.reveal());
    const SecretBytes& of_session =
        from.security_token.empty() ? from.session_token : from.security_token;
    auto token = arena.copy_of(of_session.reveal());
    if (!secret) return fail(secret.error());
    if (!token) return fail(token.error());
    const std::string who = "the profile " + name;
    auto credentials =
        make_credentials(who, *from.access_key_id, std::move(*secret), std::move(*token), "");
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
      return mistake(name, "mfa_serial: a daemon cannot ask for a code");
    }
    const std::string& source = profile.get("source_profile");
    const std::string& credential_source = profile.get("credential_source");
    if (!source.empty() && !credential_source.empty()) {
      return mistake(name, "source_profile and credential_source contradict each other");
    }
    Result<AwsCredentialSourcePtr> base = AwsCredentialSourcePtr();
    if (!source.empty()) {
      base = source_profile(name, source);
    } else if (!credential_source.empty()) {
      base = source_named(name, credential_source);
    } else {
      return mistake(name, "role_arn needs a source_profile or a credential_source");
    }
    if (!base) return base;
    if (!*base) return mistake(name, "its source_profile " + source + " has no credentials");
    return assumed_role(parts_, std::move(role), std::move(*base));
  }

  Result<AwsCredentialSourcePtr> source_profile(const std::string& name,
                                                const std::string& source) {
    const auto it = profiles_.find(source);
    if (it == profiles_.end()) return mistake(name, "there is no source_profile " + source);
    AwsProfile& profile = it->second;
    // A profile that names itself as its source means its own keys.
    const bool again = !visited_.insert(source).second;
    if (again && (source != name || !has_keys(profile))) {
      return mistake(name, "source_profile refers back to itself");
    }
    // In a source profile, keys take precedence over a role.
    if (has_keys(profile) || !assumes_role(profile)) return by_itself(source, profile, false);
    return role(source, profile);
  }

  Result<AwsCredentialSourcePtr> source_named(const std::string& name, const std::string& source) {
    if (source == "Ec2InstanceMetadata") return instance_credentials(parts_);
    if (source == "EcsContainer") {
      auto container = container_credentials(parts_);
      if (container && !*container) {
        return mistake(name, "credential_source = EcsContainer, but this is not one");
      }
      return container;
    }
    if (source == "Environment") {
      auto given = environment_credentials(parts_);
      if (given && !*given) {
        return mistake(name, "credential_source = Environment, but AWS_ACCESS_KEY_ID is not set");
      }
      return given;
    }
    return mistake(
        name, "credential_source is not one of Environment, Ec2InstanceMetadata, EcsContainer");
  }

  AwsSourceParts& parts_;
  AwsProfiles& profiles_;
  std::set<std::string> visited_;
};

}  // namespace

Result<AwsCredentialSourcePtr> environment_credentials(AwsSourceParts& parts) {
  const auto id = parts.environment("AWS_ACCESS_KEY_ID");
  if (!id) return AwsCredentialSourcePtr();
  // The environment keeps them anyway; do not add another copy.
  const auto variable = [&parts](const char* name) {
    std::string value = parts.environment(name).value_or("");
    auto kept = parts.http.arena().copy_of(value);
    wipe({reinterpret_cast<uint8_t*>(value.data()), value.size()});
    return kept;
  };
  auto secret = variable("AWS_SECRET_ACCESS_KEY");
  auto token = variable(parts.environment("AWS_SECURITY_TOKEN") ? "AWS_SECURITY_TOKEN"
                                                                : "AWS_SESSION_TOKEN");
  if (!secret) return fail(secret.error());
  if (!token) return fail(token.error());
  const std::string who = "the environment (AWS_ACCESS_KEY_ID)";
  auto credentials = make_credentials(who, *id, std::move(*secret), std::move(*token),
                                      parts.environment("AWS_CREDENTIAL_EXPIRATION").value_or(""));
  if (!credentials) return fail(credentials.error());
  return given_credentials(who, *credentials);
}

Result<AwsCredentialSourcePtr> profile_credentials(AwsSourceParts& parts, AwsProfiles& profiles,
                                                   const std::string& name, bool with_environment) {
  return Resolver(parts, profiles).resolve(name, with_environment);
}

}  // namespace keyfs
