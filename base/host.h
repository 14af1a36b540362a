// Hosts as they stand in URLs.
//
// Thread-safety: pure functions. Blocking: never: no name is looked up. Errors: none.
#pragma once

#include <string>
#include <string_view>

namespace keyfs {

// "host" or "[address]" without the port, from what host_of() (base/http.h) returns.
std::string_view without_port(std::string_view host);
// Whether it is a loopback address or localhost, so that traffic crosses no network.
bool is_this_machine(std::string_view host);
// Whether what goes to this URL can be read and changed on a network.
bool is_plain_to_another_machine(std::string_view url);
// Text with a URL in it, for a message: without what may be a user and a password there.
std::string without_userinfo(std::string_view text);

}  // namespace keyfs
