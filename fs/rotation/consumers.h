// The programs on this host that use keys, learned from what they open, and whether they have
// opened a new version.
//
// A consumer is a [consumer NAME] section together with everything on this host that fits it and
// has opened one of its keys. Programs that fit no section are remembered too, and listed.
//
// What is told by opened() goes into a bounded ring, without a lock, unless the same process has
// been seen to open the same version a moment ago; the loop takes it from there. A ring that is
// full loses openings: they are counted, and seen again when the process next opens the key.
//
// It is all kept in one small file of state_dir, so that a daemon that is started again still knows
// who uses what: who, keys, versions and numbers of processes, never a key. Written by a worker, as a
// whole and by renaming: a new program, or a new key of one, within 200 ms, all else within two
// seconds, less often on a slow disk. What is newer is appended to another file at once, by another
// worker (fs/rotation/consumer_news.h): a daemon that is killed loses what was opened within the last
// millisecond, or while the disk took nothing. Processes of an earlier boot are not believed.
//
// Thread-safety: opened() from any thread, all else on the loop's thread, or before it runs.
// Ownership: refers to loop, rules and log, and holds entries of the key cache for moments: the
// cache outlives it, and Loop::shutdown() comes before its end. Blocking: open() only, on the disk.
// Errors: those named below.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/log.h"
#include "base/loop.h"
#include "base/result.h"
#include "base/task.h"
#include "fs/audit/open_listener.h"
#include "fs/rotation/consumer_rules.h"
#include "fs/rotation/heirs.h"
#include "fs/rotation/process_id.h"

namespace keyfs {

struct KeyVersion {
  std::string id;
  uint32_t version = 0;

  bool operator==(const KeyVersion&) const = default;
};

// "orders/3"
std::string to_string(const KeyVersion& key);
// Blank-separated: as hooks find it in KEYFS_KEYS.
std::string to_string(std::span<const KeyVersion> keys);

// A consumer that has to be told of a run.
struct ConsumerToTell {
  std::string name;          // unique on this host, printable, at most 128 bytes
  std::vector<size_t> keys;  // which of the run's keys it uses: their places in the list
  // How long refresh() may take, the confirmation included. The runner waits that long and a bit.
  Duration timeout = std::chrono::seconds(30);
};

// Who uses which keys on this host.
class HostConsumers {
 public:
  virtual ~HostConsumers() = default;
  // Those that use one of these keys and were not seen to open that version of it. Version 0: it was
  // not rotated, so that nobody is to be told of it.
  virtual std::vector<ConsumerToTell> to_tell(const std::vector<KeyVersion>& keys) = 0;
  // The ids of all keys that any consumer uses.
  virtual std::set<std::string> keys_in_use() = 0;
  // Whom a consumer's section tells of which keys, as a short text that is another one once that has
  // changed. Empty: there is no such section, or that is not known.
  virtual std::string section_of(const std::string& /*consumer*/) const { return ""; }
  // The same with those that only programs use which no section tells; none if what was known of
  // programs is lost, in part or as a whole.
  virtual std::set<std::string> keys_known() { return keys_in_use(); }
};

// A program that uses keys, for people.
struct SeenConsumer {
  Who who;
  std::vector<std::string> sections;  // that tell it; empty: it is told by none
  std::vector<KeyVersion> keys;       // each with the version that it opened last
  size_t processes = 0;               // running, as of a minute ago
  WallTime seen{};                    // when it last opened a key, to the minute
};

struct ConsumerLimits {
  size_t consumers = 4096;         // programs; the one that was quiet longest makes room
  size_t consumers_of_user = 512;  // so that no user displaces another's
  size_t uses = 65'536;            // keys of programs and of processes together
  size_t uses_of_user = 8192;
  size_t processes = 256;                       // of a program, that are followed
  Duration keep = std::chrono::hours(24 * 35);  // a program that was not seen for so long
};

class Consumers final : public OpenListener, public HostConsumers {
 public:
  // `file`: where it is kept; empty: nowhere. Reads it, and what is newer; what is damaged is set
  // aside with a warning, and what can't be trusted or read is not used, with a warning: nothing is
  // failed by it. `rules` must outlive this, or be replaced by set_rules().
  // `current`: the current version of a key, as far as this host knows, 0 if it does not; so that
  // who opens an old version by number, to decrypt with, is not taken to have gone back to it.
  // Null: versions opened by number count only if they are newer.
  using Current = std::function<uint32_t(const KeyEntry&)>;
  static std::unique_ptr<Consumers> open(Loop& loop, Log& log, const ConsumerRules& rules,
                                         std::string file, Current current = nullptr,
                                         ConsumerLimits limits = {});
  ~Consumers() override;

