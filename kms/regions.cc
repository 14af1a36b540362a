#include "kms/regions.h"

#include <algorithm>
#include <set>
#include <utility>

#include "base/retry.h"
#include "kms/examine_wraps.h"
#include "kms/region_race.h"
#include "kms/region_slot.h"
#include "kms/wrap_all.h"

namespace keyfs {

std::string_view to_string(RegionCall call) {
  switch (call) {
    case RegionCall::kGenerate:
      return "generate";
    case RegionCall::kWrap:
      return "wrap";
    case RegionCall::kUnwrap:
      return "unwrap";
  }
  return "unknown";
}

struct Regions::Impl {
  Impl(Loop& the_loop, RandomFraction the_random, RegionsOptions the_options)
      : loop(the_loop), random(std::move(the_random)), options(the_options), probes(the_loop) {}

  RegionSlot* find(const std::string& name) const;
  std::vector<RegionSlot*> in_order();
  std::map<RegionSlot*, WrappedKey> who_can_unwrap(const WrappedKeys& wrapped) const;

  void start_probe(RegionSlot& slot, WrappedKey wrapped, EncryptionContext context);
  Task<bool> probe(RegionSlot& slot, WrappedKey wrapped, EncryptionContext context);

  Loop& loop;
  const RandomFraction random;
  const RegionsOptions options;
  std::vector<std::unique_ptr<RegionSlot>> slots;  // as configured
  std::vector<RegionSlot*> order;                  // as learned
  TaskGroup<bool> probes;
};

namespace {

// Whether a region that could not generate the key may still be able to wrap it.
bool may_wrap_after(const std::vector<RegionFailure>& failures, const std::string& region) {
  const auto same = std::find_if(failures.begin(), failures.end(),
                                 [&](const auto& failure) { return failure.region == region; });
  return same == failures.end() || may_pass(same->error.code);
}

Error too_few(size_t wrapped, size_t needed, const std::vector<RegionFailure>& missing,
              bool deadline_passed) {
  return {combined_code(missing, deadline_passed),
          "wrapped in " + std::to_string(wrapped) + " of " + std::to_string(needed) +
              " required regions (" + reasons(missing) + ")"};
}

}  // namespace

RegionSlot* Regions::Impl::find(const std::string& name) const {
  for (const auto& slot : slots) {
    if (slot->name == name) return slot.get();
  }
  return nullptr;
}

std::vector<RegionSlot*> Regions::Impl::in_order() {
  learn_order(order);
  return healthy_first(order, HalfOpen::kBehind);
}

std::map<RegionSlot*, WrappedKey> Regions::Impl::who_can_unwrap(const WrappedKeys& wrapped) const {
  std::map<RegionSlot*, WrappedKey> able;
  for (const auto& slot : slots) {
    const auto own = wrapped.find(slot->name);
    if (own != wrapped.end()) {
      able.emplace(slot.get(), own->second);
      continue;
    }
    for (const auto& [region, wrap] : wrapped) {
      if (!slot->region->unwraps(wrap.master)) continue;
      able.emplace(slot.get(), wrap);
      break;
    }
  }
  return able;
}

void Regions::Impl::start_probe(RegionSlot& slot, WrappedKey wrapped, EncryptionContext context) {
  if (slot.probe) probes.cancel(*slot.probe);  // it is done; only its frame is left
  slot.health.probe_begins();
  slot.probe = probes.start(probe(slot, std::move(wrapped), std::move(context)));
}

// The plaintext is wiped immediately: all that counts is that there is one. The caller's verifier
// is not used, since it may not live long enough.
Task<bool> Regions::Impl::probe(RegionSlot& slot, WrappedKey wrapped, EncryptionContext context) {
  const TimePoint begun = loop.now();
  const TimePoint deadline = begun + options.probe_deadline;
  auto answer =
      co_await before(loop, deadline, "probe",
                      slot.region->unwrap(std::move(wrapped), std::move(context), deadline));
  const Duration latency = loop.now() - begun;
  slot.health.probe_ends();
  if (answer) {
    slot.succeeded(RegionCall::kUnwrap, latency);
  } else {
    slot.failed(RegionCall::kUnwrap, answer.error(), latency);
  }
  co_return answer.has_value();
}

Regions::Regions(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Regions::~Regions() = default;

Result<std::unique_ptr<Regions>> Regions::make(Loop& loop,
                                               std::vector<std::unique_ptr<Region>> regions,
                                               RandomFraction random, RegionsOptions options,
                                               RegionObserver* observer) {
  if (regions.empty()) return fail(Code::kInvalid, "no region is configured");
  if (options.create_min_regions < 1 || options.create_min_regions > regions.size()) {
    return fail(Code::kInvalid,
                "create_min_regions = " + std::to_string(options.create_min_regions) +
                    " cannot be met: " + std::to_string(regions.size()) +
                    (regions.size() == 1 ? " region is configured" : " regions are configured"));
  }
  auto impl = std::make_unique<Impl>(loop, random, options);
  std::set<std::string> names;
  for (auto& region : regions) {
    if (!names.insert(region->name()).second) {
      return fail(Code::kInvalid, "region " + region->name() + " is configured twice");
    }
    impl->slots.push_back(std::make_unique<RegionSlot>(
        loop, options.calls_at_once, std::move(region), impl->slots.size(),
        Health(loop.clock(), random, options.health), observer));
    impl->order.push_back(impl->slots.back().get());
  }
  return std::unique_ptr<Regions>(new Regions(std::move(impl)));
}

Task<Result<CreatedKey>> Regions::create(size_t bytes, EncryptionContext context,
                                         TimePoint deadline) {
  Impl& self = *impl_;
  CreatedKey created;
  std::vector<RegionFailure> failed;
  RegionSlot* generator = nullptr;
  {
    RegionRace<GeneratedKey> race(
        self.loop, self.options, self.random, RegionCall::kGenerate, deadline,
        [&](RegionSlot& slot) { return slot.region->generate(bytes, context, deadline); },
        [&](const GeneratedKey& generated) -> Result<void> {
          if (generated.key.size() == bytes && !generated.wrapped.blob.empty()) return {};
          return fail(Code::kUnavailable, "gave a key of the wrong size");
        });
    auto won = co_await race.run(self.in_order());
    if (!won) {
      co_return fail(race.code(),
                     "no region could generate a data key (" + reasons(race.failures()) + ")");
    }
    generator = won->winner;
    failed = race.take_failures();
    created.key = std::move(won->value.key);
    created.region = generator->name;
    created.wrapped.emplace(created.region, std::move(won->value.wrapped));
  }

  const size_t needed = self.options.create_min_regions - 1;
  WrapAll wraps(self.loop, self.options, self.random, created.key, std::move(context), deadline,
                needed, false);
  for (const auto& slot : self.slots) {
    if (slot.get() == generator) continue;
    if (may_wrap_after(failed, slot->name)) wraps.start(*slot);
  }
  co_await wraps.run();
  auto more = wraps.take_result();
  created.wrapped.merge(more.wrapped);
  for (auto& failure : more.missing) {
    note_failure(failed, failure.region, std::move(failure.error));
  }
  for (auto& failure : failed) {
    if (!created.wrapped.contains(failure.region)) created.missing.push_back(std::move(failure));
  }
  if (created.wrapped.size() < self.options.create_min_regions) {
    co_return fail(too_few(created.wrapped.size(), self.options.create_min_regions, created.missing,
                           wraps.deadline_passed()));
  }
  co_return created;
}

Task<Result<WrappedMore>> Regions::wrap_new(const SecretBytes& key, EncryptionContext context,
                                            TimePoint deadline) {
  Impl& self = *impl_;
  const size_t needed = self.options.create_min_regions;
  WrapAll wraps(self.loop, self.options, self.random, key, std::move(context), deadline, needed,
                false);
  for (const auto& slot : self.slots) wraps.start(*slot);
  co_await wraps.run();
  auto made = wraps.take_result();
  if (made.wrapped.size() < needed) {
    co_return fail(too_few(made.wrapped.size(), needed, made.missing, wraps.deadline_passed()));
  }
  co_return made;
}

Task<Result<UnwrappedKey>> Regions::unwrap(WrappedKeys wrapped, EncryptionContext context,
                                           KeyVerifier verify, TimePoint deadline) {
  Impl& self = *impl_;
  if (wrapped.empty()) co_return fail(Code::kCorrupt, "it is not wrapped in any region");
  const auto able = self.who_can_unwrap(wrapped);
  std::string not_here;
  for (const auto& [region, wrap] : wrapped) {
    if (self.find(region) == nullptr) not_here += "; " + region + ": not configured here";
  }
  if (able.empty()) {
    co_return fail(Code::kUnavailable,
                   "no region that holds it is configured (" + not_here.substr(2) + ")");
  }

  std::vector<RegionSlot*> candidates = self.in_order();
  std::erase_if(candidates, [&](RegionSlot* slot) { return !able.contains(slot); });
  if (candidates.front()->closed()) {
    for (size_t i = 1; i < candidates.size(); ++i) {
      RegionSlot& slot = *candidates[i];
      if (slot.health.wants_probe()) self.start_probe(slot, able.at(&slot), context);
    }
  }

  RegionRace<SecretBytes> race(
      self.loop, self.options, self.random, RegionCall::kUnwrap, deadline,
      [&](RegionSlot& slot) { return slot.region->unwrap(able.at(&slot), context, deadline); },
      [&](const SecretBytes& key) -> Result<void> {
        if (key.empty()) return fail(Code::kCorrupt, "gave an empty key");
        return verify ? verify(key) : Result<void>();
      });
  auto won = co_await race.run(std::move(candidates));
  if (!won) {
    co_return fail(race.code(),
                   "no region could unwrap it (" + reasons(race.failures()) + not_here + ")");
  }
  UnwrappedKey unwrapped;
  unwrapped.key = std::move(won->value);
  unwrapped.region = won->winner->name;
  unwrapped.hedged = won->hedged;
  unwrapped.asked = won->asked;
  unwrapped.failures = race.take_failures();
  unwrapped.suspect =
      std::any_of(unwrapped.failures.begin(), unwrapped.failures.end(),
                  [](const auto& failure) { return failure.error.code == Code::kCorrupt; });
  co_return unwrapped;
}

Task<ExaminedWraps> Regions::examine(WrappedKeys wrapped, EncryptionContext context,
                                     KeyVerifier verify, TimePoint deadline) {
  std::vector<OwnWrap> own;
  for (auto& [region, wrap] : wrapped) {
    if (RegionSlot* slot = impl_->find(region)) own.emplace_back(*slot, std::move(wrap));
  }
  co_return co_await examine_wraps(impl_->loop, std::move(own), std::move(context),
                                   std::move(verify), deadline);
}

Task<WrappedMore> Regions::wrap_missing(const SecretBytes& key, EncryptionContext context,
                                        std::vector<std::string> regions, TimePoint deadline) {
  Impl& self = *impl_;
  WrapAll wraps(self.loop, self.options, self.random, key, std::move(context), deadline, 0, true);
  std::vector<RegionFailure> unknown;
  for (const auto& name : std::set<std::string>(regions.begin(), regions.end())) {
    if (RegionSlot* slot = self.find(name)) {
      wraps.start(*slot);
    } else {
      unknown.push_back({name, Error(Code::kInvalid, "not configured here")});
    }
  }
  co_await wraps.run();
  auto result = wraps.take_result();
  for (auto& failure : unknown) result.missing.push_back(std::move(failure));
  co_return result;
}

Task<void> Regions::keep_warm() { return keep_warm(true); }
Task<void> Regions::keep_warm_uncharged() { return keep_warm(false); }

Task<void> Regions::keep_warm(bool charged) {
  TaskGroup<bool> group(impl_->loop);
  const auto warm = [](Region& region) -> Task<bool> {
    co_await region.keep_warm();
    co_return true;
  };
  for (const auto& slot : impl_->slots) {
    if (!charged && slot->region->is_charged()) continue;
    if (slot->closed()) group.start(warm(*slot->region));
  }
  const TimePoint until = impl_->loop.now() + impl_->options.probe_deadline;
  while (co_await group.next(until)) {
  }
}

Task<std::vector<std::pair<std::string, RegionCheck>>> Regions::check(TimePoint deadline) {
  TaskGroup<RegionCheck> group(impl_->loop);
  std::vector<std::pair<std::string, RegionCheck>> checks;
  for (const auto& slot : impl_->slots) {
    group.start(slot->region->check(deadline));  // numbered from 0, as the slots are
    RegionCheck late;
    late.items.push_back({"reachable", false, "no answer before the deadline",
                          "see whether this host can reach it"});
    checks.emplace_back(slot->name, std::move(late));
  }
  while (auto finished = co_await group.next(deadline)) {
    checks[finished->number].second = std::move(finished->value);
  }
  co_return checks;
}

std::vector<RegionStatus> Regions::status() {
  std::vector<RegionStatus> all;
  for (const RegionSlot* slot : impl_->in_order()) {
    const Health& health = slot->health;
    RegionStatus one;
    one.name = slot->name;
    one.state = health.state();
    one.open_for = health.open_for();
    one.expected = health.expected();
    one.p50 = health.p50();
    one.p95 = health.p95();
    one.last_error = health.last_error();
    one.last_error_at = health.last_error_at();
    one.calls = health.calls();
    one.failures = health.failures();
    all.push_back(std::move(one));
  }
  return all;
}

std::vector<std::string> Regions::names() const {
  std::vector<std::string> names;
  for (const auto& slot : impl_->slots) names.push_back(slot->name);
  return names;
}

namespace {

std::map<std::string, std::string> masters_of(const WrappedKeys& wrapped) {
  std::map<std::string, std::string> masters;
  for (const auto& [region, wrap] : wrapped) masters.emplace(region, wrap.master);
  return masters;
}

// One of these masters' wraps is as good as one of the region's own.
bool covered(const Region& region, const std::map<std::string, std::string>& masters) {
  return std::any_of(masters.begin(), masters.end(),
                     [&](const auto& wrap) { return region.covered_by(wrap.second); });
}

}  // namespace

std::vector<std::string> Regions::lacking(const WrappedKeys& wrapped) const {
  return lacking(masters_of(wrapped));
}

std::vector<std::string> Regions::lacking(const std::map<std::string, std::string>& masters) const {
  std::vector<std::string> names;
  for (const auto& slot : impl_->slots) {
    if (masters.contains(slot->name) || covered(*slot->region, masters)) continue;
    names.push_back(slot->name);
  }
  return names;
}

std::vector<std::string> Regions::under_other_masters(const WrappedKeys& wrapped) const {
  return under_other_masters(masters_of(wrapped));
}

std::vector<std::string> Regions::under_other_masters(
    const std::map<std::string, std::string>& masters) const {
  std::vector<std::string> names;
  for (const auto& slot : impl_->slots) {
    const auto own = masters.find(slot->name);
    if (own == masters.end() || !slot->region->is_other_master(own->second)) continue;
    if (!covered(*slot->region, masters)) names.push_back(slot->name);
  }
  return names;
}

std::vector<std::string> Regions::under_previous_masters(const WrappedKeys& wrapped) const {
  return under_previous_masters(masters_of(wrapped));
}

std::vector<std::string> Regions::under_previous_masters(
    const std::map<std::string, std::string>& masters) const {
  std::vector<std::string> names = under_other_masters(masters);
  std::erase_if(names, [&](const std::string& name) {
    return !impl_->find(name)->region->had_master(masters.at(name));
  });
  return names;
}

std::map<std::string, std::string> Regions::masters() const {
  std::map<std::string, std::string> masters;
  for (const auto& slot : impl_->slots) masters.emplace(slot->name, slot->region->master());
  return masters;
}

bool Regions::is_charged(const std::string& region) const {
  const RegionSlot* slot = impl_->find(region);
  return slot != nullptr && slot->region->is_charged();
}

bool Regions::has(const std::string& name) const { return impl_->find(name) != nullptr; }
size_t Regions::size() const { return impl_->slots.size(); }
size_t Regions::create_min_regions() const { return impl_->options.create_min_regions; }

}  // namespace keyfs
