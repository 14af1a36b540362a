// A fleet of simulated hosts, each with a loop and a clock of its own, on one board in memory.
//
// Time is common and fake, and jumps to what is due next. A host can be frozen, as by SIGSTOP: its
// loop is not turned while the others go on, and finds its timers late when it is thawed; it can be
// killed, and started again with another life. Clocks may be hours apart. Each call of the board
// takes a while before and after it is carried out, so that hosts come between.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "fs/rotation/fleet_board.h"
#include "fs/rotation/rotation.h"
#include "fs/rotation/runs.h"
#include "fs/rotation/tickets.h"
#include "fs/upkeep/call_pace.h"
#include "support/fake_clock.h"
#include "support/fake_random.h"
#include "support/log_capture.h"

namespace keyfs::testing {

using namespace std::chrono_literals;

// The runs of a board, in the order in which they are made.
inline constexpr const char* kFirst = "run-00000001";
inline constexpr const char* kSecond = "run-00000002";
inline constexpr const char* kThird = "run-00000003";

struct SimConsumer {
  std::string name;
  std::vector<std::string> keys;
  std::map<std::string, uint32_t> has{};  // the versions that it has opened
  Duration takes = 100ms;
  std::optional<std::string> fails{};
  bool gone = false;
  Duration timeout = 30s;
  std::string section{};  // whom it tells
};

struct FleetOptions {
  RotationOptions rotation = [] {
    RotationOptions options;
    options.runner.settle = 5s;
    return options;
  }();
  bool watches = true;
  Duration lag = 0s;  // until a host serves a new version
};

class SimHost final : public HostConsumers,
                      public HostKeys,
                      public Refresher,
                      public KeyChanger,
                      public RunNotices,
                      public RecordsListener {
 public:
  SimHost(Shared& shared, std::string host, FleetOptions options, Duration apart, uint64_t seed)
      : name(std::move(host)),
        identity{name, false},
        clock(shared.clock, apart),
        loop(clock, poller),
        board(loop, shared, name, options.watches),
        random(seed),
        shared_(shared),
        options_(std::move(options)) {}
  ~SimHost() override { kill(); }

  void start(bool may_run = true) {
    auto options = options_.rotation;
    options.host = name;
    options.run = may_run;
    options.agent.identity = identity;
    options.agent.on_identity = [this](const std::string&, const HostIdentity& now) {
      identity = now;
    };
    options.agent.other_life = [this] { return its_other_life(); };
    RotationParts parts{*this, *this, *this, *this, this, this, also};
    auto made = Rotation::make(loop, board, log.log(), random, parts, options);
    ASSERT_TRUE(made);
    rotation = std::move(*made);
    loop.spawn(rotation->run());
  }
  void kill() {
    loop.shutdown();
    rotation.reset();
  }
  bool holds() const {
    return rotation && rotation->lock() != nullptr && rotation->lock()->may_act();
  }

  std::vector<ConsumerToTell> to_tell(const std::vector<KeyVersion>& keys) override {
    std::vector<ConsumerToTell> found;
    for (const SimConsumer& one : consumers) {
      ConsumerToTell tell;
      tell.name = one.name;
      tell.timeout = one.timeout;
      for (size_t i = 0; i < keys.size(); ++i) {
        const bool uses = std::count(one.keys.begin(), one.keys.end(), keys[i].id) > 0;
        const auto has = one.has.find(keys[i].id);
        if (uses && (has == one.has.end() || has->second < keys[i].version)) tell.keys.push_back(i);
      }
      if (!tell.keys.empty()) found.push_back(std::move(tell));
    }
    return found;
  }
  std::set<std::string> keys_in_use() override {
    std::set<std::string> ids;
    for (const SimConsumer& one : consumers) ids.insert(one.keys.begin(), one.keys.end());
    return ids;
  }
  std::string section_of(const std::string& consumer) const override {
    for (const SimConsumer& one : consumers) {
      if (one.name == consumer) return one.section;
    }
    return "";
  }
  Task<Result<bool>> serves(KeyVersion key, TimePoint) override {
    co_await loop.sleep_for(1ms);
    co_return serves_now(key);
  }
  Task<RefreshOutcome> refresh(RefreshRequest request) override {
    struct Running {
      Shared& shared;
      explicit Running(Shared& all) : shared(all) {
        shared.most_running = std::max(shared.most_running, ++shared.running);
      }
      ~Running() { --shared.running; }
    } running(shared_);
    const size_t place = shared_.hooks.size();
    shared_.hooks.push_back(
        {name, request.consumer, request.run, request.keys, shared_.clock.now()});
    for (const KeyVersion& key : request.keys) {
      if (!serves_now(key)) shared_.stale.push_back(name + " " + request.consumer);
    }
    SimConsumer* consumer = find(request.consumer);
    RefreshOutcome outcome;
    if (consumer == nullptr) co_return outcome;
    co_await loop.sleep_for(std::min(consumer->takes, request.timeout));
    shared_.hooks[place].ended = shared_.clock.now();
    consumer = find(request.consumer);
    if (consumer->takes > request.timeout) {
      outcome.why = "timed out";
    } else if (consumer->gone) {
      outcome.what = RefreshOutcome::What::kGone;
    } else if (consumer->fails) {
      outcome.why = *consumer->fails;
    } else {
      outcome.what = RefreshOutcome::What::kOk;
      for (const KeyVersion& key : request.keys) consumer->has[key.id] = key.version;
    }
    co_return outcome;
  }
  Task<Result<Promotion>> rotate(std::string id, std::string token) override {
    if (calls_per_second > 0) co_await pace.take(kCallsToRotate, calls_per_second);
    co_await loop.sleep_for(20ms);
    SimKey& key = shared_.keys[id];
    if (key.error) co_return fail(*key.error);
    Promotion promotion;
    promotion.before = key.current;
    const auto [made, fresh] = key.tokens.try_emplace(token, key.current + 1);
    promotion.outcome = fresh ? Promotion::Outcome::kPromoted : Promotion::Outcome::kAlready;
    if (fresh) {
      key.current = made->second;
      key.changed = shared_.clock.now();
      ++key.rotations;
    }
    promotion.made = fresh;
    promotion.version = made->second;
    promotion.current = key.current;
    for (const std::string& region : key.missing) {
      promotion.missing.push_back({region, Error(Code::kUnavailable, "timed out after 2s")});
    }
    co_await loop.sleep_for(20ms);
    co_return promotion;
  }
  Task<Result<Promotion>> promote(std::string id, uint32_t version,
                                  std::optional<uint32_t> only_from) override {
    co_await loop.sleep_for(20ms);
    Promotion promotion;
    if (only_from && shared_.keys[id].current != *only_from) {
      promotion.outcome = Promotion::Outcome::kSuperseded;
      promotion.version = version;
      promotion.before = promotion.current = shared_.keys[id].current;
      co_return promotion;
    }
    promotion.outcome = Promotion::Outcome::kPromoted;
    promotion.before = shared_.keys[id].current;
    promotion.version = promotion.current = shared_.keys[id].current = version;
    shared_.keys[id].changed = shared_.clock.now();
    co_return promotion;
  }
  Task<Result<void>> ended(RunView view) override {
    size_t failed = view.counts().failed;
    EXPECT_EQ(failed, view.run.counts.failed);
    return note("ended " + view.run.run + " " + std::string(to_string(view.run.end)));
  }
  Task<Result<void>> taken_over(RunView view) override {
    return note("taken over " + view.run.run);
  }
  Task<Result<void>> stopped(RunView view) override { return note("stopped " + view.run.run); }

  void on_records(const std::vector<std::string>& ids) override {
    changed.insert(changed.end(), ids.begin(), ids.end());
  }
  void on_records_gap() override { ++gaps; }

  SimConsumer* find(const std::string& consumer) {
    for (SimConsumer& one : consumers) {
      if (one.name == consumer) return &one;
    }
    return nullptr;
  }
  bool serves_now(const KeyVersion& key) const {
    const SimKey& now = shared_.keys.at(key.id);
    return now.current >= key.version && shared_.clock.now() >= now.changed + options_.lag;
  }

  const std::string name;
  OtherLife other_life = OtherLife::kCopy;
  HostIdentity identity;  // as in its state_dir: one for each name, unless the test says otherwise
  HostClock clock;
  NotedPoller poller;
  Loop loop;
  HostBoard board;
  FakeRandom random;
  LogCapture log;
  std::vector<SimConsumer> consumers;
  std::vector<std::string> changed;  // records that the feed told of
  int gaps = 0;
  std::unique_ptr<Rotation> rotation;
  RunLock::Work also = nullptr;  // what it does as the holder, from its start on
  bool frozen = false;
  TimePoint due = TimePoint::min();  // for Fleet::until()
  // Of the regions: each of three wraps a new version and unwraps it.
  static constexpr size_t kCallsToRotate = 6;
  CallPace pace{loop};
  double calls_per_second = 0;  // 0: no limit

 private:
  Task<OtherLife> its_other_life() {
    co_await loop.sleep_for(1ms);
    co_return other_life;
  }
  Task<Result<void>> note(std::string text) {
    co_await loop.sleep_for(shared_.message_takes);
    if (shared_.message_fails) co_return fail(*shared_.message_fails);
    shared_.notices.push_back(std::move(text));
    co_return Result<void>();
  }

  Shared& shared_;
  const FleetOptions options_;
};

// The lock as a host has it, for what is made before it has one.
class HostTenure final : public Tenure {
 public:
  explicit HostTenure(const SimHost& host) : host_(host) {}
  uint64_t epoch() const override { return host_.rotation->lock()->epoch(); }
  bool may_act() const override { return host_.holds(); }

