// What simulated hosts share, and the board as each of them has it: slow, and failing on command.
//
// Thread-safety: none. Ownership: refers to the loop and to what is shared. Blocking: never.
#pragma once

#include <algorithm>
#include <chrono>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/loop.h"
#include "fs/rotation/agent.h"
#include "store/board.h"
#include "store/pulse.h"
#include "support/fake_clock.h"
#include "support/memory_board.h"

namespace keyfs::testing {

using namespace std::chrono_literals;

// The common time, seen by a host.
class HostClock final : public Clock {
 public:
  HostClock(const FakeClock& real, Duration apart) : real_(real), apart_(apart) {}
  TimePoint now() const override { return real_.now() + apart_; }
  WallTime wall() const override {
    return real_.wall() + std::chrono::duration_cast<std::chrono::milliseconds>(apart_);
  }

 private:
  const FakeClock& real_;
  const Duration apart_;
};

// Tells how long the loop would have slept, and whether it was woken since.
class NotedPoller final : public Poller {
 public:
  std::optional<Duration> slept;
  bool woken = false;
  void wait(std::optional<Duration> timeout) override { slept = timeout; }
  void wake() override { woken = true; }
};

struct Hook {
  std::string host;
  std::string consumer;
  std::string run;
  std::vector<KeyVersion> keys;
  TimePoint begun;
  std::optional<TimePoint> ended{};  // nullopt: it was killed, or it runs
};

struct SimKey {
  uint32_t current = 1;
  std::map<std::string, uint32_t> tokens;
  TimePoint changed{};
  int rotations = 0;
  std::optional<Error> error;  // why it cannot be rotated
  std::vector<std::string> missing;
};

// What all hosts share.
struct Shared {
  FakeClock clock;
  std::shared_ptr<MemoryDocuments> documents = std::make_shared<MemoryDocuments>();
  std::map<std::string, SimKey> keys;
  std::vector<Hook> hooks;
  int running = 0;
  int most_running = 0;
  struct Write {
    std::string host;
    std::string name;
    TimePoint at;
  };
  std::vector<Write> writes;  // that took effect
  struct Watcher {
    Loop* loop;
    BoardListener* listener;
  };
  std::list<std::shared_ptr<Watcher>> watchers;
  int peeks = 0;
  int lists = 0;
  std::vector<std::string> notices;
  std::optional<Error> message_fails;
  Duration message_takes = 10ms;   // of each notice  // "ended run-00000001 complete"
  std::vector<std::string> stale;  // hooks that were run where the old version was served
};

// The board as a host has it: slow, and failing on command.
class HostBoard final : public Board {
 public:
  HostBoard(Loop& loop, Shared& shared, std::string host, bool watches)
      : loop_(loop),
        shared_(shared),
        host_(std::move(host)),
        watches_(watches),
        real_(loop, shared.documents) {}

  std::optional<Error> error;
  int lose_replies = 0;  // of the next writes
  Duration slow = 2ms;
  std::map<std::string, BoardDocument> old;          // what peek gives instead
  std::function<void(const std::string&)> on_write;  // right before it is sent
  std::function<void(const std::string&)> on_read;   // right before it is carried out

  Task<Result<std::optional<BoardDocument>>> get(std::string name, TimePoint deadline) override {
    if (auto ok = co_await suffer(); !ok) co_return fail(ok.error());
    if (on_read) on_read(name);
    auto got = co_await real_.get(std::move(name), deadline + 1h);
    co_await loop_.sleep_for(slow);
    co_return got;
  }
  Task<Result<std::optional<BoardDocument>>> peek(std::string name, TimePoint deadline) override {
    if (name == pulse_name(0)) ++shared_.peeks;
    if (!old.contains(name)) return get(std::move(name), deadline);
    return get_old(std::move(name));
  }
  Task<Result<BoardWrite>> put_if_absent(std::string name, std::string text,
                                         TimePoint deadline) override {
    auto ok = co_await before_write(name);
    if (!ok) co_return fail(ok.error());
    auto put = co_await real_.put_if_absent(name, std::move(text), deadline + 1h);
    co_return co_await after_write(name, std::move(put));
  }
  Task<Result<BoardWrite>> replace(std::string name, std::string text, std::string revision,
                                   TimePoint deadline) override {
    auto ok = co_await before_write(name);
    if (!ok) co_return fail(ok.error());
    auto put = co_await real_.replace(name, std::move(text), std::move(revision), deadline + 1h);
    co_return co_await after_write(name, std::move(put));
  }
  Task<Result<BoardWrite>> remove(std::string name, std::string revision,
                                  TimePoint deadline) override {
    auto ok = co_await before_write(name);
    if (!ok) co_return fail(ok.error());
    auto put = co_await real_.remove(name, std::move(revision), deadline + 1h);
    co_return co_await after_write(name, std::move(put));
  }
  Task<Result<BoardPage>> list(std::string prefix, std::string after, size_t limit,
                               TimePoint deadline) override {
    ++shared_.lists;
    if (auto ok = co_await suffer(); !ok) co_return fail(ok.error());
    if (on_read) on_read(prefix);
    co_return co_await real_.list(std::move(prefix), std::move(after), limit, deadline + 1h);
  }
  bool can_watch() const override { return watches_; }
  // Each change is announced at once, like etcd does.
  Task<void> watch(BoardListener& listener) override {
    struct Watching {
      Shared& shared;
      std::shared_ptr<Shared::Watcher> watcher;
      Watching(Shared& all, Loop& loop, BoardListener& told)
          : shared(all), watcher(std::make_shared<Shared::Watcher>(Shared::Watcher{&loop, &told})) {
        shared.watchers.push_back(watcher);
      }
      ~Watching() { shared.watchers.remove(watcher); }
    } watching(shared_, loop_, listener);
    listener.on_gap();
    OneShot<bool> never(loop_);
    co_await never;
  }
  Task<std::vector<CheckItem>> check(TimePoint deadline) override { return real_.check(deadline); }

 private:
  Task<Result<std::optional<BoardDocument>>> get_old(std::string name) {
    co_await loop_.sleep_for(slow);
    co_return old.at(name);
  }
  Task<Result<void>> suffer() {
    co_await loop_.sleep_for(slow);
    if (error) co_return fail(*error);
    co_return Result<void>();
  }
  Task<Result<void>> before_write(std::string name) {
    if (on_write) on_write(name);
    co_return co_await suffer();
  }
  Task<Result<BoardWrite>> after_write(std::string name, Result<BoardWrite> written) {
    if (written && written->done) {
      shared_.writes.push_back({host_, name, shared_.clock.now()});
      for (const auto& watcher : shared_.watchers) {
        watcher->loop->post([told = std::weak_ptr(watcher), name] {
          if (const auto there = told.lock()) there->listener->on_change(name);
        });
      }
    }
    co_await loop_.sleep_for(slow);
    if (lose_replies > 0) {
      --lose_replies;
      co_return fail(Code::kTimeout, "outcome unknown");
    }
    co_return written;
  }

  Loop& loop_;
  Shared& shared_;
  const std::string host_;
  const bool watches_;
  MemoryBoard real_;
};

}  // namespace keyfs::testing
