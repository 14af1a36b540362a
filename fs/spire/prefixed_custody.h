// A part of a custody: the names that begin with a prefix, without it. Keeps the keys of several
// SPIRE servers on one store apart, each under a prefix that no other's begins with.
//
// Thread-safety, ownership, blocking, errors: as kms/signing/custody.h; `whole` outlives it.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "kms/signing/custody.h"

namespace keyfs {

std::unique_ptr<Custody> make_prefixed_custody(Custody& whole, std::string prefix);

// Any text as a part of a key id (fs/policy/key_id.h), which does not hold '~': what may not be in
// it, '~' and '=' become "=7e". Different texts stay different.
std::string escape_id_part(std::string_view text);
std::optional<std::string> unescape_id_part(std::string_view part);

// "spire~TRUST_DOMAIN~SERVER~"
std::string wrapped_prefix(std::string_view trust_domain, std::string_view server);

}  // namespace keyfs
