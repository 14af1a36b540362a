#include <algorithm>
#include <chrono>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "base/race.h"
#include "fs/rotation/consumers_impl.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;

constexpr Duration kRecheck = 250ms;  // a process may end without opening anything
constexpr Duration kPause = 20ms;
constexpr size_t kNamedPids = 8;

// What this consumer's section tells about this key, of the programs that use it.
std::vector<const ConsumerTable::Program*> those_of(const ConsumerTable& table,
                                                    std::string_view consumer,
                                                    std::string_view key) {
  std::vector<const ConsumerTable::Program*> those;
  for (const ConsumerTable::Program* program : table.of(consumer)) {
    const ConsumerRule* rule = program->rule_for(key);
    if (rule == nullptr || rule->name != consumer) continue;
    if (program->incomplete || program->keys.contains(key)) those.push_back(program);
  }
  return those;
}

// A process that has called exec(2) since is another program, under the same number.
bool runs_the_same(const ProcessId& process, const Who& who) {
  const std::string now = program_of(process.pid);
  return now.empty() || who.executable.empty() || now == who.executable;
}

}  // namespace

std::string to_string(const KeyVersion& key) { return key.id + "/" + std::to_string(key.version); }

std::string to_string(std::span<const KeyVersion> keys) {
  std::string text;
  for (const KeyVersion& key : keys) text += (text.empty() ? "" : " ") + to_string(key);
  return text;
}

std::vector<ConsumerToTell> Consumers::to_tell(const std::vector<KeyVersion>& keys) {
  impl_->take_all();
  std::map<const ConsumerRule*, std::set<size_t>> those;
  for (const auto& [who, program] : impl_->table.programs()) {
    if (program.rules.empty()) continue;
    for (size_t place = 0; place < keys.size(); ++place) {
      const std::string& id = keys[place].id;
      if (keys[place].version == 0 || (!program.incomplete && !program.keys.contains(id))) continue;
      if (const ConsumerRule* rule = program.rule_for(id)) those[rule].insert(place);
    }
  }
  std::vector<ConsumerToTell> told;
  for (const auto& [rule, places] : those) {
    std::vector<KeyVersion> used;
    for (const size_t place : places) used.push_back(keys[place]);
    if (rule->confirm == Confirm::kOpen && behind(rule->name, used, TimePoint::max()).empty()) {
      continue;
    }
    ConsumerToTell one;
    one.name = rule->name;
    one.keys.assign(places.begin(), places.end());
    one.timeout = rule->timeout;
    told.push_back(std::move(one));
  }
  std::sort(told.begin(), told.end(),
            [](const ConsumerToTell& a, const ConsumerToTell& b) { return a.name < b.name; });
  return told;
}

std::set<std::string> Consumers::keys_in_use() {
  impl_->take_all();
  std::set<std::string> ids;
  for (const auto& [who, program] : impl_->table.programs()) {
    for (const auto& [id, use] : program.keys) {
      if (program.rule_for(id) != nullptr) ids.insert(id);
    }
  }
  return ids;
}

std::string Consumers::section_of(const std::string& consumer) const {
  const ConsumerRule* rule = impl_->rules->find(consumer);
  return rule != nullptr ? rule->print : std::string();
}

std::set<std::string> Consumers::keys_known() {
  impl_->take_all();
  std::set<std::string> ids;
  if (impl_->list_lost) return ids;
  for (const auto& [who, program] : impl_->table.programs()) {
    for (const auto& [id, use] : program.keys) ids.insert(id);
  }
  return ids;
}

std::vector<Consumers::Running> Consumers::running(std::string_view consumer,
                                                   std::span<const KeyVersion> keys) {
  impl_->take_all();
  std::map<ProcessId, Running> found;
  for (const KeyVersion& key : keys) {
    for (const ConsumerTable::Program* program : those_of(impl_->table, consumer, key.id)) {
      for (const ConsumerTable::Process& process : program->processes) {
        if (!process.keys.contains(key.id) || found.contains(process.id)) continue;
        if (!is_running(process.id)) continue;
        const bool same = runs_the_same(process.id, program->who);
        found.emplace(process.id, Running{process.id, program->who.executable, same});
      }
    }
  }
  std::vector<Running> those;
  for (auto& [process, one] : found) those.push_back(std::move(one));
  return those;
}

bool Consumers::has_unknown_processes(std::string_view consumer,
                                      std::span<const KeyVersion> keys) const {
  impl_->take_all();
  for (const KeyVersion& key : keys) {
    for (const ConsumerTable::Program* program : those_of(impl_->table, consumer, key.id)) {
      if (program->unfollowed) return true;
    }
  }
  return false;
}

bool Consumers::tells_any(std::string_view consumer, std::span<const KeyVersion> keys) const {
  impl_->take_all();
  return std::any_of(keys.begin(), keys.end(), [&](const KeyVersion& key) {
    return !those_of(impl_->table, consumer, key.id).empty();
  });
}

Consumers::Users Consumers::users_of(std::string_view consumer,
                                     std::span<const KeyVersion> keys) const {
  impl_->take_all();
  std::set<pid_t> pids;
  Users users;
  users.unknown = impl_->table.missed() + impl_->lost.load(std::memory_order_relaxed) != 0;
  // Programs are remembered for weeks after their end: if there is none, what was known is lost.
  bool any = false;
  for (const auto& [who, program] : impl_->table.programs()) {
    if (!program.may_have_fitted(consumer)) continue;
    if (program.incomplete) users.unknown = true;
    for (const KeyVersion& key : keys) {
      const bool uses = program.keys.contains(key.id);
      any = any || uses;
      if (uses && program.unfollowed) users.unknown = true;
      // One that another section tells is not named where it is not known to be of this one.
      const bool its = program.fitted.contains(consumer) || program.rule_for(key.id) == nullptr;
      for (const ConsumerTable::Process& process : program.processes) {
        if (!process.keys.contains(key.id) || pids.contains(process.id.pid)) continue;
        if (!is_running(process.id)) continue;
        if (its) pids.insert(process.id.pid);
        users.unknown = users.unknown || !its;
      }
    }
  }
  users.unknown = users.unknown || !any;
  users.pids.assign(pids.begin(), pids.end());
  return users;
}

