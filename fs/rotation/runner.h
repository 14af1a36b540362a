// The runner: what the holder of the lock does. It waits until tickets have settled, makes a run of
// them, has the keys rotated, has the hosts enrol their consumers, and names those consumers that
// are to be told, in waves (fs/rotation/waves.h); then it ends the run, and looks for the next.
//
// It is a state machine over documents: all that a successor needs is on the board, each step is
// found done when it is tried again, and each write is a compare-and-swap that is made only while
// the lock permits it. A successor writes its epoch into run/now and into the run first, so that
// nothing of its predecessor's takes effect any more; what that has ordered and no host has claimed
// is ordered anew, and what was claimed is waited for. Whether the predecessor's host is alive is not
// known: its consumers are ordered last, and one of them that was claimed holds up the others for
// no longer than its time-out, until that host does something in the run.
//
// A host that does not claim an order in time is left out: that order is taken back, and its other
// consumers are "not tried". One that claimed it and does not report is "unknown". Hosts that are
// listed on the board with consumers of a key of the run, and do not enrol, are named; one that
// comes later is let in until the run ends. Hosts are listed a few seconds after the keys were made
// current, and on a board that is another one than before not until they had time to list
// themselves there again.
//
// A key that cannot be rotated now (regions or store are out) is overdue: its ticket stays, its old
// version stays current, the run goes on with the others, and once it can be rotated there is
// another run for it. A key that cannot be rotated at all (it is deleted) is refused.
//
// Thread-safety: none; all on the loop's thread. Ownership: refers to its parts, which outlive it.
// Blocking: never. Errors: none; what fails is tried again, and logged.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/result.h"
#include "base/wake.h"
#include "fs/rotation/announcer.h"
#include "fs/rotation/documents.h"
#include "fs/rotation/feed.h"
#include "fs/rotation/lock.h"
#include "fs/rotation/runs.h"
#include "fs/rotation/tickets.h"
#include "fs/rotation/trouble.h"
#include "fs/rotation/waves.h"
#include "fs/upkeep/key_versions.h"
#include "store/board.h"

namespace keyfs {

// Changes keys, as KeyVersions does; at the pace of background work.
class KeyChanger {
 public:
  virtual ~KeyChanger() = default;
  virtual Task<Result<Promotion>> rotate(std::string id, std::string token) = 0;
  virtual Task<Result<Promotion>> promote(std::string id, uint32_t version,
                                          std::optional<uint32_t> only_from) = 0;
};

struct RunnerOptions {
  std::string host;
  Duration settle = std::chrono::seconds(30);  // without another ticket; ten times that at most
  unsigned parallel = 1;
  StopAfter stop_after;
  unsigned pulse_shards = 1;
  Duration call = std::chrono::seconds(10);       // a call of the board
  Duration look_every = std::chrono::seconds(1);  // at what goes on in a run
  Duration list_every = std::chrono::minutes(5);  // tickets of which nobody has told
  // Hosts are looked for so long after the keys of a run were made current at the earliest: whoever
  // has opened a former version is listed then.
  Duration list_after = std::chrono::seconds(3);
  // The shortest time in which a key is rotated by itself: a fiftieth of it is the most that is
  // waited so, since the next keys wait as well. Null, or nullopt: none is.
  std::function<std::optional<Duration>()> shortest_period;
  Duration enrol_for = kEnrolFor;
  Duration tell_missing_every = std::chrono::seconds(15);  // in the run's document, meanwhile
  Duration claim_within = std::chrono::seconds(75);
  Duration report_within = std::chrono::seconds(60);  // after the consumer's own time-out
  Duration overdue_first = std::chrono::seconds(30);
  Duration overdue_most = std::chrono::minutes(10);
  Duration forget_hosts = std::chrono::hours(24 * 7);
  // Keys whose old versions are retired by themselves, of which runs take note; null: none.
  std::function<bool(const std::string& id)> retires;
  uint64_t keep_runs = 30;
};

// Whether what failed so may be done later: a key is overdue; otherwise it is refused.
bool may_be_done_later(Code code);

class Runner final : public FeedFollower {
 public:
  // `notices`: may be null.
  Runner(Loop& loop, Board& board, Log& log, Random& random, const Tenure& tenure,
         KeyChanger& changer, RunNotices* notices, RunnerOptions options);

  // For RunLock::run(). Never ends by itself.
  Task<bool> work();

  void on_pulse(const Pulse& pulse) override;
  void on_board(const std::string& name) override;
  void on_new_board() override;
  // The name by which this host is known from now on.
  void set_host(std::string host) { options_.host = std::move(host); }

  // Of the holder of the lock; what a former holder tells is old.
  struct Status {
    std::string run;                      // empty: none is going on
    std::optional<RunDocument> document;  // of it, as last read or written
    RunCounts counts;
    size_t waiting = 0;           // tickets that settle, or wait for the run to end
    std::vector<Ticket> overdue;  // in the order of their tokens
    // Runs that this daemon has ended, ever; a run that was begun again ends twice.
    std::map<RunDocument::End, uint64_t> ended;
  };
  Status status() const;

