#include "fs/keys/replica.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <filesystem>
#include <functional>
#include <mutex>
#include <utility>
#include <vector>

#include "base/worker.h"
#include "fs/keys/pending_notes.h"
#include "fs/keys/record_memory.h"
#include "fs/keys/replica_db.h"

namespace keyfs {
namespace {

constexpr Duration kNothingNew = std::chrono::minutes(1);
constexpr Duration kLiveBeat = std::chrono::seconds(30);
// A failed write is retried after this long, and with the next note.
constexpr Duration kRetryWrites = std::chrono::seconds(5);
// A confirmation may be this far in the future: clocks are corrected in small steps.
constexpr int64_t kClockSlackMs = 5 * 60 * 1000;
constexpr size_t kMostReads = 1'000;

// What was noted within kNothingNew, by a hash of id and revision. Two notes in one slot evict each
// other, which costs one extra write.
class RecentNotes {
 public:
  bool contains(uint64_t hash, TimePoint now) const {
    const Note& note = notes_[hash % notes_.size()];
    return note.hash == hash && now - note.at < kNothingNew;
  }
  void add(uint64_t hash, TimePoint now) { notes_[hash % notes_.size()] = {hash, now}; }
  void clear() { notes_.fill({}); }

 private:
  struct Note {
    uint64_t hash = 0;
    TimePoint at{};
  };
  std::array<Note, 16'384> notes_{};
};

struct Waiting {
  explicit Waiting(size_t& count) : count_(count) { ++count_; }
  ~Waiting() { --count_; }
  Waiting(const Waiting&) = delete;
  Waiting& operator=(const Waiting&) = delete;
  size_t& count_;
};

// Without the advice for a store's database: a replica is not to be restored from a backup.
std::string what_is_wrong(const Error& error) {
  return error.message.substr(0, error.message.find("; restore it"));
}

}  // namespace

struct Replica::Impl {
  Impl(Loop& owner, Log& operators_log, const SipHash& keyed, std::string file,
       std::unique_ptr<ReplicaDb> to_write, std::unique_ptr<ReplicaDb> to_read, LiveTime last_live)
      : loop(owner),
        log(operators_log),
        hash(keyed),
        path(std::move(file)),
        damaged(damaged_replica(path)),
        db(std::move(to_write)),
        reader_db(std::move(to_read)),
        live_time(last_live),
        reader(owner, "keyfs-recall"),
        worker(owner, "keyfs-replica") {}

  int64_t wall_ms() const { return loop.clock().wall().time_since_epoch().count(); }

  Result<std::optional<Found>> weigh(Result<std::optional<ReplicaDb::Row>> row);
  void queue(ReplicaDb::Write write);
  void start_writing();
  Task<void> write_pending();
  Task<void> write_later();
  // On the worker, after everything queued before.
  using Work = std::function<Result<void>(ReplicaDb&)>;
  Task<Result<void>> on_worker(Work work);
  Task<void> beat(uint64_t number);
  void begin_live();
  void note_error(const Error& error, std::string_view what);

  Loop& loop;
  Log& log;
  const SipHash hash;
  const std::string path;
  const std::string damaged;             // see damaged_replica()
  std::unique_ptr<ReplicaDb> db;         // used by the worker only
  std::unique_ptr<ReplicaDb> reader_db;  // by the reader only
  LiveTime live_time;
  bool live = false;
  uint64_t beats = 0;  // distinguishes the current feed's beat from earlier ones
  PendingNotes pending;
  bool writing = false;
  std::atomic<bool> write_failed{false};  // the last write failed; another try follows
  size_t waiting = 0;
  std::atomic<size_t> reading{0};
  RecentNotes recent;

  std::atomic<uint64_t> hits{0}, misses{0}, errors{0};
  mutable std::mutex error_mutex;
  std::string last_error;
  // More was noted than could be kept while the disk failed: an id that is not found may have been
  // seen.
  std::atomic<bool> lossy{false};

