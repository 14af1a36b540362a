// Prints as JSON how keyfs reads AWS's files and variables, for same_as_botocore.py.
//
// usage: aws_reading profiles CONFIG CREDENTIALS   the contents of the two files
//        aws_reading source PROFILE                where credentials come from in this environment;
//                                                  PROFILE: from keyfs's configuration, may be
//                                                  empty
#include <iostream>
#include <nlohmann/json.hpp>
#include <string_view>

#include "base/aws/credentials.h"
#include "base/aws/profile.h"
#include "base/aws/shell_words.h"

namespace keyfs {
namespace {

using Json = nlohmann::json;

Json told(const AwsProfileKeys& keys) {
  Json out = Json::object();
  if (keys.access_key_id) out["aws_access_key_id"] = *keys.access_key_id;
  if (keys.has_secret) out["aws_secret_access_key"] = keys.secret_access_key.reveal_text();
  if (!keys.session_token.empty()) out["aws_session_token"] = keys.session_token.reveal_text();
  if (!keys.security_token.empty()) out["aws_security_token"] = keys.security_token.reveal_text();
  return out;
}

Json profiles(const AwsProfileFiles& files) {
  SecretArena arena;
  const auto read = read_aws_profiles(arena, files);
  if (!read) return {{"error", read.error().message}};
  Json out = Json::object();
  for (const auto& [name, profile] : *read) {
    Json& one = out[name];
    one["settings"] = profile.settings;
    one["config"] = told(profile.in_config);
    one["credentials"] = told(profile.in_credentials);
    if (const auto command = profile.settings.find("credential_process");
        command != profile.settings.end()) {
      const auto words = shell_words(command->second);
      one["words"] = words ? Json(*words) : Json();
    }
  }
  return {{"profiles", out}};
}

Json source(const std::string& profile) {
  CurlGlobal curl;
  SecretArena arena;
  SystemClock clock;
  CurlPoller poller(curl);
  Loop loop(clock, poller);
  const auto http = HttpClient::create(loop, poller, arena, {});
  if (!http) return {{"error", http.error().message}};
  AwsCredentialOptions options;
  options.profile = profile;
  AwsCredentialProvider provider(**http, **http, process_environment(), options);
  const auto got = loop.run_task(provider.get(clock.now() + std::chrono::seconds(10)));
  Json out = {{"origin", provider.origin()}};
  if (got) out["access_key_id"] = (*got)->access_key_id;
  if (!got) out["error"] = got.error().message;
  return out;
}

}  // namespace
}  // namespace keyfs

int main(int argc, char** argv) {
  const std::string_view what = argc > 1 ? argv[1] : "";
  if (what == "profiles" && argc == 4) {
    keyfs::AwsProfileFiles files;
    files.config = argv[2];
    files.credentials = argv[3];
    std::cout << keyfs::profiles(files).dump() << '\n';
  } else if (what == "source" && argc == 3) {
    std::cout << keyfs::source(argv[2]).dump() << '\n';
  } else {
    std::cerr << "usage: aws_reading profiles CONFIG CREDENTIALS | source PROFILE\n";
    return 2;
  }
  return 0;
}
