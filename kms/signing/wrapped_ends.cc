// Ends of wrapped signing keys: disabled, destroyed, deleted.
#include <utility>

#include "kms/signing/wrapped_custody_impl.h"

namespace keyfs {

Task<Result<void>> WrappedCustody::change(std::string name, std::string what, Edit edit,
                                          TimePoint deadline) {
  for (int tries = 0; tries < kShelfTries; ++tries) {
    auto found = co_await memory_.look(name, deadline);
    if (!found) co_return fail(found.error().within(what));
    if (*found == nullptr) co_return Result<void>();
    Shelved next = **found;
    auto to_write = edit(next);
    if (!to_write) co_return fail(to_write.error().within(what));
    if (!*to_write) co_return Result<void>();
    auto saved = co_await memory_.save(std::move(next), deadline);
    if (!saved) co_return fail(saved.error().within(what));
    if (*saved != nullptr) co_return Result<void>();
  }
  co_return fail(Code::kUnavailable, what + ": others keep changing its record; try again");
}

Task<Result<void>> WrappedCustody::remove_name(std::string name, std::string key,
                                               TimePoint deadline) {
  const std::string what = "could not delete signing key " + name;
  Edit edit = [this, &name, &key](Shelved& record) -> Result<bool> {
    if (record.deleted) return false;
    const ShelvedVersion* current = current_of(record);
    if (current == nullptr || reference_to(name, *current) != key) return false;  // it was moved
    record.deleted = true;
    for (auto& version : record.versions) {
      keys_.drop(reference_to(name, version));
      version.wrapped.clear();
    }
    return true;
  };
  co_return co_await change(name, what, std::move(edit), deadline);
}

// A record holds no keys of others.
Task<Result<Deletion>> WrappedCustody::schedule_deletion(std::string, std::string key,
                                                         TimePoint deadline) {
  const auto reference = WrappedReference::parse(key);
  if (!reference) co_return fail(Code::kInvalid, "\"" + key + "\" is no wrapped signing key");
  unpointed_.drop(key);
  const std::string& name = reference->name;
  const std::string what =
      "could not destroy version " + std::to_string(reference->version) + " of signing key " + name;
  Edit edit = [this, &name, &key](Shelved& record) -> Result<bool> {
    if (record.deleted) return false;
    for (auto& version : record.versions) {
      if (reference_to(name, version) != key) continue;
      if (version.number == record.current) {
        return fail(Code::kInvalid, "it is what the id refers to; rotate it, or delete the id");
      }
      keys_.drop(key);
      const bool destroyed = version.wrapped.empty();
      version.wrapped.clear();
      return !destroyed;
    }
    return false;  // it never got its name
  };
  auto changed = co_await change(name, what, std::move(edit), deadline);
  if (!changed) co_return fail(std::move(changed.error()));
  co_return Deletion::kDone;
}

Task<Result<void>> WrappedCustody::set_enabled(std::string name, std::string key, bool enabled,
                                               TimePoint deadline) {
  const std::string what =
      std::string("could not ") + (enabled ? "enable" : "disable") + " signing key " + name;
  bool there = false;
  Edit edit = [&](Shelved& record) -> Result<bool> {
    there = true;
    if (record.deleted) return fail(Code::kRevoked, "it was deleted, which is permanent");
    const ShelvedVersion* current = current_of(record);
    if (current == nullptr || reference_to(name, *current) != key) {
      return fail(Code::kInvalid, "it refers to another key by now");
    }
    if (record.disabled != enabled) return false;
    record.disabled = !enabled;
    for (const auto& version : record.versions) keys_.drop(reference_to(name, version));
    return true;
  };
  auto changed = co_await change(name, what, std::move(edit), deadline);
  if (changed && !there) co_return fail(Code::kRevoked, what + ": there is none");
  co_return changed;
}

}  // namespace keyfs
