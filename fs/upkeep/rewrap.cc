#include "fs/upkeep/rewrap.h"

#include <algorithm>
#include <map>
#include <utility>

#include "base/retry.h"
#include "fs/keys/key_check.h"
#include "fs/upkeep/new_wraps.h"
#include "fs/upkeep/record_changes.h"

namespace keyfs {
namespace {

// How long a region that did not answer is not asked.
constexpr Duration kOutFor = std::chrono::seconds(30);

PassOptions pass_options(const RewrapOptions& options) {
  PassOptions pass;
  pass.verb = "rewrap";
  pass.call_deadline = options.call_deadline;
  pass.writes = !options.dry_run;
  return pass;
}

bool contains(const std::vector<std::string>& all, const std::string& one) {
  return std::find(all.begin(), all.end(), one) != all.end();
}

// One reason for each region is enough, however many versions it concerns.
void add(std::vector<RegionFailure>& all, RegionFailure failure) {
  const bool known = std::any_of(all.begin(), all.end(),
                                 [&](const auto& one) { return one.region == failure.region; });
  if (!known) all.push_back(std::move(failure));
}

}  // namespace

class Rewrap::Operation final : public RecordOperation {
 public:
  Operation(Rewrap& rewrap, PageDone page_done)
      : rewrap_(rewrap), page_done_(std::move(page_done)) {}

  // Also what a list shows to be whole: only the record itself is compared with what this host has
  // seen, and masters are taken away after this.
  bool wants(const ListPage::Entry& entry) override {
    if (!entry.from_rkms) return true;
    ++rewrap_.report_.keys;
    ++rewrap_.report_.rkms;
    return false;
  }

  void begin() override { done_ = Attempt(); }

  bool takes(const Record& record) override { return !record.from_rkms; }

  Task<void> apply(Record& record, TimePoint deadline) override {
    for (const Plan& plan : rewrap_.plan(record)) {
      co_await rewrap_.carry_out(plan, record, deadline, done_);
    }
  }

  void finished(const std::string& id, const PassEnd& end) override {
    rewrap_.tell(id, end, done_);
  }

  // What failed is in a page before: a run that goes on from there must not pass it over.
  void page_done(const std::string& next) override {
    if (page_done_ && rewrap_.report_.complete()) page_done_(next);
  }

