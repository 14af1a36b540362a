// What the healer does to the wraps of one record: fills in the missing ones, mends the broken ones.
#include <algorithm>
#include <functional>
#include <utility>

#include "fs/keys/key_check.h"
#include "fs/keys/version_maker.h"
#include "fs/upkeep/healer.h"
#include "fs/upkeep/new_wraps.h"

namespace keyfs {
namespace {

// One reason for each region is enough, however many versions it concerns.
void add(std::vector<RegionFailure>& all, std::vector<RegionFailure> more) {
  for (auto& failure : more) {
    const bool known = std::any_of(all.begin(), all.end(),
                                   [&](const auto& one) { return one.region == failure.region; });
    if (!known) all.push_back(std::move(failure));
  }
}

}  // namespace

template <typename Wraps>
std::vector<std::string> Healer::wanting(const Wraps& wraps) const {
  auto regions = regions_.lacking(wraps);
  auto outdated = options_.rewrap ? regions_.under_other_masters(wraps)
                                  : regions_.under_previous_masters(wraps);
  for (auto& region : outdated) regions.push_back(std::move(region));
  return regions;
}

bool Healer::lacks_nothing(const ListPage::Entry& entry) const {
  return wanting(entry.masters).empty() &&
         std::all_of(entry.others.begin(), entry.others.end(),
                     [this](const auto& masters) { return wanting(masters).empty(); });
}

template std::vector<std::string> Healer::wanting(const WrappedKeys& wraps) const;
template std::vector<std::string> Healer::wanting(
    const std::map<std::string, std::string>& wraps) const;

// All versions of a key: an old one may still be needed to decrypt what it encrypted.
Task<Healer::Attempt> Healer::fill_in(Record& record, TimePoint deadline) {
  Attempt done;
  for (auto& [number, version] : record.versions) {
    if (!version.destroyed.empty()) continue;
    WrappedKeys wraps = wraps_of(version);
    const auto wanting_in = wanting(wraps);
    if (wanting_in.empty()) continue;
    std::vector<std::string> wanted, outdated;
    for (const auto& region : wanting_in) {
      if (is_out(region)) {
        done.missing.push_back({region, outages_.at(region).error});
      } else {
        (wraps.contains(region) ? outdated : wanted).push_back(region);
      }
    }
    if (done.outcome == Outcome::kWhole) done.outcome = Outcome::kHealed;
    if (wanted.empty() && outdated.empty()) continue;

    co_await pace_.take(1 + wanted.size(), options_.calls_per_second);
    const TimePoint until = call_until(deadline);
    // Named, since g++ 12 may destroy a temporary in a co_await twice.
    EncryptionContext context = context_of(record, number);
    KeyVerifier verifier = verifier_of(record, number);
    auto unwrapped =
        co_await regions_.unwrap(std::move(wraps), context, std::move(verifier), until);
    if (!unwrapped) {
      done.outcome = Outcome::kFailed;
      done.error = unwrapped.error().within("could not unwrap key " + record.id);
      continue;
    }
    if (unwrapped->suspect) {
      done.suspect = true;
      log_.error("a wrapped key in the record of key " + record.id +
                     " is not what was wrapped; another region gave the key",
                 {{"id", record.id}, {"version", number}});
    }
    co_await replace_outdated(record, number, unwrapped->key, std::move(outdated), deadline, done);
    if (wanted.empty()) continue;
    auto more = co_await regions_.wrap_missing(unwrapped->key, std::move(context),
                                               std::move(wanted), call_until(deadline));
    learn(more);
    const std::string now = to_rfc3339(loop_.clock().wall());
    for (auto& [region, wrapped] : more.wrapped) {
      version.wrapped.insert_or_assign(region, to_wrap(std::move(wrapped), now));
    }
    for (auto& failure : more.missing) done.missing.push_back(std::move(failure));
  }
  if (done.outcome == Outcome::kHealed && !done.missing.empty()) done.outcome = Outcome::kMissing;
  co_return done;
}

Task<void> Healer::replace_outdated(Record& record, uint32_t number, const SecretBytes& key,
                                    std::vector<std::string> regions, TimePoint deadline,
                                    Attempt& done) {
  if (regions.empty()) co_return;
  NewWrapParts parts{loop_, regions_, {}, {}};
  parts.take_calls = [this](size_t calls) { return pace_.take(calls, options_.calls_per_second); };
  parts.until = [this, deadline] { return call_until(deadline); };
  NewWraps made = co_await make_new_wraps(parts, record, number, key, std::move(regions));
  for (const auto& region : made.made) outages_.erase(region);
  for (auto& failure : made.left) {
    if (failure.error.code != Code::kInvalid) note_outage(failure.region, failure.error);
    done.missing.push_back(std::move(failure));
  }
}

Task<void> Healer::mend(Record& record, TimePoint deadline, Attempt& done) {
  WrapMending parts{loop_, regions_, {}, {}, {}, {}, options_.rewrap};
  const double pace = options_.verify && options_.verify_calls_per_second > 0
                          ? options_.verify_calls_per_second
                          : options_.calls_per_second;
  parts.take_calls = [this, pace](size_t calls) { return pace_.take(calls, pace); };
  parts.until = [this, deadline] { return call_until(deadline); };
  parts.out = [this](const std::string& region) -> std::optional<Error> {
    if (!is_out(region)) return std::nullopt;
    return outages_.at(region).error;
  };
  parts.silent = [this](const std::string& region, const Error& error) {
    note_outage(region, error);
  };
  auto mended = co_await mend_wraps(parts, record);
  done.mended = std::move(mended.mended);
  add(done.unverified, std::move(mended.unverified));
  if (!mended.unmended.empty()) {
    add(done.missing, std::move(mended.unmended));
    if (done.outcome != Outcome::kFailed) done.outcome = Outcome::kMissing;
  }
  if (mended.lost && done.outcome != Outcome::kFailed) {
    done.outcome = Outcome::kFailed;
    done.error = std::move(mended.lost);
  }
}

void Healer::tell_mended(const std::string& id, const Attempt& done) {
  for (const MendedWrap& wrap : done.mended) {
    log_.warn("the wrap of key " + id + " in region " + wrap.region +
                  " was broken, and was replaced by a new one: " + wrap.was.message,
              {{"id", id}, {"version", wrap.version}, {"region", wrap.region}});
  }
}

void Healer::learn(const WrappedMore& more) {
  for (const auto& [region, wrapped] : more.wrapped) outages_.erase(region);
  for (const auto& failure : more.missing) {
    if (failure.error.code == Code::kInvalid) continue;  // says nothing about the region
    note_outage(failure.region, failure.error);
  }
}

void Healer::note_outage(const std::string& region, const Error& error) {
  const auto known = outages_.find(region);
  const unsigned failures = known == outages_.end() ? 1 : known->second.failures + 1;
  outages_.insert_or_assign(region, Outage{error, failures, next_try(failures)});
}

}  // namespace keyfs
