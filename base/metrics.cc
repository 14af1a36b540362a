#include "base/metrics.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <utility>
#include <variant>

#include "base/text.h"

namespace keyfs {
namespace {

// Printable ASCII, so that readers need not handle UTF-8 or line ends.
std::string told(std::string_view text, size_t most) {
  std::string result(text.substr(0, most));
  std::replace_if(
      result.begin(), result.end(), [](char c) { return c < ' ' || c >= 0x7f; }, '?');
  return result;
}

using Metric =
    std::variant<std::unique_ptr<Counter>, std::unique_ptr<Gauge>, std::unique_ptr<Histogram>>;

// In the order of the alternatives in Metric.
constexpr std::array<std::string_view, 3> kTypes = {"counter", "gauge", "histogram"};
constexpr size_t kCounter = 0;
constexpr size_t kGauge = 1;
constexpr size_t kHistogram = 2;

struct Family {
  size_t type;
  std::string help;
  std::map<Metrics::Labels, Metric> series;
};

void append_number(std::string& out, double value) {
  if (!std::isfinite(value)) {
    out += std::isnan(value) ? "NaN" : value > 0 ? "+Inf" : "-Inf";
    return;
  }
  std::array<char, 64> text{};
  // Whole numbers without an exponent, as people read them.
  const auto end = std::abs(value) < 1e15 && value == std::trunc(value)
                       ? std::to_chars(text.begin(), text.end(), static_cast<int64_t>(value)).ptr
                       : std::to_chars(text.begin(), text.end(), value).ptr;
  out.append(text.begin(), end);
}

// The text of one name, line by line.
class Lines {
 public:
  Lines(std::string& out, std::string_view name) : out_(out), name_(name) {}

  void heading(const Family& family) {
    out_.append("# HELP ").append(name_).append(" ");
    for (const char c : family.help) out_.append(c == '\\' ? 2 : 1, c);
    out_.append("\n# TYPE ").append(name_).append(" ").append(kTypes[family.type]).append("\n");
  }
  void series(const Metrics::Labels& labels, const Counter& counter) {
    begin("", labels);
    end(std::to_string(counter.value()));
  }
  void series(const Metrics::Labels& labels, const Gauge& gauge) {
    begin("", labels);
    end(number(gauge.value()));
  }
  void series(const Metrics::Labels& labels, const Histogram& histogram) {
    const std::vector<uint64_t> counts = histogram.counts();
    uint64_t all = 0;
    for (const uint64_t count : counts) all += count;
    begin("_count", labels);
    end(std::to_string(all));
    begin("_sum", labels);
    end(number(histogram.sum()));
    uint64_t so_far = 0;
    for (size_t i = 0; i < counts.size(); ++i) {
      so_far += counts[i];
      const bool last = i == histogram.bounds().size();
      begin("_bucket", labels, last ? "+Inf" : number(histogram.bounds()[i]));
      end(std::to_string(so_far));
    }
  }

 private:
  static std::string number(double value) {
    std::string text;
    append_number(text, value);
    return text;
  }
  void label(std::string_view name, std::string_view value, bool first) {
    out_.append(first ? "{" : ",").append(name).append("=\"");
    for (const char c : value) {  // printable ASCII
      if (c == '"' || c == '\\') out_ += '\\';
      out_ += c;
    }
    out_ += '"';
  }
  void begin(std::string_view suffix, const Metrics::Labels& labels, std::string_view bound = {}) {
    out_.append(name_).append(suffix);
    bool first = true;
    for (const auto& [name, value] : labels) label(name, value, std::exchange(first, false));
    if (!bound.empty()) label("le", bound, std::exchange(first, false));
    if (!first) out_ += '}';
  }
  void end(std::string_view value) { out_.append(" ").append(value).append("\n"); }

  std::string& out_;
  std::string_view name_;
};

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
  std::vector<Metric> refused;  // handles that are not exported
  Counter* told_refused = nullptr;

  template <class T, class... Arguments>
  T& get(size_t type, std::string_view name, std::string_view help, const Labels& labels,
         const Arguments&... arguments);
};

template <class T, class... Arguments>
T& Metrics::State::get(size_t type, std::string_view name, std::string_view help,
                       const Labels& labels, const Arguments&... arguments) {
  std::lock_guard lock(mutex);
  const auto refuse = [&]() -> T& {
    refused.emplace_back(std::make_unique<T>(arguments...));
    told_refused->add();
    return *std::get<std::unique_ptr<T>>(refused.back());
  };
  const bool good_end = name.ends_with("_total") == (type == kCounter);
  if (!name.starts_with("keyfs_") || !is_name(name, "_") || !good_end) return refuse();
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
    // "le" is reserved for histograms.
    if (!is_name(label, "_") || label == "le") return refuse();
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
  state_->told_refused = &counter("keyfs_metrics_refused_total",
                                  "Metrics that could not be registered: a bug in keyfs.");
}
Metrics::~Metrics() = default;

Counter& Metrics::counter(std::string_view name, std::string_view help, const Labels& labels) {
  return state_->get<Counter>(kCounter, name, help, labels);
}

Gauge& Metrics::gauge(std::string_view name, std::string_view help, const Labels& labels) {
  return state_->get<Gauge>(kGauge, name, help, labels);
}

Histogram& Metrics::histogram(std::string_view name, std::string_view help, const Labels& labels,
                              std::vector<double> bounds) {
  if (bounds.empty()) bounds = latency_bounds();
  std::sort(bounds.begin(), bounds.end());
  return state_->get<Histogram>(kHistogram, name, help, labels, bounds);
}

std::vector<double> Metrics::latency_bounds() {
  return {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30};
}

std::string Metrics::text() const {
  std::string out;
  std::lock_guard lock(state_->mutex);
  for (const auto& [name, family] : state_->families) {
    if (family.series.empty()) continue;
    Lines lines(out, name);
    lines.heading(family);
    for (const auto& series : family.series) {
      std::visit([&](const auto& pointer) { lines.series(series.first, *pointer); }, series.second);
    }
  }
  return out;
}

}  // namespace keyfs
