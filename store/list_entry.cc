#include "store/list_entry.h"

#include <utility>

namespace keyfs {
namespace {

std::map<std::string, std::string> masters_of(const Version& version) {
  std::map<std::string, std::string> masters;
  for (const auto& [region, wrap] : version.wrapped) masters.emplace(region, wrap.master);
  return masters;
}

}  // namespace

ListPage::Entry to_list_entry(const std::string& id, const Result<Record>& record) {
  ListPage::Entry entry;
  entry.id = id;
  if (!record) {
    entry.corrupt = true;
    return entry;
  }
  entry.state = record->state;
  entry.from_rkms = record->from_rkms;
  entry.current = record->current;
  const Version& version = record->versions.at(record->current);
  entry.bytes = version.bytes;
  entry.masters = masters_of(version);
  for (const auto& [number, other] : record->versions) {
    if (number == record->current || !other.destroyed.empty()) continue;
    auto masters = masters_of(other);
    if (masters != entry.masters) entry.others.insert(std::move(masters));
  }
  return entry;
}

}  // namespace keyfs
