#include "fs/rotation/watched_board.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace keyfs {

std::string_view to_string(BoardHealth::State state) {
  switch (state) {
    case BoardHealth::State::kUnknown:
      return "unknown";
    case BoardHealth::State::kThere:
      return "there";
    case BoardHealth::State::kSilent:
      return "silent";
    case BoardHealth::State::kNotThere:
      break;
  }
  return "not there";
}

void WatchedBoard::note(const Error* error) {
  using State = BoardHealth::State;
  if (error != nullptr) ++health_.errors;
  // A document that is damaged was given by a board that answers.
  if (error == nullptr || error->code == Code::kCorrupt) {
    health_.state = State::kThere;
    health_.since.reset();
    health_.why.clear();
    return;
  }
  const State now = error->code == Code::kDenied ? State::kNotThere : State::kSilent;
  if (health_.state != now || !health_.since) health_.since = loop_.clock().wall();
  health_.state = now;
  health_.why = error->message;
}

template <class T>
Task<Result<T>> WatchedBoard::watched(Task<Result<T>> call) {
  auto answer = co_await std::move(call);
  note(answer ? nullptr : &answer.error());
  co_return answer;
}

// By a document run/now or a run's that is good: which run goes on, as far as this host has seen.
void WatchedBoard::learn(const std::string& name, std::string_view text) {
  if (name == kNowName) {
    if (auto now = parse_run_now(text)) now_ = std::move(*now);
  } else {
    const auto run = parse_run(text);
    if (!run) return;
    const uint64_t number = number_of_run(run->run).value_or(0);
    if (run->state != RunDocument::State::kEnded) {
      RunNow now = now_.value_or(RunNow());
      now.run = run->run;
      now.number = std::max(now.number, number);
      now_ = std::move(now);
    } else if (now_ && now_->run == run->run) {
      now_->run.clear();
    }
  }
  std::erase_if(health_.damaged, [&](const auto& one) { return is_ended(one.first); });
}

bool WatchedBoard::is_ended(const std::string& name) const {
  if (!now_ || !name.starts_with(kRunsPrefix) || name == run_name(now_->run)) return false;
  const auto number = number_of_run(std::string_view(name).substr(std::strlen(kRunsPrefix)));
  return number && *number <= now_->number;
}

void WatchedBoard::look_for_damage(const std::string& name,
                                   const Result<std::optional<BoardDocument>>& there) {
  const bool of_run = name.starts_with(kRunsPrefix);
  if (name != kHeadName && name != kNowName && !of_run) return;
  if (!there && there.error().code != Code::kCorrupt) return;
  bool good = there.has_value();
  if (there && *there) {
    const std::string& text = (*there)->text;
    good = of_run              ? parse_run(text).has_value()
           : name == kHeadName ? parse_head(text).has_value()
                               : parse_run_now(text).has_value();
    if (!good) ++health_.errors;
    if (good && name != kHeadName) learn(name, text);
  }
  if (good || is_ended(name)) {
    health_.damaged.erase(name);
  } else {
    health_.damaged.try_emplace(name, loop_.clock().wall());
  }
}

Task<Result<std::optional<BoardDocument>>> WatchedBoard::looked(
    std::string name, Task<Result<std::optional<BoardDocument>>> call) {
  auto there = co_await watched(std::move(call));
  look_for_damage(name, there);
  co_return there;
}

Task<Result<std::optional<BoardDocument>>> WatchedBoard::get(std::string name, TimePoint deadline) {
  auto call = board_.get(name, deadline);
  return looked(std::move(name), std::move(call));
}

Task<Result<std::optional<BoardDocument>>> WatchedBoard::peek(std::string name,
                                                              TimePoint deadline) {
  auto call = board_.peek(name, deadline);
  return looked(std::move(name), std::move(call));
}

Task<Result<BoardWrite>> WatchedBoard::put_if_absent(std::string name, std::string text,
                                                     TimePoint deadline) {
  return watched(board_.put_if_absent(std::move(name), std::move(text), deadline));
}

Task<Result<BoardWrite>> WatchedBoard::replace(std::string name, std::string text,
                                               std::string revision, TimePoint deadline) {
  const bool is_now = name == kNowName;
  const std::string said = is_now ? text : std::string();
  auto call = board_.replace(name, std::move(text), std::move(revision), deadline);
  auto written = co_await watched(std::move(call));
  if (written && written->done) {
    health_.damaged.erase(name);
    if (is_now) learn(name, said);
  }
  co_return written;
}

Task<Result<BoardWrite>> WatchedBoard::remove(std::string name, std::string revision,
                                              TimePoint deadline) {
  auto call = board_.remove(name, std::move(revision), deadline);
  auto removed = co_await watched(std::move(call));
  if (removed && removed->done) health_.damaged.erase(name);
  co_return removed;
}

Task<Result<BoardPage>> WatchedBoard::list(std::string prefix, std::string after, size_t limit,
                                           TimePoint deadline) {
  return watched(board_.list(std::move(prefix), std::move(after), limit, deadline));
}

}  // namespace keyfs
