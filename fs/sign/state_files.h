// The small files in which signing keys keep what must survive a restart. Only keyfs's user may
// write them (base/private_file.h).
//
// Thread-safety: plain functions. Blocking: they touch the disk; on a worker, or at start. Errors:
// those of base/file.h and base/private_file.h.
#pragma once

#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace keyfs {

inline constexpr size_t kMaxStateFile = 16384;

// Makes the directory with mode 0700 if it is not there, and checks it.
Result<void> make_state_directory(const std::string& path);
// The names of its files that have this ending, sorted; none for a directory that is not there.
Result<std::vector<std::string>> state_files_in(const std::string& directory,
                                                std::string_view ending);
// The file of a key: a hash, so that any reference will do. kUnavailable as sha256().
Result<std::string> state_file_name(std::string_view custody, std::string_view key);
// nullopt: it is not there, or holds no JSON object.
Result<std::optional<nlohmann::json>> read_state_file(const std::string& path);
// Survives a power failure once it has returned; makes the directory if it is not there.
Result<void> write_state_file(const std::string& path, const nlohmann::json& what);
// Gone already: done.
Result<void> remove_state_file(const std::string& path);

// As a line; what is no UTF-8 is replaced.
std::string state_line(const nlohmann::json& what);
// A text in an object; empty if it is not there or is no text.
std::string text_in(const nlohmann::json& object, const char* name);

}  // namespace keyfs
