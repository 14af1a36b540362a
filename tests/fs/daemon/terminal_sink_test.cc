#include "fs/daemon/terminal_sink.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/clock.h"

namespace keyfs {
namespace {

class Plain final : public LogSink {
 public:
  void write(LogLevel, std::string_view line) noexcept override {
    lines.push_back(plain_text(line));
  }
  uint64_t lost() const noexcept override { return 0; }
  std::vector<std::string> lines;
};

TEST(TerminalSink, tells_a_person_what_a_log_says_in_either_format) {
  for (const LogFormat format : {LogFormat::kLogfmt, LogFormat::kJson}) {
    Plain plain;
    const SystemClock clock;
    {
      LogOptions options;
      options.format = format;
      Log log(plain, clock, options);
      log.warn("the mount hides files", {{"mountpoint", "/mnt/my \"keys\"=x"}, {"files", 3}});
      log.error("plain");
      log.info("a cursor", {{"name", "\x1b[2J\nkeyfs: forged \xc2\x9b"}});
    }
    ASSERT_EQ(plain.lines.size(), 3u);
    EXPECT_EQ(plain.lines[0], "the mount hides files (mountpoint: /mnt/my \"keys\"=x, files: 3)");
    EXPECT_EQ(plain.lines[1], "plain");
    EXPECT_EQ(plain.lines[2], "a cursor (name: \\u001b[2J\\nkeyfs: forged \\u009b)");
  }
}

TEST(TerminalSink, what_is_no_line_of_a_log_is_not_lost) {
  for (const std::string text : {"hello there", "{not json", "=x", "a=\"open"}) {
    EXPECT_EQ(plain_text(text), text);
  }
}

}  // namespace
}  // namespace keyfs
