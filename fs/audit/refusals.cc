#include "fs/audit/refusals.h"

#include <algorithm>
#include <utility>

namespace keyfs {
namespace {

// The least time between two walks over the table.
constexpr Duration kLookEvery = std::chrono::milliseconds(100);

// Of many ids from now on.
void forget_id(AuditEvent& event) {
  event.key.reset();
  event.signing.reset();
}

}  // namespace

void Refusals::add(AuditEvent event, TimePoint now) {
  AuditEvent before;  // the old event of a sum is released outside the lock
  std::lock_guard lock(mutex_);
  counting_.store(true, std::memory_order_relaxed);
  auto user = users_.find(event.uid);
  if (user == users_.end()) {
    if (users_.size() >= limits_.users) {
      forget_id(event);
      event.anybody = true;
      std::swap(before, everybody_.last);
      return count(everybody_, std::move(event), now);
    }
    user = users_.try_emplace(event.uid).first;
    user->second.tokens = limits_.burst;
    user->second.tokens_at = now;
  }
  User& his = user->second;
  const What what(event.key.get(), event.signing != nullptr ? event.signing->id : std::string(),
                  event.error);
  auto id = his.ids.find(what);
  if (id == his.ids.end()) {
    if (his.ids.size() >= limits_.ids) {
      forget_id(event);
      std::swap(before, his.others.last);
      return count(his.others, std::move(event), now);
    }
    id = his.ids.try_emplace(what).first;
    // Kept while it is in the table: it is found by its address.
    id->second.last = event;
    id->second.due = now + limits_.window;
  }
  Sum& sum = id->second;
  if (sum.written < limits_.first && first_.size() < limits_.waiting && spend(his, now)) {
    ++sum.written;
    first_.push_back(std::move(event));
    waiting_.store(true, std::memory_order_seq_cst);
    return;
  }
  std::swap(before, sum.last);
  count(sum, std::move(event), now);
}

void Refusals::count(Sum& sum, AuditEvent&& event, TimePoint now) {
  if (sum.count++ == 0 && sum.due <= now) sum.due = now + limits_.window;
  sum.last = std::move(event);
}

void Refusals::refill(User& user, TimePoint now) {
  const double seconds = std::chrono::duration<double>(now - user.tokens_at).count();
  user.tokens = std::min(limits_.burst, user.tokens + seconds * limits_.per_second);
  user.tokens_at = now;
}

bool Refusals::spend(User& user, TimePoint now) {
  refill(user, now);
  if (user.tokens < 1) return false;
  user.tokens -= 1;
  return true;
}

void Refusals::tell(Sum& sum, std::vector<AuditEvent>& lines) {
  lines.push_back(sum.last);
  lines.back().count = sum.count;
  sum.count = 0;
}

void Refusals::take_ids(User& user, std::vector<AuditEvent>& lines, TimePoint now, bool all) {
  for (auto at = user.ids.begin(); at != user.ids.end();) {
    Sum& sum = at->second;
    if (!all && sum.due > now) {
      ++at;
    } else if (sum.count == 0) {
      at = user.ids.erase(at);
    } else {
      if (all || spend(user, now)) {
        tell(sum, lines);
        sum.written = limits_.first;  // it continues: only sums from now on
        sum.due = now + limits_.later;
      }
      ++at;
    }
  }
}

void Refusals::take_others(Sum& sum, std::vector<AuditEvent>& lines, TimePoint now, bool all) {
  if (sum.count == 0 || (!all && sum.due > now)) return;
  tell(sum, lines);
  sum.due = now + limits_.later;
}

void Refusals::take(std::vector<AuditEvent>& lines, TimePoint now, bool all) {
  std::lock_guard lock(mutex_);
  waiting_.store(false, std::memory_order_seq_cst);
  std::move(first_.begin(), first_.end(), std::back_inserter(lines));
  first_.clear();
  if (!all && now < look_at_) return;
  look_at_ = now + kLookEvery;
  for (auto at = users_.begin(); at != users_.end();) {
    User& user = at->second;
    refill(user, now);
    take_ids(user, lines, now, all);
    take_others(user.others, lines, now, all);
    const bool idle = user.ids.empty() && user.others.count == 0 && user.others.due <= now;
    // A user whose lines are used up stays, or it would get new ones.
    at = idle && user.tokens >= limits_.burst ? users_.erase(at) : std::next(at);
  }
  take_others(everybody_, lines, now, all);
  counting_.store(!users_.empty() || everybody_.count != 0, std::memory_order_relaxed);
}

size_t Refusals::size() const {
  std::lock_guard lock(mutex_);
  size_t all = users_.size();
  for (const auto& [uid, user] : users_) all += user.ids.size();
  return all;
}

}  // namespace keyfs
