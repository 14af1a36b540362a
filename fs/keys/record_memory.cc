#include "fs/keys/record_memory.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "base/crypto.h"
#include "store/record_versions.h"

namespace keyfs {
namespace {

uint32_t short_serial(uint64_t serial) {
  return static_cast<uint32_t>(std::min<uint64_t>(serial, std::numeric_limits<uint32_t>::max()));
}

uint64_t half(const KeyCheck& check) {
  uint64_t first = 0;
  std::memcpy(&first, check.data(), sizeof first);
  return first;
}

// What a version is known by: its key, and of a signing key what it is shown as, too. If that can't be
// computed it is another one.
uint64_t mark_of(const Version& version) {
  uint64_t mark = half(*version.check);
  if (version.public_key.empty()) return mark;
  const auto shown = sha256(bytes_of(version.type + '\0' + version.public_key));
  uint64_t first = 1;
  if (shown) std::memcpy(&first, shown->data(), sizeof first);
  return mark ^ first;
}

bool is_other_key(const Version& before, const Version& now) {
  return (before.check && now.check != before.check) || now.public_key != before.public_key ||
         now.type != before.type;
}

std::string from_to(const std::string& what, uint64_t from, uint64_t to) {
  return what + " went back from " + std::to_string(from) + " to " + std::to_string(to);
}

std::string other_key(uint32_t version) {
  return "version " + std::to_string(version) + " is not the key that it was";
}

constexpr const char* kRkms = "an RKMS item has replaced the record that keyfs wrote";
constexpr const char* kLives = "it was deleted, which is permanent, and exists again";
constexpr const char* kSameSerial =
    "its state, current version or min changed, but its serial did not";

// A signing key's versions end once they were rotated away, and its record drops old ones: none of
// them ever signs again, and its number is not used again.
bool may_drop_versions(const Record& now) { return now.kind == kSigningKind; }

// Versions must be the same as before. A deleted record gives no key any more.
std::optional<std::string> versions_go_back(const Record& before, const Record& now) {
  for (const auto& [number, version] : before.versions) {
    const auto found = now.versions.find(number);
    if (found == now.versions.end()) {
      if (number == before.pending) continue;  // abandoned before anybody was served with it
      if (may_drop_versions(now)) continue;
      return "version " + std::to_string(number) + " is gone";
    }
    const Version& later = found->second;
    if (is_other_key(version, later)) return other_key(number);
    if (!version.destroyed.empty() && later.destroyed.empty()) {
      return "version " + std::to_string(number) +
             " was destroyed, which is permanent, and is back";
    }
    if (!version.promoted.empty() && later.promoted.empty()) {
      return "version " + std::to_string(number) + " was current once, and now never was";
    }
  }
  return std::nullopt;
}

}  // namespace

std::optional<std::string> goes_back(const Record& before, const Record& now) {
  if (before.from_rkms) return std::nullopt;
  if (now.from_rkms) return kRkms;
  if (before.state == KeyState::kDeleted && now.state != KeyState::kDeleted) return kLives;
  if (now.serial < before.serial) return from_to("its serial", before.serial, now.serial);
  if (!before.origin.empty() && now.origin != before.origin) {
    return "it was created in the store " + before.origin + ", but now claims to be from " +
           (now.origin.empty() ? "none" : now.origin);
  }
  if (now.state == KeyState::kDeleted) return std::nullopt;
  if (now.serial == before.serial) {
    // Only a keyfs that knows serials changes these.
    if (now.min != before.min || now.current != before.current) return kSameSerial;
    // One that knows none may have disabled it: what permits more must raise the serial.
    if (now.serial != 0 && now.state < before.state) return kSameSerial;
  }
  if (last_version(now) < last_version(before)) {
    return from_to("its highest version", last_version(before), last_version(now));
  }
  return versions_go_back(before, now);
}

std::optional<std::string> goes_back(const Remembered& before, const Record& now) {
  if (before.rkms != 0) {
    const auto same = now.versions.find(before.version);
    if (before.version == 0 || same == now.versions.end() || !same->second.check) {
      return std::nullopt;
    }
    return half(*same->second.check) == before.check ? std::nullopt
                                                     : std::optional(other_key(before.version));
  }
  if (before.known == 0) return std::nullopt;
  if (now.from_rkms) return kRkms;
  if (before.deleted != 0 && now.state != KeyState::kDeleted) return kLives;
  const uint32_t serial = short_serial(now.serial);
  if (serial < before.serial) return from_to("its serial", before.serial, serial);
  if (now.state == KeyState::kDeleted || before.version == 0) return std::nullopt;
  const auto found = now.versions.find(before.version);
  if (found == now.versions.end()) {
    if (may_drop_versions(now)) return std::nullopt;
    return "version " + std::to_string(before.version) + " is gone";
  }
  if (!found->second.check || mark_of(found->second) != before.check) {
    return other_key(before.version);
  }
  const bool exact = serial != std::numeric_limits<uint32_t>::max();
  if (exact && serial == before.serial && now.current != before.version) return kSameSerial;
  return std::nullopt;
}

Error went_back(const std::string& id, const std::string& why, const std::string& forget) {
  return Error(Code::kCorrupt, "the record of key " + id +
                                   " in the store contradicts the one that this host "
                                   "has seen: " +
                                   why + ". Only if the store was restored on purpose, " + forget);
}

Error other_rkms_key(const std::string& id) {
  return Error(Code::kCorrupt, "the item of key " + id +
                                   ", written by RKMS, now gives another key than this keyfs has "
                                   "read from it. Put the right item back; if that is the one "
                                   "which is there now, restart keyfs");
}

bool may_be_older(const Record& before, const Record& now) {
  return now.serial <= before.serial && (now.state < before.state || now.min < before.min);
}

Remembered remembered(const Record& accepted) {
  Remembered memory;
  memory.rkms = accepted.from_rkms ? 1 : 0;
  memory.known = accepted.from_rkms ? 0 : 1;
  memory.deleted = accepted.state == KeyState::kDeleted ? 1 : 0;
  memory.serial = short_serial(accepted.serial);
  const auto current = accepted.versions.find(accepted.current);
  if (current != accepted.versions.end() && current->second.check) {
    memory.version = accepted.current & 0x1fffffffu;
    memory.check = mark_of(current->second);
  }
  return memory;
}

}  // namespace keyfs
