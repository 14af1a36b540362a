// The process's environment, passed in so that tests can supply their own.
//
// Thread-safety: as the function is. Blocking: never. Errors: none.
#pragma once

#include <functional>
#include <optional>
#include <string>

namespace keyfs {

// The value of a variable; nullopt if it is unset or empty, which AWS tools treat alike.
using Environment = std::function<std::optional<std::string>(const std::string& name)>;

// Reads getenv(3) at each call; from any thread, as long as nobody changes the environment.
Environment process_environment();

}  // namespace keyfs
