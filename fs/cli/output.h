// How commands answer: text for people or one JSON document, and errors on one line.
//
// Thread-safety: one thread. Ownership: refers to its streams. Blocking: as the streams do. Errors:
// none; a stream that fails keeps its state, which the caller checks at the end.
#pragma once

#include <iosfwd>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace keyfs {

class Output {
 public:
  Output(std::ostream& out, std::ostream& err, bool json) : out_(out), err_(err), json_(json) {}

  bool json() const { return json_; }
  std::ostream& out() { return out_; }

  // The one document of --json. Bytes of paths and names that are not UTF-8 become U+FFFD.
  void write(const nlohmann::ordered_json& document);
  // "keyfs: message" on standard error.
  void error(std::string_view message);
  // Makes text from others (ids in a foreign store) safe for a terminal.
  static std::string printable(std::string_view text);

 private:
  std::ostream& out_;
  std::ostream& err_;
  const bool json_;
};

// Columns as wide as their widest cell, two blanks between; the first row is the heading.
void print_table(std::ostream& out, const std::vector<std::vector<std::string>>& rows);

std::string joined(const std::vector<std::string>& words, std::string_view between = ", ");

// "0.4 ms", "2.1 s".
std::string brief(Duration duration);

}  // namespace keyfs
