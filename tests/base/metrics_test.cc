#include "base/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <thread>

namespace keyfs {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(Metrics, are_told_as_prometheus_text_by_name_and_labels) {
  Metrics metrics;
  metrics.counter("keyfs_region_calls_total", "Calls to a region.", {{"region", "b"}}).add(2);
  metrics.counter("keyfs_region_calls_total", "Calls to a region.", {{"region", "a"}}).add();
  metrics.gauge("keyfs_cached_keys", "Keys in the cache.").set(3.5);
  EXPECT_EQ(metrics.text(),
            "# HELP keyfs_cached_keys Keys in the cache.\n"
            "# TYPE keyfs_cached_keys gauge\n"
            "keyfs_cached_keys 3.5\n"
            "# HELP keyfs_metrics_refused_total "
            "Metrics that could not be registered: a bug in keyfs.\n"
            "# TYPE keyfs_metrics_refused_total counter\n"
            "keyfs_metrics_refused_total 0\n"
            "# HELP keyfs_region_calls_total Calls to a region.\n"
            "# TYPE keyfs_region_calls_total counter\n"
            "keyfs_region_calls_total{region=\"a\"} 1\n"
            "keyfs_region_calls_total{region=\"b\"} 2\n");
}

TEST(Metrics, a_histogram_counts_up_to_and_with_each_bound) {
  Metrics metrics;
  auto& seconds =
      metrics.histogram("keyfs_open_seconds", "How long.", {{"from", "cache"}}, {0.5, 1});
  seconds.observe(0.5);
  seconds.observe(std::chrono::milliseconds(750));
  seconds.observe(1.0);
  seconds.observe(100.0);
  EXPECT_EQ(seconds.count(), 4u);
  EXPECT_THAT(metrics.text(),
              HasSubstr("# TYPE keyfs_open_seconds histogram\n"
                        "keyfs_open_seconds_count{from=\"cache\"} 4\n"
                        "keyfs_open_seconds_sum{from=\"cache\"} 102.25\n"
                        "keyfs_open_seconds_bucket{from=\"cache\",le=\"0.5\"} 1\n"
                        "keyfs_open_seconds_bucket{from=\"cache\",le=\"1\"} 3\n"
                        "keyfs_open_seconds_bucket{from=\"cache\",le=\"+Inf\"} 4\n"));
}

TEST(Metrics, the_same_name_and_labels_are_the_same_metric) {
  Metrics metrics;
  auto& a = metrics.counter("keyfs_a_total", "A.", {{"x", "1"}, {"y", "2"}});
  EXPECT_EQ(&a, &metrics.counter("keyfs_a_total", "", {{"y", "2"}, {"x", "1"}}));
  EXPECT_NE(&a, &metrics.counter("keyfs_a_total", "", {{"x", "1"}}));
}

TEST(Metrics, past_a_bound_further_label_values_are_told_as_other) {
  Metrics metrics;
  for (int i = 0; i < 1000; ++i) {
    metrics.counter("keyfs_a_total", "A.", {{"id", std::to_string(i)}}).add();
  }
  EXPECT_THAT(metrics.text(), HasSubstr("keyfs_a_total{id=\"other\"} 800\n"));
  EXPECT_THAT(metrics.text(), HasSubstr("keyfs_a_total{id=\"199\"} 1\n"));
  EXPECT_THAT(metrics.text(), Not(HasSubstr("id=\"200\"")));
  // Existing ones still work.
  metrics.counter("keyfs_a_total", "A.", {{"id", "7"}}).add();
  EXPECT_THAT(metrics.text(), HasSubstr("keyfs_a_total{id=\"7\"} 2\n"));
}

TEST(Metrics, no_label_value_breaks_the_text) {
  Metrics metrics;
  metrics.counter("keyfs_a_total", "A\nB", {{"x", "a\"b\\c\nd\xff"}}).add();
  metrics.counter("keyfs_a_total", "", {{"x", std::string(5000, 'v')}}).add();
  const std::string text = metrics.text();
  EXPECT_THAT(text, HasSubstr("# HELP keyfs_a_total A?B\n"));
  EXPECT_THAT(text, HasSubstr("keyfs_a_total{x=\"a\\\"b\\\\c?d?\"} 1\n"));
  EXPECT_LT(text.size(), 1000u);
}

TEST(Metrics, a_callers_mistake_gives_a_metric_that_works_and_is_not_told) {
  Metrics metrics;
  metrics.counter("keyfs_a_total", "A.").add();
  metrics.gauge("keyfs_a_total", "A.").set(7);
  metrics.counter("other_total", "").add();
  metrics.counter("keyfs_A", "").add();
  metrics.counter("keyfs_b_total", "", {{"bad label", ""}}).add();
  metrics.histogram("keyfs_c", "", {{"le", "1"}}).observe(1.0);
  metrics.counter("keyfs_lost", "A counter's name ends with _total.").add();
  metrics.gauge("keyfs_d_total", "And no other's does.").set(1);
  const std::string text = metrics.text();
  EXPECT_THAT(text, HasSubstr("keyfs_a_total 1\n"));
  EXPECT_THAT(text, HasSubstr("keyfs_metrics_refused_total 7\n"));
  EXPECT_THAT(text, Not(HasSubstr("other_total")));
  EXPECT_THAT(text, Not(HasSubstr("bad label")));
}

TEST(Metrics, what_somebody_else_counts_never_goes_back) {
  Metrics metrics;
  auto& lost = metrics.counter("keyfs_lost_total", "Lost.");
  lost.raise_to(5);
  lost.raise_to(3);
  lost.add();
  EXPECT_EQ(lost.value(), 6u);
  EXPECT_THAT(metrics.text(), HasSubstr("keyfs_lost_total 6\n"));
}

TEST(Metrics, numbers_are_told_so_that_they_read_back_the_same) {
  Metrics metrics;
  auto& gauge = metrics.gauge("keyfs_g", "G.");
  for (const auto& [value, text] : std::map<double, std::string>{{0.1, "0.1"},
                                                                 {16777216, "16777216"},
                                                                 {-2, "-2"},
                                                                 {1e300, "1e+300"},
                                                                 {INFINITY, "+Inf"}}) {
    gauge.set(value);
    EXPECT_THAT(metrics.text(), HasSubstr("keyfs_g " + text + "\n"));
  }
}

TEST(Metrics, nothing_is_lost_when_threads_count_and_read_at_once) {
  Metrics metrics;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&metrics] {
      auto& counter = metrics.counter("keyfs_a_total", "A.");
      auto& gauge = metrics.gauge("keyfs_g", "G.");
      auto& histogram = metrics.histogram("keyfs_h_seconds", "H.");
      for (int i = 0; i < 1000; ++i) {
        counter.add();
        gauge.add(0.5);
        histogram.observe(0.25);
        if (i % 100 == 0) (void)metrics.text();
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(metrics.counter("keyfs_a_total", "").value(), 4000u);
  EXPECT_EQ(metrics.gauge("keyfs_g", "").value(), 2000.0);
  EXPECT_EQ(metrics.histogram("keyfs_h_seconds", "").count(), 4000u);
  EXPECT_EQ(metrics.histogram("keyfs_h_seconds", "").sum(), 1000.0);
}

}  // namespace
}  // namespace keyfs
