// When STATE_DIR/store-id (store/known_store.h) is missing, and this host is not new.
//
// The records in its replica name the store that they are bound to. So that store is remembered
// again, before any store is opened: another one is then refused as if the file had never been
// lost, with the same message and the same way out.
//
// A host whose records name no store (none, or only those of keyfs 0.1.0) is new. One whose records
// name several has changed its store before, and cannot tell which was the last: kInvalid.
//
// Thread-safety: plain function; several processes may call it at once. Blocking: reads the whole
// replica, but only if store-id is missing. Errors: kInvalid as above; everything else means that it
// is not known whether this host is new, so that it must create nothing.
#pragma once

#include <string>

#include "base/clock.h"
#include "base/result.h"

namespace keyfs {

// `type`: of the configured store.
Result<void> find_lost_store_id(const Clock& clock, const std::string& state_dir,
                                const std::string& type);

}  // namespace keyfs
