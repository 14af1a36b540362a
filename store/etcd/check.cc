// EtcdStore: the report of `keyfs check`.
#include <algorithm>
#include <iterator>
#include <utility>
#include <vector>

#include "base/race.h"
#include "base/retry.h"
#include "store/etcd/error.h"
#include "store/etcd/store.h"

namespace keyfs {

namespace {

constexpr const char* kCheckMember = "check this member; the others are used in the meantime";

template <class T>
std::string remedy(const Result<T>& written, const std::string& prefix) {
  if (written) return "find out which cluster this is";
  const Error& error = written.error();
  if (error.message.find(kEtcdNoSpace) != std::string::npos) return std::string(kEtcdNoSpaceRemedy);
  if (error.code == Code::kDenied) {
    return "grant readwrite on all keys that begin with " + prefix + "/";
  }
  if (may_pass(error.code)) return "check the members; keys can still be read";
  return "correct the [store] section, or the permissions in etcd";
}

}  // namespace

Task<CheckItem> EtcdStore::check_member(size_t endpoint, TimePoint deadline) {
  const TimePoint begin = loop_.now();
  EtcdRange range(registry_.key());
  range.keys_only = true;
  const EtcdCall call(kEtcdRangePath, to_json(range));
  const auto answer = co_await client_.ask(endpoint, call, deadline, options_.attempt_timeout);
  CheckItem item;
  item.essential = false;  // the next item says whether enough of them answer
  item.what = client_.endpoints().host(endpoint);
  item.ok = answer.has_value();
  if (answer) {
    item.detail = "answers in " + to_text((loop_.now() - begin) / 1'000'000 * 1'000'000);
  } else {
    item.detail = answer.error().error.message;
    item.remedy = answer.error().next == EtcdNext::kGiveUp
                      ? "correct the [store] section, or the permissions in etcd"
                      : kCheckMember;
  }
  co_return item;
}

Task<StoreCheck> EtcdStore::check(TimePoint deadline) {
  StoreCheck check;
  const bool known = identity_.is_known();
  TaskGroup<CheckItem> members(loop_);
  const TimePoint until = std::min(deadline, loop_.now() + options_.attempt_timeout);
  for (size_t i = 0; i < client_.endpoints().size(); ++i) members.start(check_member(i, until));
  std::vector<CheckItem> told(members.size());
  while (auto finished = co_await members.next()) {
    told[finished->number] = std::move(finished->value);
  }
  const bool none = std::none_of(told.begin(), told.end(), [](const auto& one) { return one.ok; });
  for (CheckItem& member : told) {
    if (!none || member.remedy != kCheckMember) continue;
    member.remedy = told.size() == 1 ? "check this member: [store] endpoints names no other"
                                     : "check this member; the others do not answer either";
  }
  check.items = std::move(told);

  CheckItem cluster{"cluster", true,
                    known ? "is the one that this host has used"
                          : "is the first one that this host uses; it is remembered",
                    ""};
  auto ok = co_await registry_.identify(deadline);
  if (ok) ok = identity_.may_create();
  if (!ok) {
    cluster = {"cluster", false, ok.error().message,
               none && may_pass(ok.error().code) ? "see what is said of the members above"
                                                 : "find out which cluster this is"};
  }
  check.items.push_back(std::move(cluster));
  if (!ok) co_return check;

  // Writing the existing value tests the permission and changes nothing.
  EtcdCompare same;
  same.value = identity_.known().store_id;
  auto written =
      co_await write(registry_.key(), identity_.known().store_id, std::move(same), deadline);
  CheckItem may_write{"may write", written && written->ours, "", ""};
  if (may_write.ok) {
    may_write.detail = "under " + options_.prefix;
  } else {
    may_write.detail = written ? "the store's id changed" : written.error().message;
    may_write.remedy = remedy(written, options_.prefix);
  }
  const bool writable = may_write.ok;
  check.items.push_back(std::move(may_write));
  if (writable) {
    auto board = co_await board_.check(deadline);
    std::move(board.begin(), board.end(), std::back_inserter(check.items));
  }
  co_return check;
}

}  // namespace keyfs
