// The process's environment, handed in so that tests bring their own.
//
// Thread-safety: as the function is; process_environment() only reads. Blocking: never.
#pragma once

#include <functional>
#include <optional>
#include <string>

namespace keyfs {

// The value of a variable; nullopt when it is not set, or set to nothing, which the AWS tools take
// for the same.
using Environment = std::function<std::optional<std::string>(const std::string& name)>;

Environment process_environment();

}  // namespace keyfs
