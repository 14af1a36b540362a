#include "fs/rotation/host_identity.h"

#include <algorithm>
#include <cstdint>

#include "base/siphash.h"
#include "base/text.h"
#include "fs/rotation/documents.h"

namespace keyfs {
namespace {

constexpr std::string_view kMarked = " marked";
constexpr size_t kMaxInstance = 64;

}  // namespace

std::string marked_host_name(std::string_view name, std::string_view instance) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string mark = "~";
  uint64_t hash = SipHash()(instance);
  for (int i = 0; i < 6; ++i, hash >>= 4) mark += kDigits[hash & 15];
  return std::string(name.substr(0, kMaxHostName - mark.size())) + mark;
}

std::string host_name_of(const std::string& name, const HostIdentity& identity) {
  return identity.marked ? marked_host_name(name, identity.instance) : name;
}

std::string to_text(const HostIdentity& identity) {
  return identity.instance + std::string(identity.marked ? kMarked : "") + "\n";
}

HostIdentity parse_host_identity(std::string_view text) {
  HostIdentity identity;
  if (!text.ends_with('\n')) return identity;
  text.remove_suffix(1);
  if (text.ends_with(kMarked)) {
    identity.marked = true;
    text.remove_suffix(kMarked.size());
  }
  const bool good = !text.empty() && text.size() <= kMaxInstance &&
                    std::all_of(text.begin(), text.end(), [](char c) { return is_alnum(c); });
  if (!good) return {};
  identity.instance = text;
  return identity;
}

}  // namespace keyfs
