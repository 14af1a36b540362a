// KeyVersions: how versions end.
#include <algorithm>

#include "fs/upkeep/key_versions.h"
#include "store/record_versions.h"

namespace keyfs {
namespace {

std::string named(uint32_t version) { return "version " + std::to_string(version); }

}  // namespace

Task<Result<MinChange>> KeyVersions::retire(std::string id, uint32_t below) {
  return set_min(std::move(id), below, false);
}

Task<Result<MinChange>> KeyVersions::retire_old(std::string id, uint32_t current) {
  return set_min(std::move(id), current, true);
}

Task<Result<MinChange>> KeyVersions::set_min(std::string id, uint32_t below, bool only_if_current) {
  if (auto ok = check_id(id); !ok) co_return fail(std::move(ok.error()));
  if (below == 0) co_return fail(Code::kInvalid, "versions are numbered from 1");
  const std::string what = "could not retire versions of key " + id;
  MinChange change;
  change.after = below;
  RecordChanges::Edit edit = [&](Record& record) -> Result<bool> {
    if (auto ok = check_may_change(record); !ok) return fail(std::move(ok.error()));
    change.before = std::max(record.min, 1u);
    change.current = record.current;
    if (below > record.current) {
      return fail(Code::kInvalid, named(record.current) +
                                      " is current, and stays readable; promote a higher one "
                                      "first (keyfs promote " +
                                      id + " N)");
    }
    if (only_if_current && below != record.current) {
      return fail(Code::kInvalid, named(record.current) + " has become current meanwhile");
    }
    if (change.before == below) return false;
    record.min = below;
    ++record.serial;
    if (record.pending < below) record.pending = 0;
    return true;
  };
  auto changed = co_await records_.change(id, what, std::move(edit), until());
  if (!changed) co_return fail(std::move(changed.error()));
  change.not_noted = std::move(changed->not_noted);
  co_return change;
}

Task<Result<Destruction>> KeyVersions::destroy(std::string id, std::vector<uint32_t> versions) {
  if (auto ok = check_id(id); !ok) co_return fail(std::move(ok.error()));
  std::sort(versions.begin(), versions.end());
  versions.erase(std::unique(versions.begin(), versions.end()), versions.end());
  const std::string what = "could not destroy versions of key " + id;
  Destruction done;
  RecordChanges::Edit edit = [&](Record& record) -> Result<bool> {
    done = Destruction();
    for (const uint32_t number : versions) {
      const VersionState state = version_state(record, number);
      if (state == VersionState::kDestroyed) {
        done.already.push_back(number);
        continue;
      }
      if (state == VersionState::kNever) {
        return fail(Code::kInvalid, named(number) + " was never made");
      }
      if (auto ok = check_may_change(record); !ok) return fail(std::move(ok.error()));
      if (state != VersionState::kRetired) {
        return fail(Code::kInvalid,
                    named(number) + " is " +
                        (number == record.current ? "the current one" : "not retired") +
                        "; only retired versions are destroyed (keyfs retire " + id +
                        " --below N)");
      }
      done.destroyed.push_back(number);
    }
    for (const uint32_t number : done.destroyed) {
      record.versions.at(number).wrapped.clear();
      record.versions.at(number).destroyed = now();
      if (record.pending == number) record.pending = 0;
    }
    return !done.destroyed.empty();
  };
  auto changed = co_await records_.change(id, what, std::move(edit), until());
  if (!changed) co_return fail(std::move(changed.error()));
  done.not_noted = std::move(changed->not_noted);
  co_return done;
}

}  // namespace keyfs
