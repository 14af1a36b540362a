// How a board's write is known as one's own when it had to be sent again.
//
// Every write has a random mark, and a document's trail is the marks of its last writes, the newest
// first: "5f0c...,91aa...". Who finds its mark in the trail of what is there has written it, or
// what others have replaced since. Two documents never have the same trail, so it is a revision,
// too.
//
// Thread-safety: plain functions. Blocking: as Random. Errors: those of Random.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "base/crypto.h"
#include "base/result.h"

namespace keyfs {

inline constexpr size_t kBoardMarks = 8;
inline constexpr size_t kBoardMarkSize = 16;  // hexadecimal digits

Result<std::string> new_board_mark(Random& random);
// The trail of what replaces a document that has `trail`; empty: of a new document.
std::string board_trail(const std::string& mark, std::string_view trail);
bool has_board_mark(std::string_view trail, std::string_view mark);
// Whether it is a trail that board_trail() made.
bool is_board_trail(std::string_view trail);

}  // namespace keyfs
