// Small text functions that several rooms need.
//
// Thread-safety: plain functions. Blocking: never. Errors: none.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>

namespace keyfs {

// Of ASCII only, whatever the locale is.
constexpr char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

inline std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = lower(c);
  return out;
}

constexpr bool is_lower(char c) { return c >= 'a' && c <= 'z'; }
constexpr bool is_digit(char c) { return c >= '0' && c <= '9'; }
constexpr bool is_alnum(char c) { return is_lower(lower(c)) || is_digit(c); }

// A keyfs name: a lower-case letter, then lower-case letters, digits and the characters in `more`.
inline bool is_name(std::string_view text, std::string_view more) {
  return !text.empty() && is_lower(text[0]) && std::all_of(text.begin(), text.end(), [&](char c) {
    return is_lower(c) || is_digit(c) || more.find(c) != std::string_view::npos;
  });
}

// Whether a name from a service, such as an error's, is fit for a message.
inline bool is_error_name(std::string_view text) {
  return !text.empty() && text.size() <= 80 && std::all_of(text.begin(), text.end(), is_alnum);
}

template <class Names>
bool among(const Names& names, std::string_view name) {
  return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

}  // namespace keyfs
