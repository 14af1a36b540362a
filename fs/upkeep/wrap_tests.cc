#include "fs/upkeep/wrap_tests.h"

#include <algorithm>
#include <utility>

#include "fs/keys/key_check.h"

namespace keyfs {

Task<void> WrapTests::run(const Record& record, uint32_t number, TimePoint deadline) {
  const Version& version = record.versions.at(number);
  WrappedKeys all = wraps_of(version);
  WrappedKeys untried;
  for (const auto& [region, wrap] : all) {
    const auto known = tested_.find(region);
    const bool is_known = known != tested_.end() && known->second.blob == wrap.blob;
    if (is_known && (!known->second.failure || known->second.failure->code == Code::kCorrupt)) {
      continue;
    }
    untried.emplace(region, wrap);
  }
  if (!untried.empty()) {
    const WrappedKeys asked = untried;
    EncryptionContext context = context_of(record, number);
    KeyVerifier verifier = verifier_of(record, number);
    auto told = co_await regions_.test(std::move(untried), std::move(context), std::move(verifier),
                                       deadline);
    for (const auto& region : told.good) tested_[region] = {asked.at(region).blob, std::nullopt};
    for (auto* failures : {&told.wrong, &told.untested}) {
      for (auto& failure : *failures) {
        tested_[failure.region] = {asked.at(failure.region).blob, std::move(failure.error)};
      }
    }
  }
  // By the call to a region its master is known.
  const auto other = regions_.under_other_masters(all);
  good_.clear();
  wrong_.clear();
  untested_.clear();
  for (const auto& [region, wrap] : all) {
    const auto& failure = tested_.at(region).failure;
    if (!failure) {
      good_.push_back(region);
    } else if (failure->code != Code::kCorrupt) {
      untested_.push_back({region, *failure});
    } else if (std::find(other.begin(), other.end(), region) == other.end()) {
      wrong_.push_back({region, *failure});
    } else {
      untested_.push_back({region, failure->within("another master wrapped it than is there now")});
    }
  }
}

std::vector<RegionFailure> WrapTests::missing(const Record& record, uint32_t number,
                                              const std::vector<RegionFailure>& known) const {
  std::vector<RegionFailure> all;
  for (const auto* failures : {&wrong_, &untested_}) {
    for (const auto& failure : *failures) {
      // Another host's regions are none of this one's.
      if (regions_.has(failure.region)) all.push_back(failure);
    }
  }
  for (const auto& region : regions_.lacking(wraps_of(record.versions.at(number)))) {
    const auto told = [&](const auto& failure) { return failure.region == region; };
    if (std::any_of(all.begin(), all.end(), told)) continue;
    const auto why = std::find_if(known.begin(), known.end(), told);
    if (why != known.end()) {
      all.push_back(*why);
    } else {
      all.push_back({region, Error(Code::kUnavailable,
                                   "it is not wrapped there; run: keyfs heal " + record.id)});
    }
  }
  return all;
}

}  // namespace keyfs
