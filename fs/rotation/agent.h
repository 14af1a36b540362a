// What a host does in a run: enrols its consumers, refreshes those that the runner names, reports.
//
// The host has one document for each 50 consumers, its sheet (fs/rotation/sheet.h). The runner
// orders a row of it; the agent proves that this host serves the new versions, looks at run/head
// strongly, claims the row by compare-and-swap, and only then runs the hook. So a hook runs at most
// once for an order, whatever happens to runners and hosts: an order of an older epoch than
// run/head's is refused, one that was taken back or given anew cannot be claimed any more, and a
// row that an earlier life of this daemon had claimed is reported as "interrupted", not run again.
// Nor is a row "ok", or "gone", if its section tells others now than when it was enrolled.
//
// Runs wait for the hosts that are listed on the board with a key of theirs, so the agent keeps its
// host listed there (agent_register.cc): it looks at its own document when its consumers change,
// when the board is another one than before, before it enrols in a run, and now and then. There it
// also finds who else has its name or its identity (fs/rotation/host_identity.h), and the keys of
// which this host knows no program any more: its list of programs was lost. Those it enrols as the
// consumer kUnknownPrograms, which fails until somebody marks it as done.
//
// Thread-safety: none; all on the loop's thread. Ownership: refers to its parts, which outlive it.
// Blocking: never. Errors: none; what fails is tried again, and logged. Dropping run() kills hooks,
// as the end of the daemon does.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/race.h"
#include "base/result.h"
#include "base/wake.h"
#include "fs/rotation/consumers.h"
#include "fs/rotation/documents.h"
#include "fs/rotation/feed.h"
#include "fs/rotation/host_identity.h"
#include "fs/rotation/refresher.h"
#include "fs/rotation/sheet.h"
#include "fs/rotation/trouble.h"
#include "store/board.h"

namespace keyfs {

// The keys as this host serves them.
class HostKeys {
 public:
  virtual ~HostKeys() = default;
  // Whether whoever opens the key on this host from now on gets this version, or one that has taken
  // its place since: proven by the cache itself, not by the store. False: not yet; what was cached
  // is in doubt from now on, and the agent asks again. Errors: the store's.
  virtual Task<Result<bool>> serves(KeyVersion key, TimePoint deadline) = 0;
};

// Who else has this daemon's identity, when there is somebody.
enum class OtherLife : uint8_t {
  kCopy,       // one with a copy of its state_dir, or it is not known who
  kSuccessor,  // one that was started with its very state_dir, and has read there of all its programs
  kUnknowing,  // the same, which does not know all of them
};

struct AgentOptions {
  std::string host;  // is_host_name(); its plain name, which another daemon may have as well
  std::string life;  // random, of this life of the daemon
  HostIdentity identity{};
  // Is told when it has become another one, and under which name. May be null.
  std::function<void(const std::string& host, const HostIdentity& identity)> on_identity{};
  // Asked now and then, when another life of this daemon is seen; it ends within seconds. May be null:
  // kCopy.
  std::function<Task<OtherLife>()> other_life{};
  Duration poll_every = std::chrono::seconds(30);
  Duration prove_for = std::chrono::seconds(30);  // until the host serves the new versions
  Duration prove_every = std::chrono::milliseconds(500);
  Duration call = std::chrono::seconds(10);  // a call of the board
  Duration register_after = std::chrono::seconds(1);
  Duration register_every = std::chrono::hours(24);
  Duration look_every = std::chrono::minutes(10);  // at its own document
};

class HostAgent final : public FeedFollower {
 public:
  HostAgent(Loop& loop, Board& board, Log& log, HostConsumers& consumers, HostKeys& keys,
            Refresher& refresher, AgentOptions options);

  // Never ends; spawn it.
  Task<void> run();
  // A consumer has come or gone, or uses another key: the host is listed on the board soon. Cheap.
  void on_consumers_changed();

  void on_pulse(const Pulse& pulse) override;
  void on_board(const std::string& name) override;
  void on_new_board() override;

  // By which it is known now.
  const std::string& host() const { return host_; }

  struct Status {
    std::string run;             // that this host takes part in; empty: none
    std::vector<RunKey> keys{};  // of it, once they are known
    size_t consumers = 0;        // of it, on this host
    size_t running = 0;          // hooks
    // Ever, by this daemon: hooks that were begun, and how those of them that are over ended.
    uint64_t hooks = 0;
    std::map<RefreshOutcome::What, uint64_t> outcomes{};
    std::string name_taken{};  // its plain name, which another daemon has; empty: none has it
    // What an operator must look after, so that runs are complete.
    std::vector<std::string> troubles{};
  };
  Status status() const;

