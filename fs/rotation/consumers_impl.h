// What the files of Consumers share: consumers.cc learns and keeps the list, consumers_kept.cc reads
// it and keeps what is newer, consumers_asked.cc answers.
//
// Thread-safety, ownership, blocking: as Consumers'.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/lazy_worker.h"
#include "base/wake.h"
#include "fs/audit/audit_ring.h"
#include "fs/rotation/consumer_file.h"
#include "fs/rotation/consumer_news.h"
#include "fs/rotation/consumer_table.h"
#include "fs/rotation/consumers.h"

namespace keyfs {

struct Consumers::Impl {
  struct Opening {
    KeyRef key;
    std::shared_ptr<const ProcessInfo> process;
    OpenListener::Times times{};
    uint32_t version = 0;
    uint32_t asked = 0;
    uid_t uid = 0;
  };

  Impl(Loop& io, Log& operators_log, const ConsumerRules& first_rules, std::string path,
       Current current_of, ConsumerLimits the_limits)
      : loop(io),
        log(operators_log),
        rules(&first_rules),
        file(std::move(path)),
        current(std::move(current_of)),
        limits(the_limits),
        epoch(process_epoch()),
        table(first_rules, the_limits),
        news(file),
        disk(io, "keyfs-consumers"),
        news_disk(io, "keyfs-opened"),
        save_soon(io),
        write_soon(io) {}

  // consumers_kept.cc
  void load();
  bool load_list();
  bool load_news(bool list_good);
  void note_news(const Who& who, const std::optional<ProcessId>& process, bool knowable,
                 std::string_view key, uint32_t version, WallTime now);
  Task<bool> write_news();
  // True: once the list is written from now on, drop_news() is due.
  Task<bool> turn_news();
  Task<bool> drop_news();

  void take_all();
  void take(const Opening& opening);
  std::optional<ProcessId> process_of(const ProcessInfo& info, TimePoint then);
  Task<bool> save();
  Task<Result<ConsumerText>> text();
  Task<bool> next_opening();
  void tell_missed();
  void changed() {
    dirty = true;
    if (on_change) on_change();
  }

  Loop& loop;
  Log& log;
  const ConsumerRules* rules;
  const std::string file;
  const Current current;
  const ConsumerLimits limits;
  const std::string epoch;

  // From any thread.
  AuditRing<Opening> ring{16'384};
  std::array<std::atomic<uint64_t>, 4096> seen{};  // openings that were told a moment ago
  std::atomic<uint64_t> look{1};                   // raised to have everything told again
  std::atomic<bool> coming{false};
  std::atomic<uint64_t> lost{0};

  // On the loop's.
  ConsumerTable table;
  ConsumerNews news;  // news_disk's, once that has begun
  LazyWorker disk;
  LazyWorker news_disk;  // not `disk`, where a list that is synced takes its time
  Wake save_soon;        // a new program, or a new key of one
  Wake write_soon;       // something is in news_lines
  std::array<std::pair<uint64_t, std::optional<ProcessId>>, 1024> identified{};  // by serial
  std::list<OneShot<bool>*> waiting;
  std::function<void()> on_change;
  bool dirty = false;  // something to write
  bool saving = false;
  std::string written;  // the text of the file
  std::function<Result<void>()> is_ours;
  uint64_t fresh_seen = 0;     // programs, and keys of them, that had not been known
  uint64_t fresh_written = 0;  // of these
  std::string save_error;
  std::string news_lines;  // not appended yet; bounded: the list has it all
  std::string news_error;  // why they could not be
  bool has_news = false;   // there are lines to take out when the list is written
  bool has_list = false;   // there is one, or should be
  bool list_lost = false;  // at the start
  uint64_t told_missed = 0;
  TimePoint told_at = TimePoint::min();
};

}  // namespace keyfs