 private:
  // The change of a row; false: it was left alone.
  using ChangeRow = std::function<bool(Row&)>;
  // How long to wait before the next step.
  using Step = Result<Duration>;
  // What is remembered of an order: since when it has been in this state.
  struct Watched {
    RowState state;
    TimePoint since;
  };
  static Duration list_sheets_every(size_t sheets);

  struct Overdue {
    Ticket ticket;
    TimePoint next;
    unsigned tries = 0;
  };

  void forget();
  Task<bool> steps();
  Task<Step> step();
  // The one that all writes pass.
  Result<void> may_act() const;
  TimePoint until() const { return loop_.now() + options_.call; }
  std::string now() const { return to_rfc3339(loop_.clock().wall()); }

  Task<Result<void>> open_now();
  // What a document run/now that is damaged, or was removed, must have said.
  Task<Result<RunNow>> recovered_now();
  Task<Result<void>> set_now(std::string run, uint64_t number);
  Task<Result<bool>> load(std::string run);  // false: there is none
  Task<Result<void>> save();
  Task<Result<void>> take_over();

  // runner_idle.cc: between runs
  Task<Step> idle();
  Task<Result<bool>> look_at_tickets();
  Task<Result<void>> begin_run(std::vector<TicketsSeen::Seen> tickets);
  Task<Result<void>> drop_ghosts(std::vector<TicketsSeen::Seen>& tickets);
  Task<Result<bool>> retry_run(TicketsSeen::Seen seen);
  Task<Result<bool>> try_overdue(TicketsSeen::Seen seen);
  Task<Result<void>> remove(BoardDocument document);

  // runner_keys.cc
  Task<Step> rotate_keys();
  Task<Result<Promotion>> change(const RunKey& key);
  Task<Result<void>> settle_ticket(const RunKey& key);

  // runner_enrol.cc
  Task<Step> enrol();
  Task<Result<void>> announce();
  Task<Result<std::set<std::string>>> expected_hosts();
  Duration until_listing();
  Task<Result<void>> list_sheets();
  std::set<std::string> enrolled_hosts() const;
  void set_unheard();

  // runner_tell.cc
  Task<Step> tell();
  void begin_to_watch();
  Task<Result<void>> look_at_sheets();
  Task<Result<void>> look_for_stop();
  void note_life();
  void note_outcomes();
  Task<Result<void>> give_up_on_silent();
  Task<Result<void>> leave_untried(std::string why, const std::set<std::string>* hosts);
  Doubts doubts() const;
  Task<Result<void>> order_next();
  Task<Step> finish_telling();
  RunView view() const { return {*run_, sheets_}; }
  Task<Result<bool>> change_rows(std::string sheet, ChangeRow change);

  // runner_end.cc
  Task<Step> end_run();
  Task<Result<void>> note_old_versions(RunDocument run);
  Task<Result<void>> clean_up();

  Loop& loop_;
  Board& board_;
  Log& log_;
  Random& random_;
  const Tenure& tenure_;
  KeyChanger& changer_;
  RunnerOptions options_;
  Announcer announcer_;
  std::string announced_end_;  // run and attempt: the message is this host's
  Wake wake_;
  Trouble stuck_;

  // As last read or written.
  std::optional<RunNow> now_;
  std::string now_revision_;
  std::optional<RunDocument> run_;
  std::string run_revision_;

  // Between runs.
  bool tickets_dirty_ = true;
  std::optional<uint64_t> tickets_told_;  // by the pulse
  TimePoint listed_tickets_{};
  std::vector<TicketsSeen::Seen> due_;
  std::set<std::string> known_;  // tokens of due_
  TimePoint first_due_{};
  TimePoint last_due_{};
  std::map<std::string, Overdue> overdue_;
  std::optional<size_t> told_overdue_;  // by the pulse
  std::map<RunDocument::End, uint64_t> ended_;

  // Within one.
  bool announced_ = false;  // by the pulse
  std::optional<TimePoint> enrolling_since_;
  TimePoint missing_told_{};        // when the run's document said last which hosts are missing
  std::set<std::string> expected_;  // hosts
  bool board_known_ = false;        // that there were runs on it
  TimePoint new_board_until_{};     // hosts list themselves anew
  // Those that were listed when hosts were last listed.
  std::map<std::string, HostEntry> seen_hosts_;
  std::string begun_here_;  // the run that this host has begun
  std::string current_of_;  // the run that is meant by:
  TimePoint current_at_{};  // its keys were made current then at the latest
  Sheets sheets_;
  TimePoint listed_sheets_{};

  // What is watched of it; stays after an error, or a silent host would get its time again.
  std::string watching_;  // run, attempt and epoch
  bool primed_ = false;   // what was over when this host began to watch is known
  std::map<RowPlace, Watched> watched_;
  std::set<RowPlace> over_;
  std::set<std::string> silent_hosts_;
  std::set<std::string> alive_;  // hosts that have done something in it
};

}  // namespace keyfs
