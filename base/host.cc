#include "base/host.h"

#include <algorithm>

#include "base/text.h"

namespace keyfs {

std::string_view without_port(std::string_view host) {
  const size_t bracket = host.rfind(']');
  return host.substr(0, bracket == host.npos ? host.rfind(':') : bracket + 1);
}

bool is_this_machine(std::string_view host) {
  host = without_port(host);
  if (lower(host) == "localhost" || host == "[::1]") return true;
  return host.starts_with("127.") &&
         std::all_of(host.begin(), host.end(), [](char c) { return is_digit(c) || c == '.'; });
}

bool is_plain_to_another_machine(std::string_view url) {
  constexpr std::string_view kPlain = "http://";
  if (!url.starts_with(kPlain)) return false;
  const std::string_view host = url.substr(kPlain.size());
  return !is_this_machine(host.substr(0, host.find('/')));
}

std::string without_userinfo(std::string_view text) {
  const size_t scheme = text.find("://");
  // The last one: a password that was not encoded may have any of "/?#@" in it.
  const size_t at = text.rfind('@');
  if (scheme == text.npos || at == text.npos || at < scheme) return std::string(text);
  return std::string(text.substr(0, scheme + 3)) + "..." + std::string(text.substr(at));
}

}  // namespace keyfs