  Worker reader;
  Worker worker;  // destroyed first
};

std::string damaged_replica(const std::string& path) {
  std::error_code error;
  const std::string aside = path + ".damaged";
  return std::filesystem::exists(aside, error) || error ? aside : "";
}

std::string how_to_forget(const std::string& path) {
  return "stop keyfs on this host and delete " + path + "*: it then forgets every key";
}

Result<std::unique_ptr<Replica>> Replica::open(Loop& loop, Log& log, const std::string& path,
                                               const SipHash& hash) {
  if (auto ok = ReplicaDb::begin(loop.clock(), path); !ok) {
    return fail(ok.error().within("this host keeps no replica of records in " + path));
  }
  auto db = ReplicaDb::open(loop.clock(), path);
  if (!db && db.error().code == Code::kCorrupt) {
    log.error(
        "the replica is damaged; it was set aside and a new one started. What this host has seen "
        "is unknown now, so no key is created here until that file is removed and keyfs restarted, "
        "once the store holds everything that it should",
        {{"file", path + ".damaged"}, {"reason", what_is_wrong(db.error())}});
    for (const char* end : {"", "-wal", "-shm"}) {
      std::error_code ignored;
      std::filesystem::rename(path + end, path + ".damaged" + end, ignored);
    }
    if (auto ok = ReplicaDb::begin(loop.clock(), path); !ok) return fail(ok.error());
    db = ReplicaDb::open(loop.clock(), path);
  }
  if (!db) return fail(db.error().within("this host keeps no replica of records in " + path));
  // If others read for too long, the first note does it.
  if (auto ok = (*db)->merge(); !ok) {
    log.debug("what was left in the replica's -wal file is not merged yet",
              {{"reason", ok.error().message}});
  }
  auto live = (*db)->live_time();
  if (!live) return fail(live.error().within("this host keeps no replica of records in " + path));
  auto to_read = ReplicaDb::open(loop.clock(), path);
  if (!to_read) {
    return fail(to_read.error().within("this host keeps no replica of records in " + path));
  }
  return std::unique_ptr<Replica>(new Replica(
      std::make_unique<Impl>(loop, log, hash, path, std::move(*db), std::move(*to_read), *live)));
}

Replica::Replica(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Replica::~Replica() = default;

void Replica::Impl::note_error(const Error& error, std::string_view what) {
  errors.fetch_add(1, std::memory_order_relaxed);
  {
    std::lock_guard lock(error_mutex);
    last_error = error.message;
  }
  log.warn("this host's replica of records " + std::string(what) + "; reads continue without it",
           {{"reason", error.message}});
}

Result<std::optional<Replica::Found>> Replica::Impl::weigh(
    Result<std::optional<ReplicaDb::Row>> row) {
  if (!row) {
    note_error(row.error(), "could not be read");
    return fail(std::move(row.error()));
  }
  if (!*row) {
    misses.fetch_add(1, std::memory_order_relaxed);
    return std::optional<Found>();
  }
  hits.fetch_add(1, std::memory_order_relaxed);
  int64_t confirmed = (*row)->confirmed;
  const int64_t now = wall_ms();
  if (!(*row)->doubted && confirmed >= live_time.since && confirmed <= live_time.until) {
    confirmed = live ? now : live_time.until;
  }
  Found found;
  found.stored = std::move((*row)->stored);
  found.unproven = (*row)->unproven;
  found.age = confirmed > now + kClockSlackMs
                  ? Duration::max()
                  : Duration(std::chrono::milliseconds(std::max<int64_t>(0, now - confirmed)));
  return std::optional<Found>(std::move(found));
}

Task<Result<std::optional<Replica::Found>>> Replica::get(std::string id) {
  Impl& impl = *impl_;
  if (impl.reading >= kMostReads) {
    co_return fail(Code::kUnavailable,
                   "the disk of this host's replica of records does not answer");
  }
  // Counted until the work is done: a dropped task leaves it in the worker's queue.
  ++impl.reading;
  std::function<Result<std::optional<ReplicaDb::Row>>()> work = [&impl, id] {
    auto row = impl.reader_db->get(id);
    --impl.reading;
    return row;
  };
  // A pending write may reach the disk, and leave this list, after this read has begun.
  std::optional<ReplicaDb::Write> newer_write;
  if (const auto* early = impl.pending.find(id)) newer_write = *early;
  Result<std::optional<ReplicaDb::Row>> row = std::optional<ReplicaDb::Row>();
  {
    const Waiting waiting(impl.waiting);
    row = co_await impl.reader.run(std::move(work));
  }
  if (const auto* late = impl.pending.find(id)) newer_write = *late;
  if (!newer_write) co_return impl.weigh(std::move(row));
  // It counts, unless the disk refuses it.
  const ReplicaDb::Write& write = *newer_write;
  if (!write.json.empty()) {
    auto record = record_of_row(write.json, id);
    if (!record) co_return fail(std::move(record.error()));
    const bool there = row && *row;
    if (!there || !goes_back((*row)->stored.record, *record)) {
      ReplicaDb::Row newer;
      newer.stored = {std::move(*record), write.revision, write.json};
      newer.confirmed = there && !write.strong ? (*row)->confirmed : write.confirmed;
      newer.doubted = there && !write.strong && (*row)->doubted;
      newer.unproven =
          write.json == kSeenUnproven || (there && (*row)->unproven && only_seen(write.json));
      row = std::optional<ReplicaDb::Row>(std::move(newer));
    }
  }
  if (write.doubted && row && *row) (*row)->doubted = true;
  co_return impl.weigh(std::move(row));
}

Task<Recall> Replica::recall(std::string id) {
  auto found = co_await get(id);
  if (!found && found.error().code != Code::kCorrupt) co_return Recall::unknown(found.error());
  Recall recall;
  if (!found) {
    // A damaged record here is still a record.
    recall.what = Recall::What::kKnown;
    recall.why = std::move(found.error());
  } else if (*found) {
    recall.what = Recall::What::kKnown;
    if ((*found)->unproven) recall.why = seen_unproven(id);
    if (!(*found)->stored.record.from_rkms) recall.stored = std::move((*found)->stored);
    recall.age = (*found)->age;
  } else if (const std::string why = trouble(); !why.empty()) {
    co_return Recall::unknown(Error(Code::kUnavailable, why));
  } else {
    recall.what = Recall::What::kNever;
  }
  co_return recall;
}

std::string Replica::trouble() const {
  if (!impl_->damaged.empty()) {
    return "the replica of records that this host has seen is damaged; once the store holds "
           "everything that it should, remove " +
           impl_->damaged + " and restart keyfs";
  }
  if (impl_->db->damaged() || impl_->reader_db->damaged()) {
    return replica_damaged(impl_->path).message;
  }
  if (impl_->write_failed) {
    return "this host's replica of records can't be written, so new keys could not be "
           "remembered; free the disk of " +
           impl_->path;
  }
  if (impl_->lossy) {
    return "the disk of this host's replica of records has failed for so long that memory could "
           "not hold all that was seen";
  }
  return "";
}

std::string Replica::forget() const { return how_to_forget(impl_->path); }

void Replica::note(const Stored& stored, bool strong) {
  Impl& impl = *impl_;
  const std::string& id = stored.record.id;
  const uint64_t hash = impl.hash(id + '\0' + stored.revision + (strong ? "s" : ""));
  const TimePoint now = impl.loop.now();
  if (impl.recent.contains(hash, now)) return;
  std::string json = stored.json;
  if (json.empty()) {
    auto made = to_json_unchecked(stored.record);
    if (!made && !stored.record.from_rkms) return;
    json = made ? std::move(*made) : kSeenRkms;
  }
  impl.recent.add(hash, now);
  impl.queue({id, std::move(json), stored.revision, impl.wall_ms(), strong});
}

void Replica::note_seen(const std::string& id, Sighting what) {
  Impl& impl = *impl_;
  const char* const json = row_of(what);
  const uint64_t hash = impl.hash(id + '\0' + json);
  if (impl.recent.contains(hash, impl.loop.now())) return;
  impl.recent.add(hash, impl.loop.now());
  impl.queue({id, json, "", impl.wall_ms(), false});
}

void Replica::doubt(const std::string& id) {
  Impl& impl = *impl_;
  impl.recent.clear();  // everything noted next counts as new
  // A live feed has announced all changes up to now; otherwise nothing is proven.
  ReplicaDb::Write write{id, "", "", impl.live ? impl.wall_ms() : 0};
  write.doubted = true;
  impl.queue(std::move(write));
}

Task<Result<void>> Replica::kept(std::string id) {
  Impl& impl = *impl_;
  while (impl.pending.find(id) != nullptr) {
    if (impl.write_failed) {
      co_return fail(Code::kUnavailable, "this host's replica of records could not be written (" +
                                             impl.path + "), so the key could not be remembered");
    }
    impl.start_writing();
    // Queued behind the current write.
    Impl::Work nothing = [](ReplicaDb&) -> Result<void> { return {}; };
    (void)co_await impl.on_worker(std::move(nothing));
  }
  co_return Result<void>();
}

void Replica::Impl::queue(ReplicaDb::Write write) {
  const bool news = !write.json.empty();
  if (pending.add(std::move(write))) return start_writing();
  errors.fetch_add(1, std::memory_order_relaxed);
  if (news) lossy = true;
}

void Replica::Impl::start_writing() {
  if (writing || write_failed) return;
  writing = true;
  loop.spawn(write_pending());
}

Task<void> Replica::Impl::write_pending() {
  while (!pending.empty() && !write_failed) {
    const auto writes = std::make_shared<const std::vector<ReplicaDb::Write>>(pending.all());
    // Named, since g++ 12 may destroy a temporary in a co_await twice.
    std::function<Result<std::vector<std::string>>()> job = [file = db.get(), writes] {
      return file->write(*writes);
    };
    const Waiting counted(waiting);
    auto refused = co_await worker.run(std::move(job));
    if (!refused) {
      note_error(refused.error(), "could not be written");
      write_failed = true;
      loop.spawn(write_later());
      break;
    }
    for (const std::string& id : *refused) {
      log.debug("a record older than the one remembered was not noted", {{"id", id}});
    }
    pending.written(*writes);
  }
  writing = false;
}

Task<void> Replica::Impl::write_later() {
  co_await loop.sleep_for(kRetryWrites);
  write_failed = false;
  if (!pending.empty()) start_writing();
}

Task<Result<void>> Replica::Impl::on_worker(Work work) {
  std::function<Result<void>()> job = [file = db.get(), work = std::move(work)] {
    return work(*file);
  };
  const Waiting counted(waiting);
  auto result = co_await worker.run(std::move(job));
  co_return result;
}

void Replica::Impl::begin_live() {
  const LiveTime before = live_time;
  // Confirmations up to now do not count: a settled one may have this very millisecond.
  live_time = {wall_ms() + 1, wall_ms() + 1};
  loop.spawn([](Impl* self, LiveTime old, LiveTime begun, uint64_t number) -> Task<void> {
    Work work = [old, begun](ReplicaDb& file) -> Result<void> {
      if (old.until >= old.since) {
        if (auto ok = file.settle(old); !ok) return ok;
      }
      return file.set_live_time(begun);
    };
    auto settled = co_await self->on_worker(std::move(work));
    if (!settled) self->note_error(settled.error(), "could not be written");
    co_await self->beat(number);
  }(this, before, live_time, ++beats));
}

// Records that the feed is still live.
Task<void> Replica::Impl::beat(uint64_t number) {
  while (live && number == beats) {
    live_time.until = wall_ms();
    const LiveTime now = live_time;
    Work work = [now](ReplicaDb& file) { return file.set_live_time(now); };
    auto result = co_await on_worker(std::move(work));
    if (!result) note_error(result.error(), "could not be written");
    co_await loop.sleep_for(kLiveBeat);
  }
}

void Replica::on_live(bool live) {
  Impl& impl = *impl_;
  if (live == impl.live) return;
  impl.live = live;
  if (live) {
    // A feed that was live before in this process has resumed without a gap.
    if (impl.beats == 0) {
      impl.begin_live();
    } else {
      impl.loop.spawn(impl.beat(++impl.beats));
    }
  } else {
    impl.live_time.until = impl.wall_ms();
    ++impl.beats;
    const LiveTime last = impl.live_time;
    impl.loop.spawn([](Impl* self, LiveTime ended) -> Task<void> {
      Impl::Work work = [ended](ReplicaDb& file) { return file.set_live_time(ended); };
      (void)co_await self->on_worker(std::move(work));
    }(&impl, last));
  }
}

void Replica::on_gap() {
  // The feed was complete up to the last beat; when it ended after that is unknown.
  impl_->begin_live();
}

Task<void> Replica::flush() {
  Impl& impl = *impl_;
  if (impl.write_failed.exchange(false)) impl.start_writing();
  do {
    Impl::Work work = [](ReplicaDb&) -> Result<void> { return {}; };
    (void)co_await impl.on_worker(std::move(work));
  } while (impl.writing);
}

size_t Replica::under_way() const { return impl_->waiting; }

Replica::Status Replica::status() const {
  std::lock_guard lock(impl_->error_mutex);
  return {impl_->hits.load(), impl_->misses.load(), impl_->errors.load(), impl_->last_error};
}

}  // namespace keyfs
