#include "store/etcd/options.h"

#include <algorithm>

#include "base/config_reader.h"
#include "base/host.h"

namespace keyfs {
namespace {

bool is_url(const std::string& url) {
  for (const std::string_view scheme : {"https://", "http://"}) {
    if (!url.starts_with(scheme)) continue;
    const std::string_view rest = std::string_view(url).substr(scheme.size());
    const size_t slash = rest.find('/');
    return !rest.empty() && slash != 0 &&
           (slash == std::string_view::npos || slash + 1 == rest.size()) &&
           rest.find_first_of(" @?#") == std::string_view::npos;
  }
  return false;
}

void absolute(ConfigReader& in, const char* key, const std::string& path) {
  if (!path.empty() && path.front() != '/') in.mistake(key, "must be an absolute path");
}

}  // namespace

Result<EtcdOptions> read_etcd_options(const ConfigSection& section) {
  ConfigReader in(section);
  EtcdOptions options;
  in.required("type");
  options.endpoints = in.required_list("endpoints");
  options.prefix = in.string("prefix", options.prefix);
  options.ca = in.string("ca", "");
  options.cert = in.string("cert", "");
  options.key = in.string("key", "");
  options.user = in.string("user", "");
  options.password_file = in.string("password_file", "");

  const bool allow_plain_http = in.boolean("allow_plain_http", false);

  bool tls = true;
  for (const auto& url : options.endpoints) {
    if (!is_url(url)) {
      in.mistake("endpoints", "must be URLs such as https://host:2379, separated by commas");
    } else if (!allow_plain_http && is_plain_to_another_machine(url)) {
      in.mistake("endpoints",
                 "has plain http to another machine, so records could be changed on the network; "
                 "use https, or set allow_plain_http = yes");
    }
    tls = tls && url.starts_with("https://");
  }
  if (options.endpoints.size() > 16) in.mistake("endpoints", "has more than 16 URLs");
  while (options.prefix.size() > 1 && options.prefix.back() == '/') options.prefix.pop_back();
  const auto printable = [](unsigned char c) { return c > ' ' && c < 0x7f; };
  if (options.prefix.empty() || options.prefix == "/" || options.prefix.size() > 255 ||
      !std::all_of(options.prefix.begin(), options.prefix.end(), printable)) {
    in.mistake("prefix", "must be 1 to 255 printable characters, and more than /");
  }
  absolute(in, "ca", options.ca);
  absolute(in, "cert", options.cert);
  absolute(in, "key", options.key);
  absolute(in, "password_file", options.password_file);
  if (options.cert.empty() != options.key.empty()) {
    in.mistake(options.cert.empty() ? "key" : "cert", "cert and key go together");
  }
  if (options.user.empty() != options.password_file.empty()) {
    in.mistake(options.user.empty() ? "password_file" : "user",
               "user and password_file go together");
  }
  if (!options.user.empty() && !tls) {
    in.mistake("user", "a password is only sent to https:// endpoints");
  }
  if (auto ok = in.finish(); !ok) return fail(ok.error());
  return options;
}

}  // namespace keyfs
