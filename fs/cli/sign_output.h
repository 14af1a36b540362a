// How `keyfs sign list` and `describe` show signing keys.
//
// Thread-safety: plain functions. Blocking: as the streams do. Errors: none.
#pragma once

#include <iosfwd>
#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "fs/cli/sign_parts.h"

namespace keyfs {

// {"id", "type", "custody", "state", "fingerprint", "key", "algorithms", "problem"}
nlohmann::ordered_json signing_key_json(const NamedSigningKey& key);
// The same with {"public_key" (PEM), "may": {"use", "see", "create", "admin"}, "section", "file",
// "line"}.
nlohmann::ordered_json signing_key_json(const NamedSigningKey& key,
                                        const SignPermission& permission);

void print(const std::vector<NamedSigningKey>& keys, std::ostream& out);
void print(const NamedSigningKey& key, const SignPermission& permission, const User& user,
           std::ostream& out);

}  // namespace keyfs
