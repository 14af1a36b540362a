// The process's environment, passed in so that tests can supply their own.
//
// Thread-safety: as the function is; process_environment() only reads. Blocking: never.
#pragma once

#include <functional>
#include <optional>
#include <string>

namespace keyfs {

// The value of a variable; nullopt if it is unset or empty, which AWS tools treat alike.
using Environment = std::function<std::optional<std::string>(const std::string& name)>;

Environment process_environment();

}  // namespace keyfs
