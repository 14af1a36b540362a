#include "store/list_entry.h"

namespace keyfs {

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
  for (const auto& [region, wrap] : version.wrapped) entry.masters.emplace(region, wrap.master);
  return entry;
}

}  // namespace keyfs
