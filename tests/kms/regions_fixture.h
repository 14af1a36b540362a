// Three regions in memory, each of which can be made to fail, and a loop with fake time.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/crypto.h"
#include "kms/regions.h"
#include "support/fake_time.h"
#include "support/faulty_region.h"
#include "support/memory_region.h"

namespace keyfs::testing {

using namespace std::chrono_literals;

struct Counts final : RegionObserver {
  void on_call(const std::string&, RegionCall, const Error*, Duration) override { ++calls; }
  void on_given_up(const std::string&, RegionCall, Duration) override { ++given_up; }
  void on_hedge(const std::string& region, RegionCall) override { hedges.push_back(region); }
  void on_fallback(const std::string& region, RegionCall) override { fallbacks.push_back(region); }
  void on_breaker(const std::string& region, BreakerState state, Duration, const Error*) override {
    breakers.push_back(region + " " + std::string(to_string(state)));
  }
  int calls = 0;
  int given_up = 0;
  std::vector<std::string> hedges, fallbacks, breakers;
};

class RegionsTest : public ::testing::Test {
 protected:
  RegionsTest() {
    options.create_min_regions = 2;
    options.health.explore_after = Duration::zero();  // a test that wants it sets it
    context = key_context("orders", 1);
  }

  // Called once the options are set.
  void build(std::vector<std::string> names = {"a", "b", "c"},
             std::shared_ptr<const MasterKey> master = nullptr) {
    std::vector<std::unique_ptr<Region>> all;
    for (auto& name : names) {
      auto faulty = std::make_unique<FaultyRegion>(
          time.loop, memory_region(time.loop, arena, random, name, master));
      region.push_back(faulty.get());
      all.push_back(std::move(faulty));
    }
    auto made = Regions::make(
        time.loop, std::move(all), [] { return 0.5; }, options, observer);
    ASSERT_TRUE(made) << made.error().message;
    regions = std::move(*made);
  }

  TimePoint in(Duration time_left) { return time.loop.now() + time_left; }

  Result<CreatedKey> create(Duration time_left = 10s) {
    return time.loop.run_task(regions->create(32, context, in(time_left)));
  }
  Result<UnwrappedKey> unwrap(const WrappedKeys& wrapped, Duration time_left = 10s) {
    return time.loop.run_task(regions->unwrap(wrapped, context, verifier, in(time_left)));
  }
  // How long `work` takes on the fake clock.
  template <class Work>
  Duration timed(Work work) {
    const TimePoint begun = time.loop.now();
    work();
    return time.loop.now() - begun;
  }
  // Lets background work run for this long.
  void wait(Duration duration) {
    const auto sleep = [&]() -> Task<bool> {
      co_await time.loop.sleep_for(duration);
      co_return true;
    };
    time.loop.run_task(sleep());
  }
  void forget_calls() {
    for (FaultyRegion* one : region) one->calls = FaultyRegion::Calls{};
    counts = Counts{};
  }
  int all_calls() const {
    int sum = 0;
    for (const FaultyRegion* one : region) sum += one->calls.all();
    return sum;
  }
  int under_way() const {
    int sum = 0;
    for (const FaultyRegion* one : region) sum += one->calls.under_way;
    return sum;
  }

  FakeTimeLoop time;
  SecretArena arena;
  OsRandom random;
  Counts counts;
  RegionObserver* observer = &counts;
  RegionsOptions options;
  EncryptionContext context;
  KeyVerifier verifier;
  std::vector<FaultyRegion*> region;
  std::unique_ptr<Regions> regions;
};

}  // namespace keyfs::testing
