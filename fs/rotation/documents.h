// The documents of rotation on the board, but for the sheets (fs/rotation/sheet.h) and the pulse
// (store/pulse.h). All times are wall time for people; nothing is decided by them, but that a host
// is forgotten after days.
//
//   run/head     {"epoch": 7, "holder": "web-1", "life": "5f0c...", "beat": 1201}
//                the lock (fs/rotation/lock.h)
//   run/now      {"epoch": 7, "number": 12, "run": "run-00000012", "settle_ms": 30000}
//                the run that is going on, or "": at most one, since there is one such document.
//                `number`: of the last run that was begun; "settle_ms": for how long the holder
//                waits for further tickets, for people
//   tickets/TOKEN  {"token", "do": "rotate", "id", "by", "asked"}       a new version of this key
//                with "rotation" where the rotation has another token than the ticket
//                  {"token", "do": "promote", "id", "version", "from", ...}  this version becomes
//                current, if "from" still is: not after somebody else has promoted or rotated
//                meanwhile. 0: it was made current already, and consumers are to be told
//                  {"token", "do": "retry", "run", ...}                 do again what failed
//                  {"token", "do": "stop", "run", ...}
//                with "overdue": {"since", "why"} once it could not be done; it is tried again and
//                again
//   runs/RUN     {"run", "epoch", "holder", "state", "attempt", "begun", "ended", "end", "keys":
//                [{"id", "token", "state", "before", "current", "missing": [region...], "why"}],
//                "counts": {...}, ...}; see RunDocument
//   retire/ID    what runs say about old versions (fs/rotation/retire_notes.h)
//   hosts/HOST   {"host", "keys": [id...], "at"}: this host has consumers of these keys; without
//                "keys": of more than fit. Written when that changes, and once a day. Which daemon
//                it is: "instance", "life", "turn" (fs/rotation/host_identity.h). "lost": {id: run}:
//                it does not know (any more) which programs use these keys, as it has said in that
//                run, or "" in none yet; "lost_all": of any keys; "lost_why"
//
// Texts that come from outside (reasons) are made printable and short before they are written.
//
// Thread-safety: plain values. Blocking: never. Errors: kCorrupt for what is no such document.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace keyfs {

inline constexpr size_t kMaxRunKeys = 100;
inline constexpr size_t kMaxRunKeyBytes = size_t{16} << 10;  // of ids and tokens
inline constexpr size_t kMaxHostName = 100;
inline constexpr size_t kMaxNamedHosts = 50;  // in a run's document; the others are counted
inline constexpr size_t kMaxHostKeys = 256;
// So long a run waits for hosts that are listed to say which consumers they have.
inline constexpr Duration kEnrolFor = std::chrono::seconds(90);
inline constexpr size_t kMaxOverdueWhy = 1000;  // of a ticket
// Epochs and the like count by ones: what is above is damage. (Other programs that read JSON know
// integers up to here.)
inline constexpr uint64_t kMaxCounted = uint64_t{1} << 53;

inline constexpr const char* kHeadName = "run/head";
inline constexpr const char* kNowName = "run/now";
inline constexpr const char* kRunsPrefix = "runs/";
inline constexpr const char* kTicketsPrefix = "tickets/";
inline constexpr const char* kHostsPrefix = "hosts/";

// For documents and names on the board: letters, digits and `._:@+=,~-`.
bool is_host_name(std::string_view text);
// Whether it may stand in a document as it is: printable ASCII.
bool is_printable(std::string_view text);
// The text made fit for a document: printable ASCII that needs no escapes, at most `most` bytes.
std::string short_text(std::string_view text, size_t most);
// The same with "(URL)" for each URL in it.
std::string without_urls(std::string_view text, size_t most);

struct Head {
  uint64_t epoch = 0;
  std::string holder;
  std::string life;  // of the holder: two daemons of one name are two holders
  uint64_t beat = 0;
  bool operator==(const Head&) const = default;
};

struct RunNow {
  uint64_t epoch = 0;
  uint64_t number = 0;
  std::string run;
  std::optional<uint64_t> settle_ms{};  // nullopt: not known
  bool operator==(const RunNow&) const = default;
};

struct Ticket {
  enum class Kind { kRotate, kPromote, kRetry, kStop };
  std::string token;
  Kind kind = Kind::kRotate;
  std::string id;                  // kRotate, kPromote
  std::string rotation;            // kRotate: the rotation's token; empty: the ticket's
  uint32_t version = 0;            // kPromote
  std::optional<uint32_t> from{};  // kPromote; nullopt: whatever is current
  std::string run;                 // kRetry, kStop
  std::string by;                  // who asked
  std::string asked;
  std::string overdue_since;
  std::string overdue_why;
  bool operator==(const Ticket&) const = default;
};

