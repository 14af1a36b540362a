#include "fs/mount/audited_creation.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <utility>

#include "base/race.h"

namespace keyfs {

Task<Result<bool>> write_and_wait(Audit& audit, Loop& loop, AuditEvent line) {
  const auto slot = std::make_shared<OneShot<bool>>(loop);
  const std::weak_ptr<OneShot<bool>> waiter = slot;
  line.receipt = std::make_shared<const std::function<void(bool)>>([&loop, waiter](bool kept) {
    loop.post([waiter, kept] {
      if (const auto waits = waiter.lock()) waits->set(bool{kept});
    });
  });
  if (!audit.write(std::move(line))) co_return false;
  const bool kept = co_await *slot;
  co_return kept;
}

AuditedCreation::AuditedCreation(Audit& audit, Loop& loop, AuditEvent opener, TimePoint begin)
    : audit_(audit), loop_(loop), opener_(std::move(opener)), begin_(begin) {}

AuditEvent AuditedCreation::line(AuditEvent::Kind kind) const {
  AuditEvent made = opener_;
  made.kind = kind;
  made.time = loop_.clock().wall();
  made.took = loop_.now() - begin_;
  return made;
}

Task<Result<void>> AuditedCreation::begins(TimePoint deadline) {
  const bool required = audit_.required();
  const TimePoint until = required ? deadline : std::min(deadline, loop_.now() + kPatience);
  const std::string what = "could not write the audit line of its creation";
  auto writing = write_and_wait(audit_, loop_, line(AuditEvent::Kind::kCreating));
  const auto kept = co_await before(loop_, until, what, std::move(writing));
  if (!required) co_return Result<void>();
  if (!kept) co_return fail(kept.error());
  if (!*kept) {
    co_return fail(Code::kUnavailable,
                   "the audit line of its creation can't be kept (audit_required)");
  }
  co_return Result<void>();
}

void AuditedCreation::saved(uint32_t version, const std::string* region) {
  AuditEvent made = line(AuditEvent::Kind::kCreated);
  made.version = version;
  made.region = region;
  made.source = KeySource::kRegion;
  made.created = true;
  audit_.write(std::move(made));
}

void AuditedCreation::perhaps_saved(const std::string& why) {
  AuditEvent made = line(AuditEvent::Kind::kPerhapsCreated);
  made.reason = std::make_shared<const std::string>(why);
  audit_.write(std::move(made));
}

}  // namespace keyfs
