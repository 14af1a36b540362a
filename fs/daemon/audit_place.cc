#include "fs/daemon/audit_place.h"

#include <filesystem>
#include <utility>

namespace keyfs {
namespace {

namespace fs = std::filesystem;

Result<void> make_directory(const std::string& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) return fail(Code::kUnavailable, "could not create " + path + ": " + error.message());
  return {};
}

}  // namespace

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

Result<std::unique_ptr<AuditSink>> open_audit(const Configuration& configuration, Log& log) {
  auto place = audit_place(configuration);
  if (!place) return fail(place.error());
  if (place->file.empty()) return std::move(place->journal);
  if (place->instead_of_journal) {
    log.info("there is no journal; the audit goes to " + place->file);
  }
  if (auto made = make_directory(fs::path(place->file).parent_path().string()); !made)
    return fail(made.error());
  return open_audit_file(place->file, configuration.settings.audit_group_readable);
}

}  // namespace keyfs