 private:
  const SimHost& host_;
};

class Fleet {
 public:
  explicit Fleet(FleetOptions options = {}, uint64_t seed = 0)
      : options_(std::move(options)), seed_(seed), cli_(add("cli")) {}

  // Not started yet.
  SimHost& add(const std::string& name, Duration apart = 0s) {
    hosts_.push_back(std::make_unique<SimHost>(shared, name, options_, apart, ++seed_));
    return *hosts_.back();
  }
  // A daemon that was killed: another life on the same host, with what it knew of its consumers.
  SimHost& restart(SimHost& old) {
    auto consumers = old.consumers;
    const std::string name = old.name;
    const HostIdentity identity = old.identity;
    old.kill();
    old.frozen = true;
    SimHost& fresh = add(name);
    fresh.consumers = std::move(consumers);
    fresh.identity = identity;
    fresh.start();
    return fresh;
  }
  std::vector<SimHost*> all() {
    std::vector<SimHost*> hosts;
    for (auto& host : hosts_) hosts.push_back(host.get());
    return hosts;
  }

  // Until it is so; false: not within that time. A host's loop is turned when its next timer is due,
  // and once something was posted to it; all of them at the beginning, since the test may have done
  // anything to them before.
  bool until(const std::function<bool()>& so, Duration most = 1h) {
    const TimePoint end = shared.clock.now() + most;
    for (auto& host : hosts_) host->due = TimePoint::min();
    for (;;) {
      if (so()) return true;
      const TimePoint now = shared.clock.now();
      TimePoint next = end;
      if (now >= end) return false;
      for (size_t i = 0; i < hosts_.size(); ++i) {
        SimHost& host = *hosts_[i];
        if (host.frozen) continue;
        // One that is no daemon is cheap, and may be resumed by another's loop.
        if (host.rotation == nullptr || host.poller.woken || now >= host.due) {
          host.poller.woken = false;
          host.poller.slept.reset();
          host.loop.turn(true);
          const auto& slept = host.poller.slept;
          host.due = slept ? now + std::max(Duration::zero(), *slept) : TimePoint::max();
        }
        next = std::min(next, host.due);
      }
      if (each_turn) each_turn();
      const bool woken = std::any_of(hosts_.begin(), hosts_.end(), [](const auto& host) {
        return host->poller.woken && !host->frozen;
      });
      if (!woken && next > now) shared.clock.advance(next - now);
    }
  }
  void pass(Duration time) {
    until([] { return false; }, time);
  }