std::vector<KeyUser> Consumers::who_used(std::string_view consumer,
                                         std::span<const KeyVersion> keys) const {
  impl_->take_all();
  std::set<std::pair<uid_t, std::string>> found;
  for (const auto& [who, program] : impl_->table.programs()) {
    if (!program.may_have_fitted(consumer)) continue;
    for (const KeyVersion& key : keys) {
      if (program.keys.contains(key.id)) found.emplace(who.uid, key.id);
    }
  }
  std::vector<KeyUser> users;
  for (const auto& [uid, key] : found) users.push_back(KeyUser{uid, key});
  return users;
}

std::set<pid_t> Consumers::openers_of(std::span<const KeyVersion> keys) const {
  impl_->take_all();
  std::set<pid_t> pids;
  for (const auto& [who, program] : impl_->table.programs()) {
    for (const ConsumerTable::Process& process : program.processes) {
      for (const KeyVersion& key : keys) {
        if (process.keys.contains(key.id)) pids.insert(process.id.pid);
      }
    }
  }
  return pids;
}

TimePoint Consumers::look_closely() {
  impl_->look.fetch_add(1, std::memory_order_acq_rel);
  return impl_->loop.now();
}

std::vector<Consumers::Behind> Consumers::behind(std::string_view consumer,
                                                 std::span<const KeyVersion> keys,
                                                 TimePoint since) {
  impl_->take_all();
  std::vector<Behind> all;
  for (const KeyVersion& key : keys) {
    Behind behind;
    behind.key = key.id;
    behind.wanted = key.version;
    TimePoint latest = TimePoint::min();
    // A process may be known twice, since it opened the key as two users.
    std::map<ProcessId, bool> processes;
    for (const ConsumerTable::Program* program : those_of(impl_->table, consumer, key.id)) {
      if (const auto use = program->keys.find(key.id); use != program->keys.end()) {
        if (use->second.is_of(key.version, since)) behind.opened_by_any = true;
        if (behind.uses == 0 || use->second.times.answered >= latest) {
          behind.uses = use->second.version;
          latest = use->second.times.answered;
        }
      }
      for (const ConsumerTable::Process& process : program->processes) {
        const auto use = process.keys.find(key.id);
        if (use == process.keys.end()) continue;
        const bool done = use->second.is_of(key.version, since);
        if (done) behind.opened_by_any = true;
        if (!done && !is_running(process.id)) continue;
        bool& known = processes.try_emplace(process.id, false).first->second;
        known = known || done;
      }
    }
    for (const auto& [process, done] : processes) {
      if (done) continue;
      ++behind.processes;
      if (behind.pids.size() < kNamedPids) behind.pids.push_back(process.pid);
    }
    if (!behind.opened_by_any || behind.processes != 0) all.push_back(std::move(behind));
  }
  return all;
}

Task<bool> Consumers::Impl::next_opening() {
  struct Listed {
    explicit Listed(Impl& owner) : impl(owner), slot(owner.loop) {
      place = impl.waiting.insert(impl.waiting.end(), &slot);
    }
    Listed(const Listed&) = delete;
    Listed& operator=(const Listed&) = delete;
    ~Listed() { impl.waiting.erase(place); }
    Impl& impl;
    OneShot<bool> slot;
    std::list<OneShot<bool>*>::iterator place;
  } listed(*this);
  co_return co_await listed.slot;
}

Task<std::vector<Consumers::Behind>> Consumers::confirmed(std::string consumer,
                                                          std::vector<KeyVersion> keys,
                                                          TimePoint since, TimePoint deadline) {
  Impl& impl = *impl_;
  for (;;) {
    auto missing = behind(consumer, keys, since);
    const TimePoint now = impl.loop.now();
    if (missing.empty() || now >= deadline) co_return missing;
    TaskGroup<bool> group(impl.loop);
    group.start(impl.next_opening());
    const auto opened = co_await group.next(std::min<TimePoint>(deadline, now + kRecheck));
    // On a busy host others open keys all the time.
    if (opened) co_await impl.loop.sleep_for(kPause);
  }
}

std::vector<SeenConsumer> Consumers::list() {
  impl_->take_all();
  std::vector<SeenConsumer> all;
  for (const auto& [who, program] : impl_->table.programs()) {
    SeenConsumer seen;
    seen.who = who;
    seen.processes = program.processes.size();
    seen.seen = program.seen;
    std::set<std::string> sections;
    for (const auto& [id, use] : program.keys) {
      seen.keys.push_back(KeyVersion{id, use.version});
      if (const ConsumerRule* rule = program.rule_for(id)) sections.insert(rule->name);
    }
    seen.sections.assign(sections.begin(), sections.end());
    all.push_back(std::move(seen));
  }
  std::sort(all.begin(), all.end(), [](const SeenConsumer& a, const SeenConsumer& b) {
    return std::tie(a.who.uid, a.who.executable, a.who) <
           std::tie(b.who.uid, b.who.executable, b.who);
  });
  return all;
}

Consumers::Status Consumers::status() const {
  Status status;
  status.consumers = impl_->table.programs().size();
  status.uses = impl_->table.uses();
  status.missed = impl_->table.missed() + impl_->lost.load(std::memory_order_relaxed);
  status.save_error = impl_->save_error;
  return status;
}

}  // namespace keyfs
