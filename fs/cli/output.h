// How commands answer: text for people or one JSON document, and errors on one line.
//
// Thread-safety: one thread. leave(): any, while no other uses it. Ownership: refers to its streams.
// Blocking: as the streams do. Errors: none; a stream that fails keeps its state, which the caller
// checks at the end.
#pragma once

#include <functional>
#include <iosfwd>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "fs/daemon/exit_code.h"

namespace keyfs {

class Output {
 public:
  // `leaving` is told the exit code in leave() (fs/cli/command_process.h).
  Output(std::ostream& out, std::ostream& err, bool json,
         std::function<void(int code)> leaving = nullptr)
      : out_(out), err_(err), json_(json), leaving_(std::move(leaving)) {}

  bool json() const { return json_; }
  std::ostream& out() { return out_; }

  // The one document of --json. Bytes of paths and names that are not UTF-8 become U+FFFD.
  void write(const nlohmann::ordered_json& document);
  // "keyfs: message" on standard error.
  void error(std::string_view message);
  // Ends the process at once, whatever its other threads wait for, with what was written so far.
  [[noreturn]] void leave(ExitCode code);
  // Makes text from others (ids in a foreign store) safe for a terminal.
  static std::string printable(std::string_view text);

 private:
  std::ostream& out_;
  std::ostream& err_;
  const bool json_;
  const std::function<void(int code)> leaving_;
};

// Columns as wide as their widest cell, two blanks between; the first row is the heading.
void print_table(std::ostream& out, const std::vector<std::vector<std::string>>& rows);

std::string joined(const std::vector<std::string>& words, std::string_view between = ", ");
// "a, b and 3 more"; of no others: "a, b".
std::string joined_with_more(const std::vector<std::string>& words, size_t others);

// "0.4 ms", "2.1 s".
std::string brief(Duration duration);

}  // namespace keyfs
