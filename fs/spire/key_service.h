// SPIRE's KeyManager service over signing keys.
//
// Thread-safety: none; on the loop's thread. Ownership: `keys` outlives the tasks. Blocking: never.
// Errors: in the answer, with the codes and texts of SPIRE's own key managers.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/log.h"
#include "base/task.h"
#include "fs/sign/signing_keys.h"
#include "fs/spire/rpc.h"

namespace keyfs {

enum class KeyMethod { kGenerateKey, kGetPublicKey, kGetPublicKeys, kSignData };
// Of "GenerateKey"...; nullopt: there is none of that name.
std::optional<KeyMethod> key_method_of(std::string_view name);

// What can be refused without any keys; nullopt: the request is well-formed.
std::optional<RpcAnswer> refuse(KeyMethod method, std::string_view request);

// Of a request that refuse() has let pass.
Task<RpcAnswer> serve_keys(SigningKeys& keys, Log& log, KeyMethod method, std::string request,
                           TimePoint deadline);

// `key "x" not found`, as Go quotes.
std::string not_found(const std::string& id);

}  // namespace keyfs