  void opened(const KeyRef& key, uint32_t version, uint32_t asked, uid_t uid,
              const std::shared_ptr<const ProcessInfo>& process, Times times) override;

  void set_rules(const ConsumerRules& rules);
  const ConsumerRules& rules() const;

  // By name. A consumer with confirm = open is left out once it has opened all of them, with every
  // process that runs still; the others are always told. A program whose keys could not all be
  // remembered is taken to use every key that its section covers.
  std::vector<ConsumerToTell> to_tell(const std::vector<KeyVersion>& keys) override;
  std::set<std::string> keys_in_use() override;
  std::string section_of(const std::string& consumer) const override;
  std::set<std::string> keys_known() override;
  // Called on the loop's thread when a consumer has come or gone, or uses another key or version; it
  // is cheap, and must not call back.
  void on_change(std::function<void()> changed);

  // The processes of a consumer that have opened one of these keys and run still, each once.
  struct Running {
    ProcessId process;
    std::string program;  // that it ran when it opened them; empty: unknown
    bool same = true;     // it runs that still; false: it has called exec(2) since
  };
  std::vector<Running> running(std::string_view consumer, std::span<const KeyVersion> keys);
  // Whether some of its processes can't be known by number (another PID namespace), or are more
  // than are followed.
  bool has_unknown_processes(std::string_view consumer, std::span<const KeyVersion> keys) const;
  // Whether its section tells, of one of these keys, a program that is known, running or not. A
  // section that was removed or mistyped since tells none.
  bool tells_any(std::string_view consumer, std::span<const KeyVersion> keys) const;
  // Whoever has opened one of these keys and runs still, of the programs that fit, or have fitted,
  // that section, which need not be there any more.
  struct Users {
    std::vector<pid_t> pids;
    bool unknown = false;  // there may be others
  };
  Users users_of(std::string_view consumer, std::span<const KeyVersion> keys) const;
  // As whom the programs that fit, or may have fitted, that section have opened these keys.
  std::vector<KeyUser> who_used(std::string_view consumer, std::span<const KeyVersion> keys) const;
  // The processes of all programs that have opened one of these keys, some of them ended.
  std::set<pid_t> openers_of(std::span<const KeyVersion> keys) const;

  // From now on every opening is taken note of, even one that has just been seen; returns the time
  // to give as `since`. Call it before a consumer is told.
  TimePoint look_closely();

  // What is missing until a consumer has opened the new versions: for each key, somebody of it has
  // opened that version (or the plain name at or after `since`), and nobody of it that runs still
  // is left with another. Empty: it is confirmed. (Of processes that can't be followed, somebody is
  // enough.)
  struct Behind {
    std::string key;
    uint32_t wanted = 0;
    uint32_t uses = 0;        // the version that was opened last; 0: unknown
    std::vector<pid_t> pids;  // that run still with another version; a few of them
    size_t processes = 0;     // how many they are
    bool opened_by_any = false;
  };
  std::vector<Behind> behind(std::string_view consumer, std::span<const KeyVersion> keys,
                             TimePoint since);
  // Waits until behind() is empty, or `deadline`; what is missing then.
  Task<std::vector<Behind>> confirmed(std::string consumer, std::vector<KeyVersion> keys,
                                      TimePoint since, TimePoint deadline);

  // Asked right before and after the file is written, by the worker, which it may block: whether it
  // is this daemon's still; why not. Before the loop runs. Null: always.
  void write_while(std::function<Result<void>()> is_ours);
  // Whether there is a program, or a key of one, that was never in the file.
  bool has_unwritten() const;

  // Everything that is known, sorted by user and program.
  std::vector<SeenConsumer> list();

  struct Status {
    size_t consumers = 0;
    size_t uses = 0;
    uint64_t missed = 0;     // openings that found no room
    std::string save_error;  // why the file can't be written now; empty: it can
  };
  Status status() const;

  // Writes what is not written yet; false if it can't be. For the end, and for tests.
  Task<bool> save();

  // Keeps the file up to date, and looks which processes have ended; for as long as the loop runs.
  // Spawn it once.
  Task<void> keep();

 private:
  struct Impl;
  explicit Consumers(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace keyfs
