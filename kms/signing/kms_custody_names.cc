#include <algorithm>
#include <chrono>
#include <utility>

#include "base/race.h"
#include "kms/signing/kms_custody_impl.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;

// Before looking again at a name whose writing came to nothing, or whose outcome is unknown.
constexpr Backoff kLookAgainAfter{100ms, 2s, 0.5};
constexpr unsigned kMostLooks = 8;

}  // namespace

Task<KmsAnswer> KmsCustody::write_alias(SigningSlot& slot, std::string operation, std::string alias,
                                        std::string key, TimePoint deadline) {
  const nlohmann::json body = {{"AliasName", alias}, {"TargetKeyId", arn_in(slot, key)}};
  KmsQuestion question(std::move(operation), body, alias);
  question.once = true;  // somebody may move it in between: it is looked at first
  co_return co_await calls_.ask(slot, std::move(question), deadline);
}

Task<Result<Pointed>> KmsCustody::point(std::string name, std::string key,
                                        std::optional<std::string> from, TimePoint deadline) {
  if (auto good = check_name(name); !good) co_return fail(std::move(good.error()));
  if (auto where = places(key); !where) co_return fail(std::move(where.error()));
  const std::string alias = alias_of(name);
  std::optional<Error> trouble;
  for (unsigned look = 0; look < kMostLooks; ++look) {
    if (look > 0) {
      const TimePoint next = loop_.now() + kLookAgainAfter.pause(look - 1, calls_.random());
      if (next >= deadline) break;
      co_await loop_.sleep_until(next);
    }
    auto now = co_await find_in(primary(), name, deadline);
    if (!now && trouble) break;  // what was sent before may have taken effect
    if (!now) co_return fail(now.error().within("could not look at " + alias));
    Pointed pointed;
    if (*now && same_key((*now)->key, key)) {
      pointed.done = true;
    } else if (now->has_value() != from.has_value() || (*now && !same_key((*now)->key, *from))) {
      pointed.now = std::move(*now);
      co_return pointed;
    } else {
      const bool there = now->has_value();
      KmsAnswer answer = co_await write_alias(primary(), there ? "UpdateAlias" : "CreateAlias",
                                              alias, key, deadline);
      pointed.done = !answer.error;
      if (answer.error) {
        const Code code = answer.error->code;
        const bool gone = answer.is("NotFoundException");
        // An alias that came, or went, since it was looked at; or a key that is not seen yet.
        const bool look_again = answer.is("AlreadyExistsException") || (gone && there) ||
                                (gone && is_young(key)) || may_pass(code);
        if (!look_again || (gone && look > 2 && !is_young(key))) {
          co_return fail(answer.error->within("could not write " + alias));
        }
        trouble = std::move(answer.error);
        continue;
      }
    }
    known_names_[name] = key;
    pointed.behind = co_await write_elsewhere(alias, key, share_of(deadline, 2));
    co_return pointed;
  }
  if (!trouble) trouble = Error(Code::kTimeout, "no time was left");
  co_return fail(trouble->within("could not write " + alias + ", and the outcome is unknown"));
}

Task<Result<Pointed>> KmsCustody::keep_alive(std::string name, std::string key,
                                             TimePoint deadline) {
  if (auto good = check_name(name); !good) co_return fail(std::move(good.error()));
  const std::string alias = alias_of(name);
  auto now = co_await find_in(primary(), name, deadline);
  if (!now) co_return fail(std::move(now.error()));
  Pointed pointed;
  if (!*now || !same_key((*now)->key, key)) {
    pointed.now = std::move(*now);
    co_return pointed;
  }
  KmsAnswer answer = co_await write_alias(primary(), "UpdateAlias", alias, key,
                                          share_of(deadline, std::min<size_t>(slots_.size(), 2)));
  if (answer.is("NotFoundException")) {
    now = co_await find_in(primary(), name, deadline);
    if (!now) co_return fail(std::move(now.error()));
    pointed.now = std::move(*now);
    co_return pointed;
  }
  if (answer.error) {
    // Where it can be written it does not look abandoned.
    (void)co_await write_elsewhere(alias, key, deadline);
    co_return fail(answer.error->within("could not refresh " + alias));
  }
  pointed.behind = co_await write_elsewhere(alias, key, deadline);
  pointed.done = true;
  co_return pointed;
}