 private:
  struct Errand {
    std::string sheet;
    std::string consumer;
    uint64_t epoch = 0;
    uint32_t attempt = 0;
  };
  // The change of one row: false to leave it as it is.
  using ChangeRow = std::function<bool(Row&)>;

  TimePoint next_look() const;
  Task<Result<void>> look();
  Task<Result<void>> enrol();
  Task<Result<bool>> find_own_sheets();
  bool is_running(const std::string& consumer) const;
  std::vector<Row> rows_to_enrol(const std::vector<KeyVersion>& keys);
  Task<Result<void>> put_rows(std::vector<Row> rows);
  Task<Result<void>> look_at_sheet(std::string name);
  void join(const std::string& run);

  Task<bool> tell(Errand errand);
  Task<Result<void>> prove(const std::vector<KeyVersion>& keys);
  Task<Result<bool>> is_of_the_lock(uint64_t epoch);
  // Whether the row was changed by it, or was found changed so: `change` says.
  Task<Result<bool>> change_row(std::string sheet, std::string consumer, ChangeRow change);
  // `section_now`: it failed since its section is this one by now; else empty.
  Task<void> report(Errand errand, RowState state, std::string why, std::string section_now);
  std::vector<KeyVersion> keys_of(const Row& row) const;
  std::string now() const { return to_rfc3339(loop_.clock().wall()); }

  // agent_register.cc
  Task<bool> keep_registered();
  Task<Result<void>> register_host(bool due);
  Task<Result<bool>> register_once(bool due);
  Task<bool> is_as_listed();
  std::set<std::string> keys_to_list() const;
  bool is_listed_with(const std::set<std::string>& ids) const;
  void step_aside();
  Task<OtherLife> other_life() const;
  Task<void> part(std::set<std::string> its_keys);
  void part_from_copy(std::set<std::string> its_keys);
  void leave_to_successor();
  void part_from_successor();
  void rename(HostIdentity identity);
  void find_lost(const HostEntry& found);
  std::set<std::string> lost_of(const std::set<std::string>& ids) const;
  std::set<std::string> runs_of_lost(const std::set<std::string>& ids) const;
  void expect_marks(const std::string& name);
  Task<Result<void>> look_at_marks();
  Task<Result<void>> look_at_lost(std::set<std::string> runs);
  Row unknown_programs(const std::vector<KeyVersion>& keys,
                       const std::set<std::string>& lost) const;

  Loop& loop_;
  Board& board_;
  Log& log_;
  HostConsumers& consumers_;
  HostKeys& keys_;
  Refresher& refresher_;
  const AgentOptions options_;
  HostIdentity identity_;
  std::string host_;

  Wake wake_;
  std::string wanted_;                   // the run that the pulse tells of
  std::string run_;                      // the one that this host has joined
  std::optional<RunDocument> document_;  // of run_, once its keys are known
  bool enrolled_ = false;
  bool over_ = false;                    // run_ has ended
  std::map<std::string, Sheet> sheets_;  // as last seen
  std::set<std::string> running_;        // sheet and consumer
  uint64_t epoch_ = 0;                   // the highest that was seen
  uint64_t hooks_ = 0;
  std::map<RefreshOutcome::What, uint64_t> outcomes_;
  TimePoint read_run_{};
  std::map<std::string, std::string> revisions_;  // of sheets_, when they were parsed
  TaskGroup<bool>* tasks_ = nullptr;              // run()'s
  bool new_board_ = false;                        // what is known of runs is of another one

  Trouble no_part_;
  Trouble not_listed_;
  Trouble not_reported_;

  Wake register_wake_;
  bool changed_ = true;
  bool doubted_ = false;      // whether the board has its document still
  bool registering_ = false;  // one at a time
  TimePoint looked_{};        // at its document
  std::optional<std::set<std::string>> registered_;
  // This life has written its document, under this name; its turn.
  bool listed_ = false;
  bool anothers_ = false;  // the document of its name; it has nothing to list itself
  uint64_t turn_ = 1;
  bool left_ = false;   // to its successor: it is on the board no more
  std::string parted_;  // since when it is not the copy that another daemon is
  // Keys of which this host does not know all programs, and in which run it has said so.
  const std::set<std::string> known_at_start_;
  std::map<std::string, std::string> lost_;
  bool marks_due_ = false;  // one of these runs may have been marked as done since
  TimePoint marks_looked_{};
  bool lost_all_ = false;
  std::string lost_why_;
};

}  // namespace keyfs
