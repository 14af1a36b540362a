#include "store/record_versions.h"

#include <algorithm>
#include <optional>

#include "base/clock.h"

namespace keyfs {

std::string_view to_string(VersionState state) {
  switch (state) {
    case VersionState::kNever:
      return "never";
    case VersionState::kPending:
      return "pending";
    case VersionState::kReadable:
      return "readable";
    case VersionState::kRetired:
      return "retired";
    case VersionState::kDestroyed:
      return "destroyed";
  }
  return "never";
}

VersionState version_state(const Record& record, uint32_t number) {
  const auto found = record.versions.find(number);
  if (found == record.versions.end()) return VersionState::kNever;
  const Version& version = found->second;
  if (!version.destroyed.empty()) return VersionState::kDestroyed;
  if (number < record.min) return VersionState::kRetired;
  // The first version has neither token nor promoted: creation made it current.
  if (number != record.current && version.promoted.empty() && !version.token.empty()) {
    return VersionState::kPending;
  }
  return VersionState::kReadable;
}

std::vector<uint32_t> readable_versions(const Record& record) {
  std::vector<uint32_t> numbers;
  for (const auto& [number, version] : record.versions) {
    if (version_state(record, number) == VersionState::kReadable) numbers.push_back(number);
  }
  return numbers;
}

uint32_t last_version(const Record& record) {
  const uint32_t there = record.versions.empty() ? 0 : record.versions.rbegin()->first;
  return std::max(record.last, there);
}

uint32_t newest_promoted(const Record& record) {
  uint32_t newest = record.current;
  for (const auto& [number, version] : record.versions) {
    if (!version.promoted.empty()) newest = std::max(newest, number);
  }
  return newest;
}

uint32_t previous_current(const Record& record) {
  uint32_t previous = 0;
  std::optional<WallTime> since;
  for (const auto& [number, version] : record.versions) {
    const bool never = version.promoted.empty() && !version.token.empty();
    if (number == record.current || never) continue;
    const auto at = from_rfc3339(version.promoted.empty() ? version.created : version.promoted);
    if (previous != 0 && at < since) continue;
    previous = number;  // the higher one of two in the same second
    since = at;
  }
  return previous;
}

uint32_t version_of_token(const Record& record, std::string_view token) {
  if (token.empty()) return 0;
  for (const auto& [number, version] : record.versions) {
    if (version.token == token) return number;
  }
  return 0;
}

}  // namespace keyfs
