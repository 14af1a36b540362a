// Who is told of each key that an open(2) was given, besides the audit, and also where that is off.
//
// Thread-safety: opened() from any thread. Blocking: never: it is on the path of a warm read, and
// neither waits nor allocates. Ownership: it may keep the key's entry and the process's description.
// Errors: none.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>

#include "base/clock.h"
#include "fs/audit/process_info.h"
#include "fs/keys/key_cache.h"

namespace keyfs {

class OpenListener {
 public:
  virtual ~OpenListener() = default;
  struct Times {
    TimePoint begun;     // when the open came
    TimePoint answered;  // just before the reply, in which order a process sees its openings
  };
  // After the reply. `version`: what was handed out; `asked`: the number that it was opened by, 0
  // for the current one; `process`: as it was before the reply, never null.
  virtual void opened(const KeyRef& key, uint32_t version, uint32_t asked, uid_t uid,
                      const std::shared_ptr<const ProcessInfo>& process, Times times) = 0;
};

}  // namespace keyfs
