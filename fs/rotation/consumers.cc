#include "fs/rotation/consumers.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <utility>

#include "base/file.h"
#include "base/race.h"
#include "fs/rotation/consumers_impl.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;

constexpr size_t kBatch = 256;  // taken from the ring in one turn of the loop
constexpr Duration kSaveEvery = 2s;
constexpr Duration kSaveSoon = 200ms;  // several come together when a program starts
constexpr Duration kLookEvery = 1min;  // which processes have ended, and openings seen anew
constexpr Duration kTellEvery = 1min;
// Longer ones are taken to be unknown.
constexpr size_t kMaxPath = 1024;

uint64_t mix(uint64_t value) {  // the finalizer of splitmix64
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
  value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
  return value ^ (value >> 31);
}

std::string known_path(const std::string& path) { return path.size() <= kMaxPath ? path : ""; }

}  // namespace

Consumers::Consumers(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Consumers::~Consumers() = default;

std::unique_ptr<Consumers> Consumers::open(Loop& loop, Log& log, const ConsumerRules& rules,
                                           std::string file, Current current,
                                           ConsumerLimits limits) {
  auto impl = std::make_unique<Impl>(loop, log, rules, std::move(file), std::move(current), limits);
  impl->load();
  return std::unique_ptr<Consumers>(new Consumers(std::move(impl)));
}

void Consumers::opened(const KeyRef& key, uint32_t version, uint32_t asked, uid_t uid,
                       const std::shared_ptr<const ProcessInfo>& process, Times times) {
  Impl& impl = *impl_;
  // The same process, key and version: told a moment ago. A process that can't be known by a number
  // is told apart by what was read of it, which is another one each second.
  uint64_t tag = mix(process->serial + (impl.look.load(std::memory_order_acquire) << 40));
  tag = mix(tag ^ reinterpret_cast<uintptr_t>(key.get()));
  tag = mix(tag ^ (uint64_t{asked != 0} << 63) ^ (uint64_t{version} << 31) ^ uid);
  std::atomic<uint64_t>& slot = impl.seen[tag % impl.seen.size()];
  if (slot.load(std::memory_order_relaxed) == tag) return;
  Impl::Opening opening{key, process, times, version, asked, uid};
  if (!impl.ring.push(opening)) {
    impl.lost.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  slot.store(tag, std::memory_order_relaxed);
  if (!impl.coming.exchange(true)) {
    impl.loop.post([&impl] { impl.take_all(); });
  }
}

void Consumers::Impl::take_all() {
  // Whoever pushes from here on comes again, if it is not seen below.
  coming = false;
  size_t taken = 0;
  while (taken < kBatch) {
    const auto opening = ring.pop();
    if (!opening) break;
    take(*opening);
    ++taken;
  }
  if (taken == kBatch && !coming.exchange(true)) {
    loop.post([this] { take_all(); });
  }
  if (taken != 0) {
    for (OneShot<bool>* waiter : waiting) waiter->set(true);
  }
}

std::optional<ProcessId> Consumers::Impl::process_of(const ProcessInfo& info, TimePoint then) {
  auto& [serial, process] = identified[info.serial % identified.size()];
  if (serial != info.serial) {
    serial = info.serial;
    process = process_as_of(info.pid, then);
  }
  return process;
}

void Consumers::Impl::take(const Opening& opening) {
  const ProcessInfo& info = *opening.process;
  Who who;
  who.cgroup = known_path(info.cgroup);
  who.unit = unit_of(who.cgroup);
  who.executable = known_path(without_deleted(info.executable));
  who.uid = opening.uid;
  const std::string_view id = opening.key->id();
  if (opening.asked != 0) {
    // By its number: to encrypt with, if it is the current one; else to decrypt, which is no use of
    // it that a rotation has to end.
    uint32_t now = current ? current(*opening.key) : 0;
    if (now == 0) now = std::max(opening.version, table.last_version(who, id));
    if (now != opening.version) return;
  }
  const bool knowable = info.pid > 0;
  const auto process = knowable ? process_of(info, opening.times.begun) : std::nullopt;
  const ConsumerTable::Use use{opening.version, opening.times};
  const bool fresh = table.last_version(who, id) == 0;
  const WallTime now = loop.clock().wall();
  if (table.note(who, process, knowable, id, use, now)) {
    if (fresh) ++fresh_seen;  // first: whoever is told that it has changed may ask
    note_news(who, process, knowable, id, opening.version, now);
    changed();
    if (fresh) save_soon.set();
  }
}

void Consumers::set_rules(const ConsumerRules& rules) {
  impl_->take_all();  // whoever has opened a key until now was of the sections until now
  impl_->rules = &rules;
  impl_->table.set_rules(rules);
  impl_->changed();
}

const ConsumerRules& Consumers::rules() const { return *impl_->rules; }

void Consumers::on_change(std::function<void()> changed) { impl_->on_change = std::move(changed); }

Task<Result<ConsumerText>> Consumers::Impl::text() {
  // A copy, which the worker may look at as long as a disk hangs.
  const auto copy = std::make_shared<const ConsumerTable::Programs>(table.programs());
  const std::function<Result<ConsumerText>()> work =
      [copy, of = epoch, path = file, before = written, ours = is_ours]() -> Result<ConsumerText> {
    ConsumerText made = text_of(*copy, of);
    if (path.empty() || made.text == before) return made;
    Result<void> ok;
    if (ours) ok = ours();
    if (ok) ok = write_whole_file(path, made.text, true, 0600);
    // Another daemon that has begun meanwhile may have read what was there before.
    if (ok && ours) ok = ours();
    if (!ok) return fail(ok.error());
    return made;
  };
  co_return co_await disk.run(work);
}

Task<bool> Consumers::Impl::save() {
  while (saving) co_await loop.sleep_for(20ms);
  struct Saving {
    explicit Saving(bool& on) : flag(on) { flag = true; }
    Saving(const Saving&) = delete;
    Saving& operator=(const Saving&) = delete;
    ~Saving() { flag = false; }
    bool& flag;
  } now(saving);
  const bool turned = co_await turn_news();
  take_all();
  dirty = false;
  const uint64_t fresh = fresh_seen;
  auto made = co_await text();
  if (!made) {
    dirty = true;
    has_news = has_news || turned;
    if (save_error.empty()) {  // once; the name in the reason is another each time
      log.warn(
          "could not save which programs use keys: after a restart of keyfs a rotation may not "
          "tell all of them",
          {{"reason", made.error().message}});
    }
    save_error = made.error().message;
    co_return false;
  }
  save_error.clear();
  fresh_written = fresh;
  written = std::move(made->text);
  has_list = true;
  table.remove(made->ended);
  if (turned) co_await drop_news();
  co_return true;
}

void Consumers::write_while(std::function<Result<void>()> is_ours) {
  impl_->is_ours = std::move(is_ours);
}

bool Consumers::has_unwritten() const { return impl_->fresh_seen != impl_->fresh_written; }

Task<bool> Consumers::save() { return impl_->save(); }

void Consumers::Impl::tell_missed() {
  const uint64_t missed = table.missed() + lost.load(std::memory_order_relaxed);
  const TimePoint now = loop.now();
  if (missed == told_missed || (told_at != TimePoint::min() && now - told_at < kTellEvery)) return;
  log.warn("more programs use keys than can be remembered: a rotation may not tell all of them",
           {{"openings", missed - told_missed},
            {"programs", uint64_t{table.programs().size()}},
            {"uses", uint64_t{table.uses()}}});
  told_missed = missed;
  told_at = now;
}

Task<void> Consumers::keep() {
  Impl& impl = *impl_;
  TaskGroup<bool> tasks(impl.loop);
  tasks.start(impl.write_news());
  TimePoint looked = impl.loop.now();
  for (;;) {
    const TimePoint latest = impl.loop.now() + kSaveEvery;
    co_await impl.save_soon.wait(latest);
    if (impl.loop.now() < latest) co_await impl.loop.sleep_for(kSaveSoon);
    impl.take_all();
    impl.tell_missed();
    const TimePoint now = impl.loop.now();
    const bool look = now - looked >= kLookEvery;
    if (look) {
      looked = now;
      look_closely();
      const auto keep = std::chrono::duration_cast<std::chrono::milliseconds>(impl.limits.keep);
      if (impl.table.forget_unseen_since(impl.loop.clock().wall() - keep)) impl.changed();
    }
    if (!impl.dirty && !look) continue;
    co_await impl.save();
    // A disk that is slow is not asked all the time.
    const Duration took = impl.loop.now() - now;
    if (took > 10ms) co_await impl.loop.sleep_for(std::min<Duration>(took * 20, 1min));
  }
}

}  // namespace keyfs
