// Any bytes are a configuration or its mistakes, and an answer to each method; nothing is read,
// written or asked for them.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "fs/spire/hcl.h"
#include "fs/spire/key_service.h"
#include "fs/spire/messages.h"
#include "fs/spire/plugin.h"
#include "fs/spire/plugin_settings.h"
#include "fs/spire/prefixed_custody.h"
#include "fs/spire/wire.h"

namespace {

using namespace keyfs;

class CountedCall final : public RpcCall {
 public:
  explicit CountedCall(int& answers) : answers_(answers) {}
  void answer(RpcAnswer answer) override {
    ++answers_;
    if (answer.code != RpcCode::kOk && answer.text.empty()) std::abort();
  }
  TimePoint deadline() const override { return TimePoint::max(); }
  void on_cancel(std::function<void()>) override {}

 private:
  int& answers_;
};

class NoLines final : public LogSink {
 public:
  void write(LogLevel, std::string_view) noexcept override {}
  uint64_t lost() const noexcept override { return 0; }
};

void read_configuration(std::string_view hcl) {
  static SecretArena arena;
  const ReadSettings read = read_settings(arena, "example.org", hcl);
  for (const std::string& mistake : read.mistakes) {
    if (mistake.empty() || (is_utf8(hcl) && !is_utf8(mistake))) std::abort();
  }
  if (read.mistakes.empty() && read.settings.regions.empty() &&
      read.settings.custody == SpireSettings::Custody::kKms) {
    std::abort();
  }
}

}  // namespace

// The first byte chooses; the rest is the text, or a method's name, a newline, and its request.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static CurlGlobal curl;
  static SystemClock clock;
  static NoLines lines;
  static Log log(lines, clock);
  static Plugin plugin({curl, clock, log, [] {}});
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] % 2 == 0) {
    read_configuration(text);
    if (unescape_id_part(escape_id_part(text)) != text) std::abort();
    return 0;
  }
  const size_t line = std::min(text.find('\n'), text.size());
  const std::string_view method = text.substr(0, line);
  const std::string request(text.substr(std::min(line + 1, text.size())));
  // These two read files and ask KMS, for a request that could be read.
  if (method.find(".Config/") != std::string_view::npos) {
    if (const auto message = parse_configure(request)) read_configuration(message->hcl);
    return 0;
  }
  int answers = 0;
  plugin.call(method, request, std::make_shared<CountedCall>(answers));
  if (answers != 1) std::abort();
  return 0;
}
