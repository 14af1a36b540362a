// Which programs on this host have opened which keys, in bounded memory.
//
// Kept of each program: its keys with the version that was opened last, and the same of its
// processes. When a user's share, or the whole, is full, those make room that nobody would miss
// first: programs that do not run and are told by no section, then those that do not run, then the
// quietest. What still finds no room is marked, never silently taken for "uses nothing".
//
// Thread-safety: none. Ownership: a copy is independent of the first. Blocking: it may look at
// processes (small files of /proc) when room must be made. Errors: none.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "fs/rotation/consumer_rules.h"
#include "fs/rotation/consumers.h"
#include "fs/rotation/process_id.h"

namespace keyfs {

class ConsumerTable {
 public:
  // The version that was opened last, and when; TimePoint::min(): before we were started.
  struct Use {
    uint32_t version = 0;
    OpenListener::Times times{TimePoint::min(), TimePoint::min()};

    // As for Consumers::behind().
    bool is_of(uint32_t wanted, TimePoint since) const {
      return version == wanted || (version != 0 && times.begun >= since);
    }
  };
  using Uses = std::map<std::string, Use, std::less<>>;  // by key
  struct Process {
    ProcessId id;
    Uses keys;
  };
  struct Program {
    Who who;
    Uses keys;
    std::vector<Process> processes;
    WallTime seen{};
    bool incomplete = false;                 // it uses keys that are not in `keys`
    bool unfollowed = false;                 // it has processes that are not in `processes`
    std::vector<const ConsumerRule*> rules;  // whose match it fits, in file order
    // Names of the sections that it fits, or has fitted: they may be changed while a run goes on.
    std::set<std::string, std::less<>> fitted{};
    bool fitted_others = false;  // it may have fitted others too

    bool may_have_fitted(std::string_view section) const {
      return fitted_others || fitted.contains(section);
    }
    // The one that decides for this key, or null.
    const ConsumerRule* rule_for(std::string_view key) const;
  };
  using Programs = std::map<Who, Program>;

  ConsumerTable(const ConsumerRules& rules, ConsumerLimits limits,
                std::function<bool(const ProcessId&)> runs = is_running);

  // True if anything but `seen` changed. `process`: nullopt if it has ended by now.
  // `knowable`: false if its processes have no numbers here.
  bool note(const Who& who, const std::optional<ProcessId>& process, bool knowable,
            std::string_view key, const Use& use, WallTime now);
  // What a file tells; it counts against the limits as well, and is dropped beyond them.
  void restore(Program program);

  void set_rules(const ConsumerRules& rules);
  // These have ended. True if one was known.
  bool remove(const std::vector<ProcessId>& ended);
  // Programs without processes that were not seen since. True if there were any.
  bool forget_unseen_since(WallTime then);

  const Programs& programs() const { return programs_; }
  // Those that fit the section of that name, whichever keys they use.
  std::vector<const Program*> of(std::string_view consumer) const;

  // That this program opened last; 0: unknown.
  uint32_t last_version(const Who& who, std::string_view key) const;

  size_t uses() const { return uses_; }
  uint64_t missed() const { return missed_; }  // that found no room

 private:
  struct Share {
    size_t programs = 0;
    size_t uses = 0;
    TimePoint pruned = TimePoint::min();
  };

  Program* program_for(const Who& who);
  Process* process_for(Program& program, const ProcessId& id);
  // The place of this key, new if there is `room`, else another one's; null if there is neither.
  Use* use_in(Uses& keys, uid_t uid, std::string_view key, bool room);
  bool has_room(uid_t uid, TimePoint now);
  void prune(Program& program);
  void prune_user(uid_t uid);
  void make_room(std::optional<uid_t> of_user);
  void drop(Programs::iterator place);
  void drop_process(Program& program, size_t index);
  void attach(Program& program);

  const ConsumerRules* rules_;
  const ConsumerLimits limits_;
  const std::function<bool(const ProcessId&)> runs_;
  Programs programs_;
  std::map<uid_t, Share> shares_;
  std::map<std::string, std::vector<const Program*>, std::less<>> by_rule_;
  size_t uses_ = 0;
  uint64_t missed_ = 0;
};

}  // namespace keyfs