struct RunKey {
  enum class State {
    kWaiting,
    kCurrent,  // the new version is current: consumers are told
    kOverdue,  // could not be done now; its ticket stays, and the old version is current
    kRefused,  // can't be done, and will not be tried again
  };
  std::string id;
  std::string token;
  std::string rotation;                    // its token; empty: `token`
  uint32_t promote = 0;                    // the version that is asked for; 0: a new one
  std::optional<uint32_t> promote_from{};  // as Ticket::from
  State state = State::kWaiting;
  uint32_t before = 0;
  uint32_t current = 0;
  std::vector<std::string> missing;  // regions in which the new version should be and is not
  std::string why;                   // also of the first of them
  bool operator==(const RunKey&) const = default;
};

struct RunCounts {
  size_t total = 0;
  size_t ok = 0;
  size_t gone = 0;
  size_t failed = 0;
  size_t unknown = 0;
  size_t not_tried = 0;
  size_t done = 0;  // by hand
  size_t waiting = 0;
  size_t active = 0;
  bool operator==(const RunCounts&) const = default;
};

struct RunDocument {
  enum class State {
    kRotating,   // new versions are made
    kEnrolling,  // hosts enrol their consumers
    kTelling,
    kStopping,  // those that are active are waited for, the rest is not tried
    kEnded,
  };
  enum class End { kNone, kComplete, kInPart, kStopped };
  enum class Notice { kNone, kSending, kSent, kFailed };

  std::string run;
  uint64_t epoch = 0;
  std::string holder;
  State state = State::kRotating;
  uint32_t attempt = 1;  // +1 by each retry
  std::string begun;
  std::string ended;
  End end = End::kNone;
  std::string stop_why;  // empty: it was not stopped
  std::vector<RunKey> keys;
  std::vector<std::string> retries;  // tokens of the retries that were begun
  RunCounts counts;
  unsigned in_a_row = 0;               // failures, up to now
  uint64_t hosts = 0;                  // that are waited for, or have enrolled
  std::vector<std::string> unheard;    // hosts that have not enrolled; at most kMaxNamedHosts
  uint64_t unheard_more = 0;           // and so many others
  std::set<std::string> excused;       // of those, by hand; at most kMaxNamedHosts
  std::vector<std::string> takeovers;  // takeover_of(), the last ten
  // Of the message about its end; about takeovers and stops there is one each.
  Notice notice = Notice::kNone;
  std::string notice_why;  // of kFailed; without URLs, which may be secret

  // Every consumer was told, and every host was heard from.
  bool all_told() const;
  // Every key is current in all regions, every consumer was told, every host was heard from.
  bool whole() const;
  bool has_token(std::string_view token) const;
  // Those from which others have taken it over.
  std::set<std::string> former_holders() const;
};

// The keys as people and programs are told of them. A run has one for each ticket; of those of one
// key this is one, by its place in the run: with the version that became current last, the one that
// was current first, and the worst state, since that is what somebody has to look at.
std::vector<RunKey> keys_told(const std::vector<RunKey>& keys);
// The places of those that consumers are told of: current, and of each key the last.
std::vector<size_t> places_told(const std::vector<RunKey>& keys);

std::string_view to_string(Ticket::Kind kind);
std::string_view to_string(RunKey::State state);
std::string_view to_string(RunDocument::State state);
std::string_view to_string(RunDocument::End end);  // "complete", "in part", "stopped", ""

// "web-1 -> web-2"
std::string takeover_of(const std::string& from, const std::string& to);
std::string run_of(uint64_t number);  // "run-00000012"
bool is_run(std::string_view text);
std::optional<uint64_t> number_of_run(std::string_view run);  // nullopt: it is no run
std::string run_name(const std::string& run);                 // of its document
std::string ticket_name(const std::string& token);            // of its document
std::string host_document_name(const std::string& host);

struct HostEntry {
  std::string host;
  std::optional<std::set<std::string>> keys;  // nullopt: more than fit
  std::string at;
  std::string instance{};
  std::string life{};
  uint64_t turn = 0;
  std::map<std::string, std::string> lost{};
  bool lost_all = false;
  std::string lost_why{};
  bool operator==(const HostEntry&) const = default;
};

Result<Head> parse_head(std::string_view text);
Result<RunNow> parse_run_now(std::string_view text);
Result<Ticket> parse_ticket(std::string_view text);
Result<RunDocument> parse_run(std::string_view text);
Result<HostEntry> parse_host(std::string_view text);
std::string to_text(const Head& head);
std::string to_text(const RunNow& now);
std::string to_text(const Ticket& ticket);
std::string to_text(const RunDocument& run);
std::string to_text(const HostEntry& host);

}  // namespace keyfs