 private:
  Rewrap& rewrap_;
  const PageDone page_done_;
  Attempt done_;
};

Rewrap::Rewrap(Loop& loop, Store& store, Regions& regions, Log& log, RewrapOptions options,
               HostMemory& memory, Notebook& notebook)
    : loop_(loop),
      regions_(regions),
      options_(std::move(options)),
      pass_(loop, store, log, pass_options(options_), &memory, &notebook),
      pace_(loop) {}

Task<Result<void>> Rewrap::run(std::vector<std::string> ids, std::string after, PageDone page_done,
                               TimePoint deadline) {
  report_ = RewrapReport();
  Operation operation(*this, std::move(page_done));
  Result<void> gone;
  if (ids.empty()) {
    gone = co_await pass_.all(std::move(after), operation, deadline);
  } else {
    co_await pass_.named(std::move(ids), operation, deadline);
  }
  report_.unseen = co_await pass_.end(deadline);
  co_return gone;
}

// A time that can't be read tells nothing of when it was: such a wrap counts as old.
bool Rewrap::is_old(const Wrap& wrap) const {
  if (!options_.older_than) return false;
  const auto at = from_rfc3339(wrap.at);
  return !at || *at < *options_.older_than;
}

std::vector<std::string> Rewrap::wanting(const WrappedKeys& wraps, const Version& version) const {
  std::vector<std::string> regions;
  const auto lacking = regions_.lacking(wraps);
  const auto other = regions_.under_other_masters(wraps);
  for (const auto& region : regions_.names()) {
    if (region == options_.drop) continue;
    const auto wrap = version.wrapped.find(region);
    const bool old = wrap != version.wrapped.end() && is_old(wrap->second);
    if (old || contains(lacking, region) || contains(other, region)) regions.push_back(region);
  }
  return regions;
}

std::vector<Rewrap::Plan> Rewrap::plan(const Record& record) const {
  std::vector<Plan> plans;
  for (const auto& [number, version] : record.versions) {
    if (!version.destroyed.empty()) continue;
    Plan plan;
    plan.version = number;
    WrappedKeys staying = wraps_of(version);
    plan.drop = !options_.drop.empty() && staying.erase(options_.drop) != 0;
    plan.wrap_in = wanting(staying, version);
    if (plan.drop) {
      for (const auto& [region, wrap] : staying) {
        if (regions_.has(region) && !contains(plan.wrap_in, region)) plan.prove.push_back(region);
      }
    }
    if (plan.drop || !plan.wrap_in.empty()) plans.push_back(std::move(plan));
  }
  return plans;
}

// As far as the configuration tells: KMS finds its master by the wrap.
bool Rewrap::can_unwrap(const Version& version) const {
  const WrappedKeys wraps = wraps_of(version);
  const auto other = regions_.under_other_masters(wraps);
  const auto previous = regions_.under_previous_masters(wraps);
  return std::any_of(wraps.begin(), wraps.end(), [&](const auto& wrap) {
    const std::string& region = wrap.first;
    if (!regions_.has(region)) return false;
    return regions_.is_charged(region) || !contains(other, region) || contains(previous, region);
  });
}

// One unwrap gives the key, and each new wrap is unwrapped once.
Rewrap::Calls Rewrap::calls_of(const Plan& plan, const Version& version) const {
  Calls calls;
  const auto count = [&](const std::string& region, size_t number) {
    calls.all += number;
    if (regions_.is_charged(region)) calls.charged += number;
  };
  if (!plan.wrap_in.empty()) {
    // Whichever region gives it.
    ++calls.all;
    const bool charged =
        std::any_of(version.wrapped.begin(), version.wrapped.end(),
                    [&](const auto& wrap) { return regions_.is_charged(wrap.first); });
    if (charged) ++calls.charged;
  }
  for (const auto& region : plan.wrap_in) count(region, 2);
  for (const auto& region : plan.prove) count(region, 1);
  return calls;
}

Task<void> Rewrap::carry_out(const Plan& plan, Record& record, TimePoint deadline, Attempt& done) {
  const Calls calls = calls_of(plan, record.versions.at(plan.version));
  done.calls.all += calls.all;
  done.calls.charged += calls.charged;
  if (options_.dry_run) {
    if (!plan.wrap_in.empty() && !can_unwrap(record.versions.at(plan.version))) {
      done.error.emplace(Code::kInvalid, "version " + std::to_string(plan.version) + " of key " +
                                             record.id +
                                             " is wrapped by no master that is configured here");
      co_return;
    }
    ++done.versions;
    done.wraps += plan.wrap_in.size();
    if (plan.drop) ++done.dropped;
    co_return;
  }
  size_t proven = 0;
  size_t changes = done.wraps + done.dropped;
  std::vector<std::string> wrap_in;
  for (const auto& region : plan.wrap_in) {
    if (auto why = why_out(region)) {
      add(done.left, {region, std::move(*why)});
    } else {
      wrap_in.push_back(region);
    }
  }
  if (!wrap_in.empty()) {
    co_await pace_.take(1, options_.calls_per_second);
    // Named, since g++ 12 may destroy a temporary in a co_await twice.
    WrappedKeys wraps = wraps_of(record.versions.at(plan.version));
    EncryptionContext context = context_of(record, plan.version);
    KeyVerifier verifier = verifier_of(record, plan.version);
    auto unwrapped = co_await regions_.unwrap(std::move(wraps), std::move(context),
                                              std::move(verifier), call_until(deadline));
    if (!unwrapped) {
      done.error = unwrapped.error().within("could not unwrap version " +
                                            std::to_string(plan.version) + " of key " + record.id);
      co_return;
    }
    NewWrapParts parts{loop_, regions_, {}, {}};
    parts.take_calls = [this](size_t number) {
      return pace_.take(number, options_.calls_per_second);
    };
    parts.until = [this, deadline] { return call_until(deadline); };
    NewWraps made =
        co_await make_new_wraps(parts, record, plan.version, unwrapped->key, std::move(wrap_in));
    proven = made.made.size();
    done.wraps += proven;
    for (auto& failure : made.left) {
      learn(failure.region, failure.error);
      add(done.left, std::move(failure));
    }
  }
  if (plan.drop) co_await drop(plan, proven, record, deadline, done);
  if (done.wraps + done.dropped != changes) ++done.versions;
}

Task<void> Rewrap::drop(const Plan& plan, size_t proven, Record& record, TimePoint deadline,
                        Attempt& done) {
  Version& version = record.versions.at(plan.version);
  std::string reasons;
  WrappedKeys wraps = wraps_of(version);
  std::erase_if(wraps, [&](const auto& wrap) {
    if (!contains(plan.prove, wrap.first)) return true;
    const auto why = why_out(wrap.first);
    if (why) reasons += "; " + wrap.first + ": " + why->message;
    return why.has_value();
  });
  if (!wraps.empty()) {
    co_await pace_.take(wraps.size(), options_.calls_per_second);
    EncryptionContext context = context_of(record, plan.version);
    KeyVerifier verifier = verifier_of(record, plan.version);
    const auto examined = co_await regions_.examine(std::move(wraps), std::move(context),
                                                    std::move(verifier), call_until(deadline));
    for (const auto& [region, wrap] : examined.wraps) {
      if (wrap.state == WrapState::kRight) {
        ++proven;
      } else {
        reasons += "; " + region + ": " + wrap.why->message;
        learn(region, *wrap.why);
      }
    }
  }
  const size_t needed = std::max<size_t>(1, regions_.create_min_regions());
  if (proven >= needed) {
    version.wrapped.erase(options_.drop);
    ++done.dropped;
    co_return;
  }
  add(done.left,
      {options_.drop, Error(Code::kUnavailable,
                            "its wrap of version " + std::to_string(plan.version) +
                                " stays: of the others " + std::to_string(proven) + " of " +
                                std::to_string(needed) + " required were unwrapped" + reasons)});
}

void Rewrap::tell(const std::string& id, const PassEnd& end, Attempt& done) {
  using What = PassEnd::What;
  ++report_.keys;
  report_.calls += done.calls.all;
  report_.charged += done.calls.charged;
  if (end.what == What::kAbsent) {
    report_.failures.push_back({id, no_such_key(id)});
    return;
  }
  if (end.what == What::kNotTaken) {
    ++report_.rkms;
    return;
  }
  if (end.what == What::kFailed) {
    report_.failures.push_back({id, *end.error});
    return;
  }
  const bool planned = options_.dry_run && done.versions != 0;
  if (end.what == What::kWritten || planned) {
    ++report_.changed;
    report_.versions += done.versions;
    report_.wraps += done.wraps;
    report_.dropped += done.dropped;
  }
  if (end.not_noted) report_.unnoted.push_back({id, *end.not_noted});
  if (done.error) {
    report_.failures.push_back({id, std::move(*done.error)});
  } else if (!done.left.empty()) {
    report_.left.push_back({id, std::move(done.left)});
  } else if (end.what != What::kWritten && !planned) {
    ++report_.whole;
  }
}

std::optional<Error> Rewrap::why_out(const std::string& region) const {
  const auto found = outages_.find(region);
  if (found == outages_.end() || found->second.until <= loop_.now()) return std::nullopt;
  return found->second.error;
}

void Rewrap::learn(const std::string& region, const Error& error) {
  if (!may_pass(error.code)) return;
  outages_.insert_or_assign(region, Outage{error, loop_.now() + kOutFor});
}

TimePoint Rewrap::call_until(TimePoint deadline) const {
  return std::min(deadline, loop_.now() + options_.call_deadline);
}

}  // namespace keyfs
