#include "fs/cli/telling.h"

#include <nlohmann/json.hpp>
#include <ostream>
#include <utility>

#include "base/retry.h"
#include "fs/cli/check_board.h"
#include "fs/cli/rotation_wait.h"
#include "fs/daemon/backends.h"
#include "fs/rotation/documents.h"
#include "fs/rotation/report.h"
#include "fs/rotation/tickets.h"

namespace keyfs {
namespace {

constexpr size_t kMostNamed = 10;
constexpr size_t kMostReason = 1000;

// Once more where the outcome is unknown: the same token is the same ticket.
Task<Result<void>> put_in_time(Board& board, Loop& loop, Random& random, Ticket ticket, bool done,
                               unsigned shards, TimePoint deadline) {
  constexpr int kTries = 3;
  constexpr std::chrono::milliseconds kPause{200};
  for (int number = 1;; ++number) {
    const auto fresh = co_await put_ticket(board, loop, random, ticket, shards, deadline);
    Result<void> put;
    if (!fresh) {
      put = fail(fresh.error());
    } else if (!*fresh && done) {
      put = co_await take_up_again(board, loop, random, ticket.token, shards, deadline);
    }
    if (put) co_return put;
    if (number == kTries || !may_pass(put.error().code) || loop.now() + kPause >= deadline) {
      co_return put;
    }
    co_await loop.sleep_for(kPause);
  }
}

std::string named(const std::vector<std::string>& ids) {
  std::vector<std::string> some(
      ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(std::min(ids.size(), kMostNamed)));
  return joined_with_more(some, ids.size() - some.size());
}

}  // namespace

Result<void> Telling::put(const Ticket& ticket, bool done) {
  if (auto& trouble = context_->board_trouble) return fail(*trouble);
  const RotationDesk& desk = rotation_->desk();
  return desk.loop.run_task(put_in_time(*board_, desk.loop, context_->backends->random(), ticket,
                                        done, rotation_->shards(),
                                        desk.loop.now() + desk.patience));
}

void Telling::reach(CommandContext& context) {
  context_ = &context;
  if (rotation_ != nullptr || context.board_trouble) return;
  board_ = context.backends->store().board();
  if (board_ == nullptr) {
    context.board_trouble.emplace(Code::kDenied, "this store has no board");
  } else {
    rotation_ = std::make_unique<BoardRotation>(context, *board_, output_);
  }
}

std::optional<TicketFate> Telling::fate(CommandContext& context, const std::string& token) {
  reach(context);
  if (context.board_trouble) return std::nullopt;
  const RotationDesk& desk = rotation_->desk();
  const auto fates = desk.loop.run_task(desk.runs.fates({token}, desk.loop.now() + desk.patience));
  if (fates) return fates->front();
  const Code code = fates.error().code;
  if (code == Code::kDenied || may_pass(code)) context.board_trouble = fates.error();
  return std::nullopt;
}

Telling::Asked Telling::ask(CommandContext& context, Ticket ticket, bool done) {
  reach(context);
  if (rotation_ != nullptr) {
    ticket.by = short_text(rotation_->desk().by, kMaxHostName);
    ticket.asked = to_rfc3339(context.clock.wall());
  }
  const std::string id = ticket.id;
  if (auto asked = put(ticket, done); asked) {
    (done ? put_ : put_for_later_) = true;
    return Asked::kPut;
  } else {
    context.board_trouble = asked.error();
  }
  if (done) untold_.push_back(id);
  return context.board_trouble->code == Code::kDenied ? Asked::kNoBoard : Asked::kSilent;
}

void Telling::tell(KeyAnswers::Json& json, const std::string& token, Asked asked) const {
  json["ticket"] = asked == Asked::kPut ? KeyAnswers::Json(token) : KeyAnswers::Json();
  const bool missing = asked == Asked::kNoBoard || asked == Asked::kSilent;
  if (missing) json["no_ticket"] = context_->board_trouble->message;
}

void Telling::count(KeyAnswers& keys, const std::string& id, const std::string& token, Own own,
                    Asked asked) {
  const auto as_it_is = [&] {
    switch (own) {
      case Own::kDone:
        return keys.done();
      case Own::kPartial:
        return keys.partial();
      case Own::kFailed:
        return keys.undone();
    }
  };
  switch (asked) {
    case Asked::kNot:
      return as_it_is();
    case Asked::kNoBoard:
      return waits_ ? keys.undone() : as_it_is();
    case Asked::kSilent:
      return own == Own::kFailed ? keys.undone() : keys.partial();
    case Asked::kPut:
      break;
  }
  if (!waits_) return as_it_is();
  if (own == Own::kPartial) keys.partial();
  awaited_.push_back({id, token});
}

void Telling::finish(KeyAnswers& keys) {
  if (!untold_.empty()) {
    const Error& trouble = *context_->board_trouble;
    const bool absent = trouble.code == Code::kDenied;
    const std::string heard = context_->when_heard();
    output_.error("no run of rotation will tell the consumers of " + named(untold_) +
                  (heard.empty() ? "" : ", and " + heard) + ": " + trouble.message +
                  (absent ? "" : "; the same command again asks for it, and changes nothing else"));
  }
  if (!awaited_.empty()) return wait(keys);
  if (put_ || put_for_later_) say_how(keys);
}

void Telling::say_how(KeyAnswers& keys) {
  const RotationDesk& desk = rotation_->desk();
  const auto holder = desk.loop.run_task(desk.runs.holder(desk.loop.now() + desk.patience));
  if (!holder && holder.error().code == Code::kCorrupt) {
    output_.error(damage_text(kHeadName));
    if (put_) keys.partial();  // what failed is counted already
    return;
  }
  if (output_.json()) return;
  if (holder && holder->host.empty()) {
    output_.out() << "consumers will be told once keyfs is mounted on a host that runs rotations\n";
  } else if (put_) {
    output_.out() << "consumers will be told in a run: keyfs rotation show --watch\n";
  } else {
    output_.out() << "consumers will be told in a run once a host could do what is overdue: keyfs "
                     "rotation list\n";
  }
}

void Telling::wait(KeyAnswers& keys) {
  using End = TicketEnd::End;
  std::vector<std::string> tokens;
  for (const Awaited& one : awaited_) tokens.push_back(one.token);
  output_.out() << std::flush;
  const RunsWaitedFor waited = wait_for_runs(tokens, rotation_->desk(), output_);
  KeyAnswers::Json runs = KeyAnswers::Json::array();
  for (const RunReport& run : waited.runs) {
    runs.push_back(to_json(run));
    if (output_.json()) continue;
    ReportParts parts;
    parts.every_consumer = false;
    output_.out() << to_text(run, parts);
  }
  keys.add("runs", std::move(runs));
  std::string told_last;
  for (size_t place = 0; place < awaited_.size(); ++place) {
    const std::string& id = awaited_[place].id;
    const TicketEnd& end = waited.ends[place];
    keys.add(id, "run", end.run.empty() ? KeyAnswers::Json() : KeyAnswers::Json(end.run));
    keys.add(id, "told", to_string(end.end));
    switch (end.end) {
      case End::kTold:
        keys.done();
        break;
      case End::kInPart:
        keys.partial();
        break;
      case End::kOverdue:
        output_.error("key " + id + " is overdue: " + safe_text(end.why, kMostReason) +
                      "; whichever host runs rotations changes it, and tells its consumers, as "
                      "soon as that can be done");
        keys.partial();
        break;
      case End::kRefused:
        output_.error("key " + id + " was not changed by " + end.run + ": " +
                      safe_text(end.why, kMostReason));
        keys.undone();
        break;
      case End::kUnknown:
        if (told_last != end.why) output_.error(safe_text(end.why, kMostReason));
        told_last = end.why;
        keys.partial();
        break;
    }
  }
}

}  // namespace keyfs
