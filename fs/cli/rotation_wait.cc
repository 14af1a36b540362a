#include "fs/cli/rotation_wait.h"

#include <chrono>
#include <cstddef>
#include <map>
#include <optional>
#include <utility>

#include "fs/cli/rotation_watch.h"

namespace keyfs {
namespace {

using End = TicketEnd::End;
using Fate = TicketFate::State;

constexpr Duration kLookEvery = std::chrono::seconds(1);

Task<void> pause(Loop& loop) { co_await loop.sleep_for(kLookEvery); }

class Waiting {
 public:
  Waiting(const std::vector<std::string>& tokens, const RotationDesk& parts, Output& output)
      : parts_(parts), output_(output), holder_(parts), answered_(parts.loop.now()) {
    for (size_t place = 0; place < tokens.size(); ++place) pending_.emplace(place, tokens[place]);
    waited_.ends.resize(tokens.size());
  }

  RunsWaitedFor run() {
    RotationWatch waits(parts_, output_);
    while (!pending_.empty()) {
      auto fates = look();
      if (!fates) {
        if (!is_silent(fates.error())) parts_.loop.run_task(pause(parts_.loop));
        continue;
      }
      const std::string under_way = settle(*fates);
      if (pending_.empty()) break;
      if (!under_way.empty()) {
        waits.clear();
        follow(under_way);
        continue;
      }
      if (auto somebody = holder_.look(); !somebody) {
        give_up(somebody.error().message);
        break;
      }
      waits.show_waiting(holder_);
      parts_.loop.run_task(pause(parts_.loop));
    }
    waits.clear();
    return std::move(waited_);
  }

 private:
  Result<std::vector<TicketFate>> look() {
    std::vector<std::string> tokens;
    for (const auto& [place, token] : pending_) tokens.push_back(token);
    auto fates = parts_.loop.run_task(
        parts_.runs.fates(std::move(tokens), parts_.loop.now() + parts_.patience));
    if (fates) answered_ = parts_.loop.now();
    return fates;
  }

  // Of the pending ones, in their order. Notes what is over; the run that others are in.
  std::string settle(const std::vector<TicketFate>& fates) {
    std::string under_way;
    size_t next = 0;
    for (auto one = pending_.begin(); one != pending_.end();) {
      const TicketFate& fate = fates[next++];
      const auto over = end_of(fate);
      if (!over) {
        const bool first = under_way.empty() || fate.run < under_way;
        if (fate.state == Fate::kInRun && first) under_way = fate.run;
        ++one;
        continue;
      }
      waited_.ends[one->first] = *over;
      one = pending_.erase(one);
    }
    return under_way;
  }

  // nullopt: it goes on.
  std::optional<TicketEnd> end_of(const TicketFate& fate) const {
    switch (fate.state) {
      case Fate::kWaiting:
        return std::nullopt;
      case Fate::kOverdue:
        return TicketEnd{End::kOverdue, fate.run, fate.why};
      case Fate::kGone:
        return TicketEnd{End::kUnknown, fate.run,
                         "the request is not on the board any more, and no run has taken it"};
      case Fate::kInRun:
        break;
    }
    const auto ended = ended_.find(fate.run);
    if (ended == ended_.end()) return std::nullopt;
    if (fate.key == RotatedKey::State::kRefused) {
      return TicketEnd{End::kRefused, fate.run, fate.why};
    }
    return TicketEnd{ended->second ? End::kTold : End::kInPart, fate.run, ""};
  }

  void follow(const std::string& run) {
    auto report =
        parts_.loop.run_task(parts_.runs.report(run, parts_.loop.now() + parts_.patience));
    if (!report) {
      if (!is_silent(report.error())) parts_.loop.run_task(pause(parts_.loop));
      return;
    }
    if (!*report) return give_up("run " + run + " is not on the board any more");
    const bool may_see = parts_.permitted((*report)->summary().keys, nullptr);
    auto ended = RotationWatch(parts_, output_, !may_see).run(std::move(**report));
    if (!ended) return give_up(ended.error().message);
    answered_ = parts_.loop.now();
    ended_[run] = ended->summary().complete();
    if (may_see) waited_.runs.push_back(std::move(*ended));
  }

  bool is_silent(const Error& error) {
    if (parts_.loop.now() - answered_ < RotationWatch::kSilence) return false;
    give_up("the board does not answer, and the run may go on: " + error.message);
    return true;
  }

  void give_up(const std::string& why) {
    for (const auto& [place, token] : pending_) waited_.ends[place] = {End::kUnknown, "", why};
    pending_.clear();
  }

  const RotationDesk& parts_;
  Output& output_;
  HolderWatch holder_;
  TimePoint answered_;
  std::map<size_t, std::string> pending_;  // tokens, by their places
  std::map<std::string, bool> ended_;      // whether a run is complete
  RunsWaitedFor waited_;
};

}  // namespace

RunsWaitedFor wait_for_runs(const std::vector<std::string>& tokens, const RotationDesk& parts,
                            Output& output) {
  return Waiting(tokens, parts, output).run();
}

std::string_view to_string(End end) {
  switch (end) {
    case End::kTold:
      return "complete";
    case End::kInPart:
      return "in part";
    case End::kOverdue:
      return "overdue";
    case End::kRefused:
      return "refused";
    case End::kUnknown:
      break;
  }
  return "unknown";
}

}  // namespace keyfs
