#include "fs/rotation/schedule.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "base/encoding.h"
#include "base/siphash.h"
#include "fs/policy/key_id.h"
#include "fs/rotation/documents.h"
#include "fs/rotation/tickets.h"

namespace keyfs {
namespace {

using std::chrono::duration_cast;
using std::chrono::milliseconds;

constexpr size_t kIdDigits = 32;  // of a hash: 128 bits
// Records tell the second; half of it, for periods that are a few seconds, is nearest on average.
constexpr milliseconds kHalfASecond{500};

}  // namespace

WallTime due_at(std::string_view id, uint32_t version, WallTime since, Duration period) {
  const uint64_t hash = SipHash()(std::string(id) + " " + std::to_string(version));
  const double part = static_cast<double>(hash >> 11) * 0x1p-53;  // of the last tenth
  return since + duration_cast<milliseconds>(std::chrono::duration<double, std::nano>(period) *
                                             (0.9 + 0.1 * part));
}

Result<std::string> schedule_token(std::string_view id, uint32_t version) {
  const auto hash = sha256(bytes_of(id));
  if (!hash) return fail(hash.error());
  return "every-" + hex_encode(*hash).substr(0, kIdDigits) + "-" + std::to_string(version);
}

Schedule::Schedule(Loop& loop, Board& board, Random& random, ScheduleOptions options)
    : loop_(loop), board_(board), random_(random), options_(std::move(options)) {}

bool Schedule::wants(const ListPage::Entry& entry) {
  // Signing keys lie beside the data keys, and a section's glob may fit their records' ids.
  const bool rotates = is_key_id(entry.id) && !entry.corrupt && !entry.from_rkms &&
                       entry.state == KeyState::kEnabled &&
                       options_.period(entry.id) > Duration::zero();
  const auto known = keys_.find(entry.id);
  if (!rotates) {
    if (known != keys_.end()) keys_.erase(known);
    return false;
  }
  return known == keys_.end() || known->second.version != entry.current;
}

bool Schedule::takes(const Record& record) {
  const auto current = record.versions.find(record.current);
  if (current == record.versions.end() || record.state != KeyState::kEnabled) return false;
  const Version& version = current->second;
  // Of the first version, and of old records, only the creation is known.
  auto since = from_rfc3339(version.promoted);
  if (!since) since = from_rfc3339(version.created);
  if (!since) return false;
  const Duration period = options_.period(record.id);
  const Duration ahead = std::min(options_.ahead, period / 10);
  Due due;
  due.version = record.current;
  due.at = due_at(record.id, record.current, *since + kHalfASecond, period) -
           duration_cast<milliseconds>(ahead);
  keys_[record.id] = due;
  return false;  // there is nothing to change
}

Task<void> Schedule::apply(Record& /*record*/, TimePoint /*deadline*/) { co_return; }

void Schedule::finished(const std::string& id, const PassEnd& end) {
  if (end.what == PassEnd::What::kAbsent || end.what == PassEnd::What::kDeleted) keys_.erase(id);
}

std::optional<WallTime> Schedule::next() const {
  std::optional<WallTime> first;
  for (const auto& [id, due] : keys_) {
    if (!due.asked && (!first || due.at < *first)) first = due.at;
  }
  return first;
}

Task<Result<size_t>> Schedule::put_due(size_t most, std::function<Result<void>()> may_write) {
  const WallTime now = loop_.clock().wall();
  std::vector<std::pair<WallTime, std::string>> ids;
  for (const auto& [id, due] : keys_) {
    if (!due.asked && due.at <= now) ids.push_back({due.at, id});
  }
  std::sort(ids.begin(), ids.end());
  if (ids.size() > most) ids.resize(most);
  size_t put = 0;
  for (const auto& [at, id] : ids) {
    const auto due = keys_.find(id);
    if (due == keys_.end()) continue;
    auto token = schedule_token(id, due->second.version);
    if (!token) co_return fail(token.error());
    Ticket ticket;
    ticket.token = std::move(*token);
    ticket.id = id;
    ticket.by = options_.by + " (rotate_every)";
    ticket.asked = to_rfc3339(now);
    auto done = co_await put_ticket(board_, loop_, random_, std::move(ticket),
                                    options_.pulse_shards, loop_.now() + options_.call, may_write);
    if (!done) co_return fail(done.error());
    if (const auto known = keys_.find(id); known != keys_.end()) known->second.asked = true;
    ++put;
  }
  co_return put;
}

}  // namespace keyfs
