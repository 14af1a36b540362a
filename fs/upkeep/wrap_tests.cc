#include "fs/upkeep/wrap_tests.h"

#include <algorithm>
#include <utility>

#include "fs/keys/key_check.h"

namespace keyfs {

Task<void> WrapTests::run(const Record& record, uint32_t number, TimePoint deadline) {
  const WrappedKeys all = wraps_of(record.versions.at(number));
  WrappedKeys untried;
  for (const auto& [region, wrap] : all) {
    const auto known = tested_.find(region);
    const bool is_known = known != tested_.end() && known->second.blob == wrap.blob;
    if (is_known && known->second.found.state != WrapState::kUnknown) continue;
    // For a region that is not configured here.
    ExaminedWrap unasked;
    unasked.why.emplace(Code::kInvalid, "not configured here");
    tested_[region] = {wrap.blob, std::move(unasked)};
    untried.emplace(region, wrap);
  }
  if (!untried.empty()) {
    // Named, since g++ 12 may destroy a temporary in a co_await twice.
    EncryptionContext context = context_of(record, number);
    KeyVerifier verifier = verifier_of(record, number);
    auto told = co_await regions_.examine(std::move(untried), std::move(context),
                                          std::move(verifier), deadline);
    for (auto& [region, found] : told.wraps) tested_.at(region).found = std::move(found);
  }
  good_.clear();
  wrong_.clear();
  untested_.clear();
  for (const auto& [region, wrap] : all) {
    const ExaminedWrap& found = tested_.at(region).found;
    switch (found.state) {
      case WrapState::kRight:
        good_.push_back(region);
        break;
      case WrapState::kWrong:
        wrong_.push_back({region, *found.why});
        break;
      case WrapState::kOtherMaster:
        untested_.push_back(
            {region, found.why->within("another master wrapped it than is there now")});
        break;
      case WrapState::kUnknown:
        untested_.push_back({region, *found.why});
        break;
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
