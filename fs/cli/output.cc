#include "fs/cli/output.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <ostream>

namespace keyfs {

void Output::write(const nlohmann::ordered_json& document) {
  out_ << document.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) << '\n';
}

void Output::error(std::string_view message) {
  err_ << "keyfs: " << printable(message) << '\n' << std::flush;
}

void Output::leave(ExitCode code) {
  out_.flush();
  err_.flush();
  if (leaving_) leaving_(static_cast<int>(code));
  ::_exit(static_cast<int>(code));
}

std::string Output::printable(std::string_view text) {
  std::string out;
  for (const char c : text) out += (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) ? '?' : c;
  return out;
}

void print_table(std::ostream& out, const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) {
      out << row[i];
      const bool more = std::any_of(row.begin() + static_cast<std::ptrdiff_t>(i) + 1, row.end(),
                                    [](const std::string& cell) { return !cell.empty(); });
      if (more) out << std::string(widths[i] - row[i].size() + 2, ' ');
    }
    out << '\n';
  }
}

std::string joined(const std::vector<std::string>& words, std::string_view between) {
  std::string all;
  for (const auto& word : words) {
    if (!all.empty()) all += between;
    all += word;
  }
  return all;
}

std::string joined_with_more(const std::vector<std::string>& words, size_t others) {
  return joined(words) + (others == 0 ? "" : " and " + std::to_string(others) + " more");
}

std::string brief(Duration duration) {
  const double ms = std::chrono::duration<double, std::milli>(duration).count();
  std::array<char, 32> text{};
  if (ms < 1000) {
    std::snprintf(text.data(), text.size(), "%.1f ms", ms);
  } else {
    std::snprintf(text.data(), text.size(), "%.1f s", ms / 1000);
  }
  return text.data();
}

}  // namespace keyfs