Task<bool> KmsCustody::write_in(SigningSlot& slot, std::string alias, std::string key,
                                TimePoint deadline) {
  KmsAnswer answer = co_await write_alias(slot, "UpdateAlias", alias, key, deadline);
  if (answer.is("NotFoundException")) {
    answer = co_await write_alias(slot, "CreateAlias", alias, key, deadline);
  }
  if (answer.is("NotFoundException") && !is_young(key)) {
    // The key has no replica there: the region was out when it was made.
    auto facts = co_await describe(primary(), key, deadline);
    if (!facts || !*facts) co_return false;
    auto replicated = co_await replicate(slot, key, (*facts)->description, deadline);
    if (!replicated) co_return false;
    answer = co_await write_alias(slot, "CreateAlias", alias, key, deadline);
  }
  co_return !answer.error.has_value();
}

Task<std::string> KmsCustody::write_elsewhere(std::string alias, std::string key,
                                              TimePoint deadline) {
  std::string behind;
  const auto arn = KmsKeyArn::parse(key);
  if (slots_.size() < 2 || !arn || !arn->multi_region()) co_return behind;
  TaskGroup<bool> writing(loop_);
  std::map<size_t, std::string> waited_for;  // regions, by their tasks' numbers
  for (size_t i = 1; i < slots_.size(); ++i) {
    const size_t number = writing.start(write_in(*slots_[i], alias, key, deadline));
    waited_for[number] = slots_[i]->name;
  }
  while (!writing.empty()) {
    auto finished = co_await writing.next(deadline);
    if (!finished) break;
    if (finished->value) waited_for.erase(finished->number);
  }
  for (const auto& [number, region] : waited_for) {
    behind += (behind.empty() ? "" : ", ") + region;
  }
  co_return behind;
}

Task<KmsAnswer> KmsCustody::delete_alias(SigningSlot& slot, std::string alias, TimePoint deadline) {
  const nlohmann::json body = {{"AliasName", alias}};
  KmsQuestion question("DeleteAlias", body, alias);
  KmsAnswer answer = co_await calls_.ask(slot, std::move(question), deadline);
  if (answer.is("NotFoundException")) answer.error.reset();
  co_return answer;
}

Task<Result<void>> KmsCustody::remove_name(std::string name, std::string key, TimePoint deadline) {
  if (auto good = check_name(name); !good) co_return fail(std::move(good.error()));
  const std::string alias = alias_of(name);
  std::optional<Error> trouble;
  // The first region decides, so its name goes last: what failed before is then tried again.
  auto now = co_await find_in(primary(), name, deadline);
  if (!now) co_return fail(std::move(now.error()));
  if (*now && !same_key((*now)->key, key)) co_return Result<void>();
  for (size_t left = slots_.size() - 1; left > 0; --left) {
    SigningSlot& slot = *slots_[left];
    const TimePoint until = share_of(deadline, left + 1);
    auto there = co_await find_in(slot, name, until);
    if (!there) {
      trouble = std::move(there.error());
    } else if (*there) {
      // Whatever it refers to there: the name goes.
      KmsAnswer answer = co_await delete_alias(slot, alias, until);
      if (answer.error) trouble = std::move(answer.error);
    }
  }
  if (*now) {
    KmsAnswer answer = co_await delete_alias(primary(), alias, deadline);
    if (answer.error) {
      trouble = std::move(answer.error);
    } else {
      known_names_[name].clear();
    }
  }
  if (trouble) co_return fail(trouble->within("could not remove " + alias));
  co_return Result<void>();
}

}  // namespace keyfs
