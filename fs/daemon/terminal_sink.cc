#include "fs/daemon/terminal_sink.h"

#include <unistd.h>

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "base/log_sink.h"

namespace keyfs {
namespace {

struct Field {
  std::string key, value;
};

// The length of the quoted text that `text` begins with; 0 if there is none.
size_t quoted_length(std::string_view text) {
  if (text.empty() || text[0] != '"') return 0;
  for (size_t i = 1; i < text.size(); ++i) {
    if (text[i] == '\\') {
      ++i;
    } else if (text[i] == '"') {
      return i + 1;
    }
  }
  return 0;
}

// Escapes stay as they are, since they stand for what could move a terminal's cursor.
std::string unquoted(std::string_view text) {
  std::string out;
  for (size_t i = 1; i + 1 < text.size(); ++i) {
    if (text[i] == '\\' && (text[i + 1] == '"' || text[i + 1] == '\\')) ++i;
    out += text[i];
  }
  return out;
}

// What is up to `end`, or within quotes; taken off `text` together with `end`.
std::string take(std::string_view& text, char end) {
  const size_t quoted = quoted_length(text);
  const size_t length = quoted != 0 ? quoted : std::min(text.find(end), text.size());
  std::string taken =
      quoted != 0 ? unquoted(text.substr(0, quoted)) : std::string(text.substr(0, length));
  text.remove_prefix(std::min(length + 1, text.size()));
  return taken;
}

std::vector<Field> fields_of(std::string_view line) {
  const bool json = line.starts_with('{') && line.ends_with('}');
  if (json) line = line.substr(1, line.size() - 2);
  std::vector<Field> fields;
  while (!line.empty()) {
    Field field;
    field.key = take(line, json ? ':' : '=');
    field.value = take(line, json ? ',' : ' ');
    fields.push_back(std::move(field));
  }
  return fields;
}

class TerminalSink final : public LogSink {
 public:
  explicit TerminalSink(std::unique_ptr<LogSink> out) : out_(std::move(out)) {}
  void write(LogLevel level, std::string_view line) noexcept override {
    try {
      out_->write(level, "keyfs: " + plain_text(line));
    } catch (...) {  // no memory
      out_->write(level, line);
    }
  }
  uint64_t lost() const noexcept override { return out_->lost(); }

 private:
  const std::unique_ptr<LogSink> out_;
};

}  // namespace

std::string plain_text(std::string_view line) {
  std::optional<std::string> message;
  std::string more;
  for (const auto& [key, value] : fields_of(line)) {
    if (key == "time" || key == "level") continue;
    if (key == "msg") {
      message = value;
    } else {
      more += (more.empty() ? " (" : ", ") + key + ": " + value;
    }
  }
  if (!message) return std::string(line);
  return *message + more + (more.empty() ? "" : ")");
}

std::unique_ptr<LogSink> make_terminal_sink() {
  return std::make_unique<TerminalSink>(make_fd_sink(STDERR_FILENO, false));
}

void tell_on_terminal(std::string_view what, const std::string& why) {
  const auto terminal = make_terminal_sink();
  const SystemClock clock;
  Log(*terminal, clock).error(what, {{"reason", why}});
}

}  // namespace keyfs
