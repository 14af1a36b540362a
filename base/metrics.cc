#include "base/metrics.h"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <limits>
#include <sstream>
#include <variant>

namespace keyfs {
namespace {

bool is_name(std::string_view text) {
  return !text.empty() && text[0] >= 'a' && text[0] <= 'z' &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
         });
}

// Printable ASCII, so that neither UTF-8 nor line ends are of concern to a reader.
std::string told(std::string_view text, size_t most) {
  std::string result(text.substr(0, most));
  std::replace_if(
      result.begin(), result.end(), [](char c) { return c < ' ' || c >= 0x7f; }, '?');
  return result;
}

using Metric =
    std::variant<std::unique_ptr<Counter>, std::unique_ptr<Gauge>, std::unique_ptr<Histogram>>;

struct Family {
  prometheus::MetricType type;
  std::string help;
  std::map<Metrics::Labels, Metric> series;
};

prometheus::ClientMetric collect(const Counter& counter) {
  prometheus::ClientMetric told;
  told.counter.value = static_cast<double>(counter.value());
  return told;
}

prometheus::ClientMetric collect(const Gauge& gauge) {
  prometheus::ClientMetric told;
  told.gauge.value = gauge.value();
  return told;
}

prometheus::ClientMetric collect(const Histogram& histogram) {
  prometheus::ClientMetric told;
  const std::vector<uint64_t> counts = histogram.counts();
  uint64_t so_far = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    so_far += counts[i];
    const bool last = i == histogram.bounds().size();
    told.histogram.bucket.push_back(
        {so_far, last ? std::numeric_limits<double>::infinity() : histogram.bounds()[i]});
  }
  told.histogram.sample_count = so_far;
  told.histogram.sample_sum = histogram.sum();
  return told;
}

}  // namespace

Histogram::Histogram(std::vector<double> bounds)
    : bounds_(std::move(bounds)),
      counts_(std::make_unique<std::atomic<uint64_t>[]>(bounds_.size() + 1)) {}

void Histogram::observe(double value) noexcept {
  const auto bucket = std::lower_bound(bounds_.begin(), bounds_.end(), value) - bounds_.begin();
  counts_[static_cast<size_t>(bucket)].fetch_add(1, std::memory_order_relaxed);
  sum_.fetch_add(value, std::memory_order_relaxed);
}

std::vector<uint64_t> Histogram::counts() const {
  std::vector<uint64_t> counts(bounds_.size() + 1);
  for (size_t i = 0; i < counts.size(); ++i) {
    counts[i] = counts_[i].load(std::memory_order_relaxed);
  }
  return counts;
}

uint64_t Histogram::count() const {
  uint64_t sum = 0;
  for (const uint64_t count : counts()) sum += count;
  return sum;
}

struct Metrics::State {
  mutable std::mutex mutex;
  std::map<std::string, Family, std::less<>> families;
  std::vector<Metric> refused;  // handles that are not told
  Gauge* refused_gauge = nullptr;

  template <class T, class... Arguments>
  T& get(prometheus::MetricType type, std::string_view name, std::string_view help,
         const Labels& labels, const Arguments&... arguments);
};

template <class T, class... Arguments>
T& Metrics::State::get(prometheus::MetricType type, std::string_view name, std::string_view help,
                       const Labels& labels, const Arguments&... arguments) {
  std::lock_guard lock(mutex);
  const auto refuse = [&]() -> T& {
    refused.emplace_back(std::make_unique<T>(arguments...));
    refused_gauge->set(static_cast<double>(refused.size()));
    return *std::get<std::unique_ptr<T>>(refused.back());
  };
  if (!name.starts_with("keyfs_") || !is_name(name)) return refuse();
  auto family = families.find(name);
  if (family == families.end()) {
    family = families.try_emplace(std::string(name)).first;
    family->second.type = type;
    family->second.help = told(help, help.size());
  }
  if (family->second.type != type) return refuse();

  auto& series = family->second.series;
  Labels good;
  for (const auto& [label, value] : labels) {
    // "le" is the histograms' own.
    if (!is_name(label) || label == "le") return refuse();
    good.emplace(label, told(value, kMaxLabelValue));
  }
  auto found = series.find(good);
  if (found == series.end() && series.size() >= kMaxSeries) {
    for (auto& [label, value] : good) value = "other";
    found = series.find(good);
  }
  if (found == series.end()) {
    found = series.emplace(std::move(good), std::make_unique<T>(arguments...)).first;
  }
  return *std::get<std::unique_ptr<T>>(found->second);
}

Metrics::Metrics() : state_(std::make_unique<State>()) {
  state_->refused_gauge =
      &gauge("keyfs_metrics_refused", "Metrics that could not be registered: a mistake in keyfs.");
}
Metrics::~Metrics() = default;

Counter& Metrics::counter(std::string_view name, std::string_view help, const Labels& labels) {
  return state_->get<Counter>(prometheus::MetricType::Counter, name, help, labels);
}

Gauge& Metrics::gauge(std::string_view name, std::string_view help, const Labels& labels) {
  return state_->get<Gauge>(prometheus::MetricType::Gauge, name, help, labels);
}

Histogram& Metrics::histogram(std::string_view name, std::string_view help, const Labels& labels,
                              std::vector<double> bounds) {
  if (bounds.empty()) bounds = latency_bounds();
  std::sort(bounds.begin(), bounds.end());
  return state_->get<Histogram>(prometheus::MetricType::Histogram, name, help, labels, bounds);
}

std::vector<double> Metrics::latency_bounds() {
  return {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30};
}

std::string Metrics::text() const {
  std::vector<prometheus::MetricFamily> families;
  {
    std::lock_guard lock(state_->mutex);
    for (const auto& [name, family] : state_->families) {
      if (family.series.empty()) continue;
      families.push_back({name, family.help, family.type, {}});
      for (const auto& [labels, metric] : family.series) {
        auto told = std::visit([](const auto& pointer) { return collect(*pointer); }, metric);
        for (const auto& [label, value] : labels) told.label.push_back({label, value});
        families.back().metric.push_back(std::move(told));
      }
    }
  }
  std::ostringstream out;
  prometheus::TextSerializer().Serialize(out, families);
  return std::move(out).str();
}

}  // namespace keyfs
