#include "fs/rotation/watched_board.h"

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

Task<Result<std::optional<BoardDocument>>> WatchedBoard::get(std::string name, TimePoint deadline) {
  return watched(board_.get(std::move(name), deadline));
}

Task<Result<std::optional<BoardDocument>>> WatchedBoard::peek(std::string name,
                                                              TimePoint deadline) {
  return watched(board_.peek(std::move(name), deadline));
}

Task<Result<BoardWrite>> WatchedBoard::put_if_absent(std::string name, std::string text,
                                                     TimePoint deadline) {
  return watched(board_.put_if_absent(std::move(name), std::move(text), deadline));
}

Task<Result<BoardWrite>> WatchedBoard::replace(std::string name, std::string text,
                                               std::string revision, TimePoint deadline) {
  return watched(board_.replace(std::move(name), std::move(text), std::move(revision), deadline));
}

Task<Result<BoardWrite>> WatchedBoard::remove(std::string name, std::string revision,
                                              TimePoint deadline) {
  return watched(board_.remove(std::move(name), std::move(revision), deadline));
}

Task<Result<BoardPage>> WatchedBoard::list(std::string prefix, std::string after, size_t limit,
                                           TimePoint deadline) {
  return watched(board_.list(std::move(prefix), std::move(after), limit, deadline));
}

}  // namespace keyfs
