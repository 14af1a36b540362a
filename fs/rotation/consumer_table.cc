#include "fs/rotation/consumer_table.h"

#include <algorithm>
#include <chrono>
#include <tuple>
#include <utility>

namespace keyfs {
namespace {

// Looking at all processes of a user takes its time; not for each opening that finds no room.
constexpr Duration kPruneEvery = std::chrono::seconds(10);
constexpr size_t kMaxFitted = 16;  // sections of a program

size_t uses_of(const ConsumerTable::Program& program) {
  size_t uses = program.keys.size();
  for (const ConsumerTable::Process& process : program.processes) uses += process.keys.size();
  return uses;
}

}  // namespace

const ConsumerRule* ConsumerTable::Program::rule_for(std::string_view key) const {
  for (const ConsumerRule* rule : rules) {
    if (rule->covers(key)) return rule;
  }
  return nullptr;
}

ConsumerTable::ConsumerTable(const ConsumerRules& rules, ConsumerLimits limits,
                             std::function<bool(const ProcessId&)> runs)
    : rules_(&rules), limits_(limits), runs_(std::move(runs)) {}

void ConsumerTable::attach(Program& program) {
  program.rules.clear();
  for (const ConsumerRule& rule : rules_->all()) {
    if (!rule.fits(program.who)) continue;
    program.rules.push_back(&rule);
    if (program.fitted.size() < kMaxFitted || program.fitted.contains(rule.name)) {
      program.fitted.insert(rule.name);
    } else {
      program.fitted_others = true;
    }
    by_rule_[rule.name].push_back(&program);
  }
}

void ConsumerTable::set_rules(const ConsumerRules& rules) {
  rules_ = &rules;
  by_rule_.clear();
  for (auto& [who, program] : programs_) attach(program);
}

std::vector<const ConsumerTable::Program*> ConsumerTable::of(std::string_view consumer) const {
  const auto found = by_rule_.find(consumer);
  return found != by_rule_.end() ? found->second : std::vector<const Program*>();
}

uint32_t ConsumerTable::last_version(const Who& who, std::string_view key) const {
  const auto program = programs_.find(who);
  if (program == programs_.end()) return 0;
  const auto use = program->second.keys.find(key);
  return use != program->second.keys.end() ? use->second.version : 0;
}

void ConsumerTable::drop(Programs::iterator place) {
  Program& program = place->second;
  for (const ConsumerRule* rule : program.rules) {
    auto& those = by_rule_[rule->name];
    those.erase(std::remove(those.begin(), those.end(), &program), those.end());
    if (those.empty()) by_rule_.erase(rule->name);
  }
  const size_t uses = uses_of(program);
  uses_ -= uses;
  Share& share = shares_[program.who.uid];
  share.uses -= uses;
  if (--share.programs == 0) shares_.erase(program.who.uid);
  programs_.erase(place);
}

void ConsumerTable::drop_process(Program& program, size_t index) {
  const size_t uses = program.processes[index].keys.size();
  uses_ -= uses;
  shares_[program.who.uid].uses -= uses;
  std::swap(program.processes[index], program.processes.back());
  program.processes.pop_back();
}

void ConsumerTable::prune(Program& program) {
  for (size_t i = program.processes.size(); i-- > 0;) {
    if (!runs_(program.processes[i].id)) drop_process(program, i);
  }
}

void ConsumerTable::prune_user(uid_t uid) {
  for (auto& [who, program] : programs_) {
    if (who.uid == uid) prune(program);
  }
}

void ConsumerTable::make_room(std::optional<uid_t> of_user) {
  using Rank = std::tuple<bool, bool, WallTime>;
  std::vector<std::pair<Rank, Programs::iterator>> places;
  for (auto place = programs_.begin(); place != programs_.end(); ++place) {
    Program& program = place->second;
    if (of_user && program.who.uid != *of_user) continue;
    prune(program);
    places.emplace_back(Rank(!program.processes.empty(), !program.rules.empty(), program.seen),
                        place);
  }
  // Several at once, so that this is rare.
  const size_t many = std::min(places.size(), places.size() / 8 + 1);
  std::partial_sort(places.begin(), places.begin() + static_cast<ptrdiff_t>(many), places.end(),
                    [](const auto& a, const auto& b) { return a.first < b.first; });
  for (size_t i = 0; i < many; ++i) drop(places[i].second);
}

ConsumerTable::Program* ConsumerTable::program_for(const Who& who) {
  if (const auto found = programs_.find(who); found != programs_.end()) return &found->second;
  const auto share = shares_.find(who.uid);
  if (share != shares_.end() && share->second.programs >= limits_.consumers_of_user) {
    make_room(who.uid);
  }
  if (programs_.size() >= limits_.consumers) {
    // Whoever has the most makes room, so that many programs of one user displace nobody's few.
    const auto most = std::max_element(
        shares_.begin(), shares_.end(),
        [](const auto& a, const auto& b) { return a.second.programs < b.second.programs; });
    make_room(most->first);
  }
  Program& program = programs_[who];
  program.who = who;
  ++shares_[who.uid].programs;
  attach(program);
  return &program;
}

bool ConsumerTable::has_room(uid_t uid, TimePoint now) {
  const auto full = [&] {
    return uses_ >= limits_.uses || shares_[uid].uses >= limits_.uses_of_user;
  };
  if (!full()) return true;
  Share& share = shares_[uid];
  if (share.pruned != TimePoint::min() && now - share.pruned < kPruneEvery) return false;
  share.pruned = now;
  prune_user(uid);
  return !full();
}

ConsumerTable::Use* ConsumerTable::use_in(Uses& keys, uid_t uid, std::string_view key, bool room) {
  if (const auto found = keys.find(key); found != keys.end()) return &found->second;
  if (room) {
    ++uses_;
    ++shares_[uid].uses;
    return &keys[std::string(key)];
  }
  ++missed_;
  if (keys.empty()) return nullptr;
  // In the place of another one: what was opened just now is what somebody may wait for.
  auto other = keys.upper_bound(key);
  keys.erase(other != keys.end() ? other : keys.begin());
  return &keys[std::string(key)];
}

ConsumerTable::Process* ConsumerTable::process_for(Program& program, const ProcessId& id) {
  for (Process& process : program.processes) {
    if (process.id == id) return &process;
  }
  if (program.processes.size() >= limits_.processes) prune(program);
  if (program.processes.size() >= limits_.processes) {
    ++missed_;
    return nullptr;
  }
  Process& process = program.processes.emplace_back();
  process.id = id;
  return &process;
}

bool ConsumerTable::note(const Who& who, const std::optional<ProcessId>& process, bool knowable,
                         std::string_view key, const Use& use, WallTime now) {
  Program& program = *program_for(who);
  program.seen = std::max(program.seen, now);
  const bool room = has_room(who.uid, use.times.answered);
  bool changed = false;
  const auto mark = [&changed](bool& flag) {
    changed = changed || !flag;
    flag = true;
  };
  const auto note_in = [&](Uses& keys, bool& without_some) {
    const size_t before = uses_;
    const bool known = keys.contains(key);
    Use* its = use_in(keys, who.uid, key, room);
    if (!known && uses_ == before) mark(without_some);
    if (its == nullptr) return;
    // Threads tell of openings in another order than a process saw them, now and then.
    if (known && use.times.answered < its->times.answered) return;
    changed = changed || !known || its->version != use.version;
    *its = use;
  };
  if (!knowable) mark(program.unfollowed);
  if (process) {
    if (Process* its = process_for(program, *process)) {
      note_in(its->keys, program.unfollowed);
      if (its->keys.empty())
        drop_process(program, static_cast<size_t>(its - program.processes.data()));
    } else {
      mark(program.unfollowed);
    }
  }
  note_in(program.keys, program.incomplete);
  return changed;
}

void ConsumerTable::restore(Program program) {
  const size_t uses = uses_of(program);
  const uid_t uid = program.who.uid;
  const auto share = shares_.find(uid);
  const size_t programs_of_user = share != shares_.end() ? share->second.programs : 0;
  const size_t uses_of_user = share != shares_.end() ? share->second.uses : 0;
  if (programs_.contains(program.who) || programs_.size() >= limits_.consumers ||
      programs_of_user >= limits_.consumers_of_user || uses_ + uses > limits_.uses ||
      uses_of_user + uses > limits_.uses_of_user || program.processes.size() > limits_.processes) {
    ++missed_;
    return;
  }
  uses_ += uses;
  shares_[uid].uses += uses;
  ++shares_[uid].programs;
  program.fitted_others = true;  // of the configuration before
  const Who who = program.who;
  attach(programs_.emplace(who, std::move(program)).first->second);
}

bool ConsumerTable::remove(const std::vector<ProcessId>& ended) {
  if (ended.empty()) return false;
  bool any = false;
  for (auto& [who, program] : programs_) {
    for (size_t i = program.processes.size(); i-- > 0;) {
      if (!std::binary_search(ended.begin(), ended.end(), program.processes[i].id)) continue;
      drop_process(program, i);
      any = true;
    }
  }
  return any;
}

bool ConsumerTable::forget_unseen_since(WallTime then) {
  bool any = false;
  for (auto place = programs_.begin(); place != programs_.end();) {
    const auto next = std::next(place);
    if (place->second.processes.empty() && place->second.seen < then) {
      drop(place);
      any = true;
    }
    place = next;
  }
  return any;
}

}  // namespace keyfs
