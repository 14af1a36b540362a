#include "fs/daemon/audit_place.h"

#include <utility>

namespace keyfs {

Result<AuditPlace> audit_place(const Configuration& configuration) {
  const Settings& settings = configuration.settings;
  AuditPlace place;
  switch (settings.audit_to) {
    case AuditTo::kOff:
      return place;
    case AuditTo::kFile:
      place.file = settings.audit_path;
      return place;
    case AuditTo::kJournal:
      break;
  }
  auto journal = open_audit_journal();
  if (journal) {
    place.journal = std::move(*journal);
    return place;
  }
  const auto* section = configuration.file.find("keyfs");
  const bool asked_for = section != nullptr && section->find("audit") != nullptr;
  if (asked_for) return fail(journal.error());
  place.file = settings.state_dir + "/audit.jsonl";
  place.instead_of_journal = true;
  return place;
}

}  // namespace keyfs
