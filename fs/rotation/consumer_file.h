// The consumers of this host as the text of a file: JSON, no key in it.
//
//   {"keyfs_consumers": 1, "epoch": "BOOT_ID pid:[N]", "programs": [
//     {"unit": "nginx.service", "cgroup": "/system.slice/nginx.service", "exe": "/usr/sbin/nginx",
//      "uid": 0, "seen": "2026-11-22T03:46:00Z", "incomplete": false, "unfollowed": false,
//      "keys": {"tls-a": 3}, "processes": [[4711, 1234567, {"tls-a": 3}]], "sections": ["nginx"]}]}
//
// "sections": names of those that it fits, or has fitted; left out where there may be others.
// A path that is not UTF-8 is "exe_hex" or "cgroup_hex". Unknown fields are ignored.
//
// Thread-safety: plain functions. Blocking: text_of() looks at processes; on a worker.
// read_private_text() reads from the disk. Errors: kCorrupt; of reading, base/private_file.h's.
#pragma once

#include <cstddef>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "fs/rotation/consumer_table.h"
#include "fs/rotation/process_id.h"

namespace keyfs {

inline constexpr size_t kMaxConsumerFile = size_t{48} << 20;  // bytes

struct ConsumerText {
  std::string text;
  std::vector<ProcessId> ended;  // which the text leaves out; sorted
};
// `epoch` (process_epoch()) empty: no process is in it, since it could not be believed later.
ConsumerText text_of(const ConsumerTable::Programs& programs, const std::string& epoch,
                     const std::function<bool(const ProcessId&)>& runs = is_running);

// Processes only if they are of this epoch; whether they run still is not looked at.
Result<std::vector<ConsumerTable::Program>> parse_consumers(std::string_view text,
                                                            const std::string& epoch);

// One program of the list. Processes only `with_processes`.
nlohmann::json json_of(const ConsumerTable::Program& program, bool with_processes);
std::optional<ConsumerTable::Program> program_of_json(const nlohmann::json& value,
                                                      bool with_processes);

// Renames a file that is damaged, for whoever looks for the reason; what to say of it: "FILE: WHY; it
// is now FILE.damaged".
std::string set_aside(const std::string& path, const std::string& why);

// A file that nobody else may write. nullopt: there is none.
Result<std::optional<std::string>> read_private_text(const std::string& path, size_t most);

}  // namespace keyfs
