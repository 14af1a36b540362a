// Splits a stream that arrives in pieces into lines; each byte is examined once.
//
// Thread-safety: none. Blocking: never. Errors: only append()'s.
#pragma once

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace keyfs {

class EtcdLines {
 public:
  // `most`: bytes that may be pending, complete lines or not.
  explicit EtcdLines(size_t most) : most_(most) {}

  // False: that would be more than may be pending; nothing was added.
  bool append(std::string_view piece) {
    if (piece.size() > most_ - (text_.size() - taken_)) return false;
    text_.erase(0, taken_);
    searched_ -= std::exchange(taken_, 0);
    text_.append(piece);
    return true;
  }

  // The next complete line without its newline, valid until append(); nullopt: none yet.
  std::optional<std::string_view> next() {
    const size_t end = text_.find('\n', searched_);
    if (end == std::string::npos) {
      searched_ = text_.size();
      return std::nullopt;
    }
    const std::string_view line = std::string_view(text_).substr(taken_, end - taken_);
    taken_ = searched_ = end + 1;
    return line;
  }

 private:
  const size_t most_;
  std::string text_;
  size_t taken_ = 0;     // consumed by next()
  size_t searched_ = 0;  // at least taken_; no line ends between the two
};

}  // namespace keyfs
