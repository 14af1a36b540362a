// Keys whose creation was asked for, and of which nobody heard.
#include <algorithm>
#include <chrono>
#include <utility>

#include "base/race.h"
#include "kms/signing/kms_custody_impl.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;

constexpr int kKeysOnAPage = 1000;  // KMS's limit
constexpr unsigned kMostKeyPages = 1000;
constexpr size_t kSearchedAtOnce = 8;
// 200 a second at most: all callers of an account share its quota.
constexpr Duration kPauseInSearch = 5ms;

Error cannot_be_searched(const Error& why) {
  if (why.code != Code::kDenied) return why;
  return why.within("allow kms:ListKeys and kms:DescribeKey to those who create keys");
}

}  // namespace

std::string KmsCustody::description_of(const std::string& name, const std::string& token) const {
  return options_.description_prefix + name + (token.empty() ? "" : "/" + token + owner_);
}

Task<Result<std::vector<KmsKeyArn>>> KmsCustody::all_keys(TimePoint deadline) {
  std::vector<KmsKeyArn> all;
  std::string marker;
  for (unsigned page = 0; page < kMostKeyPages; ++page) {
    nlohmann::json body = {{"Limit", kKeysOnAPage}};
    if (!marker.empty()) body["Marker"] = marker;
    KmsQuestion question("ListKeys", std::move(body), "all keys");
    KmsAnswer answer = co_await calls_.ask(primary(), std::move(question), deadline);
    if (answer.error) co_return fail(std::move(*answer.error));
    auto parsed = parse_kms_keys(answer.body);
    if (!parsed) {
      co_return fail(Code::kUnavailable,
                     "the reply to ListKeys in " + primary().name + " does not come from KMS");
    }
    for (KmsKeyArn& key : parsed->keys) all.push_back(std::move(key));
    marker = std::move(parsed->next);
    if (marker.empty()) co_return all;
  }
  co_return fail(Code::kUnavailable, "ListKeys in " + primary().name + " never ends");
}

// A token is of one creation only, so that its whole description is the proof; a key that got
// another name or state since is that key all the same.
Task<Result<std::optional<std::string>>> KmsCustody::made(std::string name, std::string token,
                                                          TimePoint deadline) {
  if (token.empty()) co_return fail(Code::kInvalid, "a key is found by its token only");
  const std::string wanted = description_of(name, token);
  auto keys = co_await all_keys(deadline);
  if (!keys) co_return fail(cannot_be_searched(keys.error()));
  std::vector<std::string> unknown;
  for (const KmsKeyArn& key : *keys) {
    const auto known = descriptions_.find(key.id);
    if (known == descriptions_.end()) {
      unknown.push_back(to_text(key));
    } else if (known->second == wanted) {
      co_return reference(key);
    }
  }

  // What was looked at is remembered, so that the next search goes on where this one has to end.
  std::optional<Error> unseen;
  TaskGroup<Result<std::optional<KmsKeyFacts>>> describing(loop_);
  for (size_t next = 0; next < unknown.size() || !describing.empty();) {
    while (next < unknown.size() && describing.size() < kSearchedAtOnce) {
      describing.start(describe(primary(), unknown[next++], deadline));
    }
    auto finished = co_await describing.next(deadline);
    if (!finished) {
      co_return fail(Code::kTimeout, "the keys in " + primary().name +
                                         " are too many to be looked at in one go: " +
                                         std::to_string(unknown.size() - next) + " are left");
    }
    if (!finished->value) {
      // Any other trouble tells more than that some keys are hidden from us.
      if (!unseen || unseen->code == Code::kDenied) unseen = std::move(finished->value.error());
      continue;
    }
    if (!*finished->value) continue;  // deleted meanwhile
    const KmsKeyFacts& key = **finished->value;
    const bool ours = key.description.starts_with(options_.description_prefix);
    descriptions_[key.arn.id] = ours ? key.description : "";
    if (key.description == wanted) co_return reference(key.arn);
    if (next < unknown.size()) {
      co_await loop_.sleep_until(std::min(loop_.now() + kPauseInSearch, deadline));
    }
  }
  // By IAM policies that name a tag, keys of others are hidden from us, and ours are not.
  if (unseen && unseen->code == Code::kDenied && !descriptions_.empty()) unseen.reset();
  if (unseen) co_return fail(cannot_be_searched(*unseen));
  co_return std::optional<std::string>();
}

}  // namespace keyfs
