#include "base/log.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/file.h"
#include "base/log_sink.h"
#include "support/fake_clock.h"
#include "support/log_capture.h"

namespace keyfs {
namespace {

using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(Log, an_event_is_one_line_of_logfmt_with_its_fields) {
  LogCapture capture;
  capture.log().warn("region us-east-1 is left alone for 30s",
                     {{"region", "us-east-1"},
                      {"reason", "timed out after 2 s"},
                      {"calls", 7},
                      {"bytes", uint64_t{18446744073709551615u}},
                      {"share", 0.5},
                      {"slow", true},
                      {"took", std::chrono::milliseconds(250)},
                      {"empty", ""}});
  EXPECT_THAT(
      capture.lines(),
      ElementsAre("level=warn msg=\"region us-east-1 is left alone for 30s\" region=us-east-1 "
                  "reason=\"timed out after 2 s\" calls=7 bytes=18446744073709551615 share=0.5 "
                  "slow=true took=250ms empty=\"\""));
}

TEST(Log, lines_carry_the_wall_clocks_time_unless_the_journal_adds_its_own) {
  FakeClock clock;
  LogOptions options = LogCapture::everything();
  options.time = true;
  LogCapture capture(clock, options);
  capture.log().info("up");
  EXPECT_THAT(capture.lines(), ElementsAre("time=2027-01-15T08:00:00.000Z level=info msg=up"));
}

TEST(Log, json_lines_parse_whatever_the_values_hold) {
  LogOptions options = LogCapture::everything();
  options.format = LogFormat::kJson;
  LogCapture capture(options);
  const std::string bytes("a\"b\\c\n\x01\xff\xc3\xa9\x00z", 12);
  capture.log().error("it failed", {{"value", bytes}, {"count", -3}, {"nan", 0.0 / 0.0}});
  const auto lines = capture.lines();
  ASSERT_EQ(lines.size(), 1u);
  const auto json = nlohmann::json::parse(lines[0], nullptr, false);
  ASSERT_FALSE(json.is_discarded()) << lines[0];
  EXPECT_EQ(json["level"], "error");
  EXPECT_EQ(json["msg"], "it failed");
  EXPECT_EQ(json["value"],
            std::string("a\"b\\c\n\x01\xef\xbf\xbd\xc3\xa9", 12) + std::string("\0z", 2));
  EXPECT_EQ(json["count"], -3);
}

TEST(Log, no_value_can_start_a_line_or_drive_a_terminal) {
  for (const LogFormat format : {LogFormat::kLogfmt, LogFormat::kJson}) {
    LogOptions options = LogCapture::everything();
    options.format = format;
    LogCapture capture(options);
    capture.log().info("one\nlevel=error msg=forged", {{"id",
                                                        "x\r\ny\x1b[2J\x7f\xc2\x9b"
                                                        "2J\xe2\x80\xa8\xe2\x80\xae"}});
    const auto lines = capture.lines();
    ASSERT_EQ(lines.size(), 1u);
    for (const char c : lines[0]) {
      EXPECT_TRUE(static_cast<unsigned char>(c) >= 0x20 && c != 0x7f) << lines[0];
    }
    EXPECT_EQ(lines[0].find("\xc2\x9b"), std::string::npos);
    EXPECT_THAT(lines[0], HasSubstr("\"x\\u000d\\ny\\u001b[2J\\u007f\\u009b2J\\u2028\\u202e\""));
    EXPECT_THAT(lines[0], HasSubstr("\"one\\nlevel=error msg=forged\""));
  }
}

TEST(Log, a_line_is_bounded_however_long_its_values_are) {
  LogCapture capture;
  capture.log().info(std::string(100000, '\n'), {{"a", std::string(100000, 'a')},
                                                 {"b", std::string(100000, '\x01')},
                                                 {"c", std::string(100000, 'c')}});
  EXPECT_LE(capture.lines()[0].size(), Log::kMaxLine);
  EXPECT_THAT(capture.lines()[0], HasSubstr("..."));
}

TEST(Log, events_below_the_level_are_left_out) {
  LogOptions options = LogCapture::everything();
  options.least = LogLevel::kWarn;
  LogCapture capture(options);
  capture.log().debug("d");
  capture.log().info("i");
  capture.log().warn("w");
  capture.log().set_level(LogLevel::kDebug);
  capture.log().debug("now");
  EXPECT_THAT(capture.lines(), ElementsAre("level=warn msg=w", "level=debug msg=now"));
  EXPECT_EQ(log_level_from("warn"), LogLevel::kWarn);
  EXPECT_EQ(log_level_from("WARN"), std::nullopt);
}

TEST(Log, repeats_are_held_back_and_counted_in_one_line_when_the_interval_is_over) {
  FakeClock clock;
  LogOptions options = LogCapture::everything();
  options.burst = 2;
  options.interval = seconds(30);
  LogCapture capture(clock, options);
  for (int i = 0; i < 314; ++i) capture.log().warn("store is out", {{"try", i}});
  EXPECT_EQ(capture.lines().size(), 2u);
  clock.advance(seconds(29));
  capture.log().info("something else");
  EXPECT_EQ(capture.lines().size(), 3u);
  clock.advance(seconds(1));
  capture.log().flush_repeats();
  capture.log().warn("store is out", {{"try", 400}});
  EXPECT_THAT(
      capture.lines(),
      ElementsAre("level=warn msg=\"store is out\" try=0", "level=warn msg=\"store is out\" try=1",
                  "level=info msg=\"something else\"",
                  "level=warn msg=\"store is out (and 312 more like it)\" held_back=312",
                  "level=warn msg=\"store is out\" try=400"));
}

TEST(Log, what_was_held_back_is_told_at_the_end) {
  struct Lines final : LogSink {
    void write(LogLevel, std::string_view line) noexcept override { all.emplace_back(line); }
    uint64_t lost() const noexcept override { return 0; }
    std::vector<std::string> all;
  } lines;
  FakeClock clock;
  LogOptions options = LogCapture::everything();
  options.burst = 1;
  {
    Log log(lines, clock, options);
    log.info("a");
    log.info("a");
  }
  EXPECT_THAT(lines.all, ElementsAre("level=info msg=a",
                                     "level=info msg=\"a (and 1 more like it)\" held_back=1"));
}

TEST(Log, a_flood_of_different_messages_is_bounded_too) {
  FakeClock clock;
  LogCapture capture(clock);
  for (int i = 0; i < 100000; ++i) capture.log().info("message " + std::to_string(i));
  EXPECT_LT(capture.lines().size(), 1000u);
  clock.advance(seconds(31));
  capture.log().flush_repeats();
  EXPECT_TRUE(capture.has("events of other kinds (and "));
}

TEST(Log, lost_lines_are_told_as_soon_as_the_sink_takes_lines_again) {
  struct Lossy final : LogSink {
    void write(LogLevel, std::string_view line) noexcept override {
      if (broken) {
        ++count;
      } else {
        all.emplace_back(line);
      }
    }
    uint64_t lost() const noexcept override { return count; }
    bool broken = true;
    uint64_t count = 0;
    std::vector<std::string> all;
  } sink;
  FakeClock clock;
  Log log(sink, clock, LogCapture::everything());
  log.info("a");
  EXPECT_EQ(log.lost(), 1u);
  sink.broken = false;
  log.info("b");
  EXPECT_THAT(sink.all,
              ElementsAre("level=warn msg=\"1 lines of this log could not be written\" lost=1",
                          "level=info msg=b"));
}

TEST(Log, threads_may_write_at_the_same_time) {
  LogOptions options = LogCapture::everything();
  options.burst = 1000000;
  LogCapture capture(options);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&capture] {
      for (int i = 0; i < 500; ++i) capture.log().info("shared", {{"i", i}});
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(capture.lines().size(), 2000u);
}

class LogFile : public ::testing::Test {
 protected:
  void SetUp() override {
    directory_ = std::filesystem::path(::testing::TempDir()) /
                 ("log_test." + std::to_string(getpid()) + "." +
                  ::testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::create_directory(directory_);
    path_ = (directory_ / "keyfs.log").string();
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  static std::string text_of(const std::string& path) {
    std::ifstream in(path);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  std::filesystem::path directory_;
  std::string path_;
};

TEST_F(LogFile, lines_are_appended_and_written_before_the_sink_ends) {
  for (int round = 0; round < 2; ++round) {
    auto sink = open_file_sink(path_);
    ASSERT_TRUE(sink) << sink.error().message;
    (*sink)->write(LogLevel::kInfo, "one");
    (*sink)->write(LogLevel::kWarn, "two");
  }
  EXPECT_EQ(text_of(path_), "one\ntwo\none\ntwo\n");
  EXPECT_EQ(std::filesystem::status(path_).permissions() & std::filesystem::perms::others_all,
            std::filesystem::perms::none);
}

TEST_F(LogFile, a_file_moved_away_is_replaced_by_a_new_one) {
  auto sink = open_file_sink(path_);
  ASSERT_TRUE(sink);
  (*sink)->write(LogLevel::kInfo, "before");
  while (text_of(path_) != "before\n") std::this_thread::yield();
  std::filesystem::rename(path_, path_ + ".1");
  (*sink)->write(LogLevel::kInfo, "after");
  sink->reset();
  EXPECT_EQ(text_of(path_ + ".1"), "before\n");
  EXPECT_EQ(text_of(path_), "after\n");
}

TEST_F(LogFile, a_file_that_cannot_be_opened_is_an_error_that_names_it) {
  const auto sink = open_file_sink("/nonexistent/keyfs.log");
  ASSERT_FALSE(sink);
  EXPECT_EQ(sink.error().code, Code::kUnavailable);
  EXPECT_EQ(sink.error().message,
            "could not open the log: /nonexistent/keyfs.log: cannot be opened: No such file or "
            "directory");
}

TEST_F(LogFile, a_full_disk_loses_lines_and_counts_them) {
  const Descriptor full(open("/dev/full", O_WRONLY | O_CLOEXEC));
  ASSERT_TRUE(full.is_open());
  auto sink = make_fd_sink(full.get(), false);
  sink->write(LogLevel::kInfo, "one");
  while (sink->lost() != 1) std::this_thread::yield();
}

TEST_F(LogFile, what_is_no_file_of_ours_is_not_written_to) {
  EXPECT_FALSE(open_file_sink("/dev/full"));
  ASSERT_EQ(symlink("elsewhere", path_.c_str()), 0);
  const auto sink = open_file_sink(path_);
  ASSERT_FALSE(sink);
  EXPECT_NE(sink.error().message.find("symbolic link"), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(directory_ / "elsewhere"));
}

TEST_F(LogFile, a_line_that_the_last_process_could_not_finish_is_not_continued) {
  std::ofstream(path_) << "one\nhal";
  auto sink = open_file_sink(path_);
  ASSERT_TRUE(sink) << sink.error().message;
  (*sink)->write(LogLevel::kInfo, "two");
  sink->reset();
  EXPECT_EQ(text_of(path_), "one\nhal\ntwo\n");
}

TEST(LogPipe, lines_for_the_journal_start_with_their_priority) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  {
    const auto sink = make_fd_sink(ends[1], /*with_priority=*/true);
    sink->write(LogLevel::kDebug, "d");
    sink->write(LogLevel::kInfo, "i");
    sink->write(LogLevel::kWarn, "w");
    sink->write(LogLevel::kError, "e");
  }
  close(ends[1]);
  char text[100] = {};
  EXPECT_GT(read(ends[0], text, sizeof text - 1), 0);
  EXPECT_STREQ(text, "<7>d\n<6>i\n<4>w\n<3>e\n");
  close(ends[0]);
}

TEST(LogPipe, the_journal_is_known_by_the_device_and_inode_of_standard_error) {
  struct stat ours {};
  ASSERT_EQ(fstat(STDERR_FILENO, &ours), 0);
  const std::string here = std::to_string(ours.st_dev) + ":" + std::to_string(ours.st_ino);
  setenv("JOURNAL_STREAM", here.c_str(), 1);
  EXPECT_TRUE(stderr_is_journal());
  setenv("JOURNAL_STREAM", (here + "0").c_str(), 1);  // redirected since, or inherited
  EXPECT_FALSE(stderr_is_journal());
  unsetenv("JOURNAL_STREAM");
  EXPECT_FALSE(stderr_is_journal());
}

TEST(LogPipe, a_pipe_that_nobody_reads_keeps_no_writer_waiting_and_its_losses_are_counted) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const auto start = std::chrono::steady_clock::now();
  {
    const auto sink = make_fd_sink(ends[1], false);
    const std::string line(1000, 'x');
    for (int i = 0; i < 20000; ++i) sink->write(LogLevel::kInfo, line);
    EXPECT_LT(std::chrono::steady_clock::now() - start, seconds(10));
    while (sink->lost() == 0) std::this_thread::yield();
  }
  // The contract: a second at most; the rest allows for a slow machine.
  EXPECT_LT(std::chrono::steady_clock::now() - start, seconds(20));
  close(ends[0]);
  close(ends[1]);
}

TEST(LogPipe, a_write_that_hangs_holds_up_nobody_who_logs) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const auto sink = make_fd_sink(ends[1], false);
  // More than a pipe takes, so that write(2) hangs until the reader goes.
  sink->write(LogLevel::kInfo, std::string(1 << 20, 'x'));
  const int capacity = fcntl(ends[0], F_GETPIPE_SZ);
  for (int filled = 0; filled < capacity; ioctl(ends[0], FIONREAD, &filled)) {
    std::this_thread::yield();
  }
  for (int i = 0; i < 5000; ++i) sink->write(LogLevel::kInfo, "y");
  EXPECT_GT(sink->lost(), 3000u);  // the oldest of those that waited
  close(ends[0]);
  while (sink->lost() != 5001) std::this_thread::yield();
  close(ends[1]);
}

TEST(LogPipe, a_reader_that_went_away_is_a_loss_and_not_the_end) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  close(ends[0]);
  const auto sink = make_fd_sink(ends[1], false);
  sink->write(LogLevel::kInfo, "one");
  while (sink->lost() != 1) std::this_thread::yield();
  close(ends[1]);
}

}  // namespace
}  // namespace keyfs
