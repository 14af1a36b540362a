// What the store has of an id, held against this host's memory: for commands and the healer, which
// change records. The keyring has an Inquiry, which knows more.
//
// Thread-safety: none; on the loop's thread. Ownership: refers to its parts, which outlive the
// task. Blocking: never.
#pragma once

#include <optional>

#include "base/clock.h"
#include "base/loop.h"
#include "base/result.h"
#include "base/task.h"
#include "fs/keys/host_memory.h"
#include "store/store.h"

namespace keyfs {

// `found`: as the store gave it, strongly consistent. Where the memory contradicts it the store is
// asked once more, since another command may have changed the record, and noted that, in between;
// then what it says now is what comes back, nullopt when it has no record any more. A memory that
// does not answer in time, or can't tell, contradicts nothing; `unsure` is set to why it can't tell. kCorrupt if the record went back;
// otherwise the store's errors.
Task<Result<std::optional<Stored>>> in_keeping(Loop& loop, Store& store, HostMemory& memory,
                                               Stored found, TimePoint deadline,
                                               std::optional<Error>* unsure = nullptr);

}  // namespace keyfs
