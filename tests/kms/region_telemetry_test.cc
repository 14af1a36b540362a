#include "kms/region_telemetry.h"

#include <gmock/gmock.h>

#include "kms/regions_fixture.h"

namespace keyfs::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

struct Lines final : LogSink {
  void write(LogLevel level, std::string_view line) noexcept override {
    lines.push_back(std::string(to_string(level)) + " " + std::string(line));
  }
  uint64_t lost() const noexcept override { return 0; }
  std::vector<std::string> lines;
};

struct RegionTelemetryTest : RegionsTest {
  RegionTelemetryTest() {
    observer = &telemetry;
    options.rounds = 1;
  }
  static LogOptions plain() {
    LogOptions options;
    options.time = false;
    return options;
  }
  Lines sink;
  Metrics metrics;
  Log log{sink, time.clock, plain()};
  RegionTelemetry telemetry{metrics, log, {"a", "b", "c"}};
};

TEST_F(RegionTelemetryTest, every_region_is_told_from_the_beginning) {
  const std::string text = metrics.text();
  EXPECT_THAT(text, HasSubstr("keyfs_region_hedges_total{region=\"c\"} 0"));
  EXPECT_THAT(text, HasSubstr("keyfs_region_breaker_open{region=\"a\"} 0"));
}

TEST_F(RegionTelemetryTest, calls_are_counted_by_outcome) {
  build();
  auto created = create();
  ASSERT_TRUE(created);
  region[0]->fail_with(Code::kThrottled);
  ASSERT_TRUE(unwrap(created->wrapped));
  const std::string text = metrics.text();
  EXPECT_THAT(text, HasSubstr("keyfs_region_calls_total{call=\"generate\",outcome=\"ok\","
                              "region=\"a\"} 1"));
  EXPECT_THAT(text, HasSubstr("keyfs_region_calls_total{call=\"unwrap\",outcome=\"throttled\","
                              "region=\"a\"} 1"));
  EXPECT_THAT(text, HasSubstr("keyfs_region_calls_total{call=\"unwrap\",outcome=\"ok\","
                              "region=\"b\"} 1"));
  EXPECT_THAT(text, HasSubstr("keyfs_region_fallbacks_total{region=\"b\"} 1"));
  EXPECT_THAT(text, HasSubstr("keyfs_region_call_seconds_count{call=\"unwrap\",region=\"a\"} 1"));
  EXPECT_THAT(text, HasSubstr("keyfs_region_breaker_open{region=\"a\"} 1"));
}

TEST_F(RegionTelemetryTest, a_hedge_and_a_call_given_up_are_counted) {
  build();
  auto created = create();
  ASSERT_TRUE(created);
  region[0]->hang();
  ASSERT_TRUE(unwrap(created->wrapped));
  EXPECT_THAT(metrics.text(), HasSubstr("keyfs_region_hedges_total{region=\"b\"} 1"));
  EXPECT_THAT(metrics.text(), HasSubstr("keyfs_region_given_up_total{region=\"a\"} 1"));
}

TEST_F(RegionTelemetryTest, a_refusal_is_loud_and_its_end_is_told) {
  build();
  auto created = create();
  ASSERT_TRUE(created);
  region[0]->fail_with(Code::kDenied, "the master key is disabled");
  ASSERT_TRUE(unwrap(created->wrapped));
  region[0]->heal();
  wait(10min);
  ASSERT_TRUE(unwrap(created->wrapped));
  wait(1s);
  ASSERT_EQ(sink.lines.size(), 2u);
  EXPECT_THAT(sink.lines[0], HasSubstr("error level=error msg=\"region a refuses keyfs: fix"));
  EXPECT_THAT(sink.lines[0], HasSubstr("reason=\"the master key is disabled\""));
  EXPECT_THAT(sink.lines[1], HasSubstr("info level=info msg=\"region a answers again\""));
}

}  // namespace
}  // namespace keyfs::testing
