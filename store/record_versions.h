// What a record says about its versions. The state of the key itself (enabled, disabled, deleted)
// is another matter: it decides first.
//
// Thread-safety: pure functions. Blocking: never. Errors: none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "store/record.h"

namespace keyfs {

// Of a record, not counting destroyed ones, of which only the check value is left.
inline constexpr size_t kMaxLiveVersions = 100;

enum class VersionState {
  kNever,      // the record has no such version
  kPending,    // made by a rotation, and never made current: nobody was served with it
  kReadable,   // the current one, or one that was
  kRetired,    // below min: refused, reversibly
  kDestroyed,  // its wraps are gone for good
};
std::string_view to_string(VersionState state);  // "never", "pending", ...

VersionState version_state(const Record& record, uint32_t number);

// Ascending.
std::vector<uint32_t> readable_versions(const Record& record);

// The highest version ever, which is never used again; 0 for a record without any.
uint32_t last_version(const Record& record);

// The highest version that is current or was; 0 for a record without any.
uint32_t newest_promoted(const Record& record);

// The version that was current before the one that is now, by the times at which they became
// current last; 0: there was none.
uint32_t previous_current(const Record& record);

// The version that the rotation with this token has made; 0: it has made none.
uint32_t version_of_token(const Record& record, std::string_view token);

}  // namespace keyfs
