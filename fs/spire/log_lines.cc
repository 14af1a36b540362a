#include "fs/spire/log_lines.h"

namespace keyfs {

LogOptions spire_log_options() {
  LogOptions options;
  options.format = LogFormat::kJson;
  options.time = false;  // the sink writes it, as SPIRE wants it
  return options;
}

void SpireLogSink::write(LogLevel level, std::string_view line) noexcept {
  try {
    std::string start = "{\"level\":\"";
    (start += to_string(level)) += "\",\"msg\":";
    if (!line.starts_with(start)) {
      ++lost_;  // no line of a Log with these options
      return;
    }
    std::string time = to_rfc3339(clock_.wall(), /*milliseconds=*/true);
    time.insert(time.size() - 1, "000");  // hclog parses microseconds
    std::string out = "{\"@level\":\"";
    ((out += to_string(level)) += "\",\"@timestamp\":\"") += time;
    (out += "\",\"@message\":") += line.substr(start.size());
    lines_.write(level, out);
  } catch (...) {  // no memory
    ++lost_;
  }
}

}  // namespace keyfs