  // From elsewhere: the command line.
  template <class T>
  T ask(Task<T> task) {
    std::optional<T> answer;
    cli_.loop.spawn(keep(std::move(task), answer));
    EXPECT_TRUE(until([&] { return answer.has_value(); }));
    return std::move(*answer);
  }
  void put(Ticket ticket) {
    ticket.asked = to_rfc3339(shared.clock.wall(), true);
    ticket.by = "alice";
    const auto put_it =
        ask(put_ticket(cli_.board, cli_.loop, cli_.random, ticket, 1, cli_.loop.now() + 10s));
    EXPECT_TRUE(put_it) << put_it.error().message;
  }
  Result<void> take_up_again(const std::string& token) {
    return ask(
        keyfs::take_up_again(cli_.board, cli_.loop, cli_.random, token, 1, cli_.loop.now() + 10s));
  }
  void rotate(const std::string& id, const std::string& token) {
    Ticket ticket;
    ticket.token = token;
    ticket.id = id;
    put(ticket);
  }
  void ask_for(Ticket::Kind kind, const std::string& run, const std::string& token) {
    Ticket ticket;
    ticket.token = token;
    ticket.kind = kind;
    ticket.run = run;
    put(ticket);
  }
  std::vector<RunDocument> runs() {
    return ask(list_runs(cli_.board, cli_.loop.now() + 10s))->runs;
  }
  std::optional<RunView> run(const std::string& name) {
    return *ask(look_at_run(cli_.board, name, cli_.loop.now() + 10s));
  }
  size_t mark(const std::string& run, const std::string& consumer) {
    return *ask(mark_done(cli_.board, cli_.loop, run, consumer, "alice", cli_.loop.now() + 10s));
  }
  // What the documents say at this moment, without letting time pass.
  std::optional<RunDocument> peek(const std::string& run) const {
    const RunDocument* there = peek_at(run);
    return there == nullptr ? std::nullopt : std::optional<RunDocument>(*there);
  }
  std::string running() const {
    const auto there = shared.documents->find(kNowName);
    return there ? parse_run_now(there->text)->run : std::string();
  }
  bool ended(const std::string& run) const {
    const RunDocument* there = peek_at(run);
    return there != nullptr && there->state == RunDocument::State::kEnded && running() != run;
  }
  SimHost* holder() {
    for (auto& host : hosts_) {
      if (!host->frozen && host->holds()) return host.get();
    }
    return nullptr;
  }
  std::map<std::string, int> hooks_by_consumer() const {
    std::map<std::string, int> counts;
    for (const Hook& hook : shared.hooks) ++counts[hook.host + "/" + hook.consumer];
    return counts;
  }

  Shared shared;
  std::function<void()> each_turn;

 private:
  template <class T>
  static Task<void> keep(Task<T> task, std::optional<T>& answer) {
    answer = co_await std::move(task);
  }
  // Parsed once for each revision: a test asks after each turn of the hosts.
  const RunDocument* peek_at(const std::string& run) const {
    const auto there = shared.documents->find(run_name(run));
    if (!there) return nullptr;
    Peeked& last = peeked_[run];
    if (!last.document || last.revision != there->revision) {
      last = {there->revision, *parse_run(there->text)};
    }
    return &*last.document;
  }

  struct Peeked {
    std::string revision;
    std::optional<RunDocument> document;
  };

  const FleetOptions options_;
  mutable std::map<std::string, Peeked> peeked_;  // by the run
  uint64_t seed_;
  std::vector<std::unique_ptr<SimHost>> hosts_;
  SimHost& cli_;
};

}  // namespace keyfs::testing
