// Whether this is a build for a sanitizer, in which a long race may have fewer rounds: what it looks for there is found
// in few of them, and each takes ten times as long. g++ and clang++ say it differently.
#pragma once

namespace keyfs::testing {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSanitized = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif
#else
inline constexpr bool kSanitized = false;
#endif

}  // namespace keyfs::testing
