// Hosts with consumers, and others that run rotations and retire old versions of keys.
#include "fs/rotation/retirement.h"

#include "fs/rotation/fleet.h"
#include "fs/rotation/fleet_records.h"

namespace keyfs::testing {
namespace {

constexpr Duration kRetireAfter = 15min;
constexpr Duration kLook = 45s;  // a twentieth

class SimRetirer final : public Retirer {
 public:
  SimRetirer(Loop& loop, FleetRecords& records) : loop_(loop), records_(records) {}

  int calls = 0;
  int retired = 0;
  std::optional<Error> untold;  // it is done, and the others could not be told

  Task<Result<MinChange>> retire(std::string id, uint32_t below) override {
    ++calls;
    co_await loop_.sleep_for(5ms);
    Record record = records_.get(id);
    if (record.current != below) co_return fail(Code::kInvalid, "another version is current");
    MinChange change{std::max(record.min, 1u), below, record.current, {}};
    if (change.before != below) {
      record.min = below;
      ++record.serial;
      records_.put(record);
      ++retired;
    }
    if (untold) co_return fail(*untold);
    co_return change;
  }

 private:
  Loop& loop_;
  FleetRecords& records_;
};

class Retires : public ::testing::Test {
 protected:
  // A host that runs rotations.
  struct Holder {
    Holder(SimHost& its, FleetRecords& records, RetirementOptions options)
        : host(its),
          tenure(its),
          store(its.loop, records.records),
          retirer(its.loop, records),
          retirement(its.loop, store, its.board, its.log.log(), tenure, retirer,
                     std::move(options)) {}
    SimHost& host;
    HostTenure tenure;
    MemoryStore store;
    SimRetirer retirer;
    Retirement retirement;
  };

  Retires() {
    // Hours pass: the lock is renewed more seldom than otherwise.
    LockOptions& lock = fleet_options.rotation.lock;
    lock.beat_every = 30s;
    lock.act_for = 2min;
    lock.take_over_after = 3min;
    lock.alert_every = 20s;
    fleet_options.rotation.runner.retires = [this](const std::string& id) {
      return after_of(id).has_value();
    };
    options.after = [this](const std::string& id) { return after_of(id); };
    options.shortest = kRetireAfter;
    options.regions.assign(std::begin(kSimRegions), std::end(kSimRegions));
  }
  // `consumers` of the keys a and b, on two hosts.
  void start(int consumers, int runners = 1) {
    fleet = std::make_unique<Fleet>(fleet_options);
    fleet->shared.keys["a"].current = 1;
    fleet->shared.keys["b"].current = 1;
    fleet->each_turn = [this] { records.follow(fleet->shared); };
    for (int i = 0; i < 2; ++i) web.push_back(&fleet->add("web-" + std::to_string(i)));
    for (int i = 0; i < consumers; ++i) {
      SimConsumer consumer;
      consumer.name = "c" + std::to_string(i);
      consumer.keys = {"a", "b"};
      web[static_cast<size_t>(i % 2)]->consumers.push_back(consumer);
    }
    for (int i = 0; i < runners; ++i) {
      SimHost& host = fleet->add("runner-" + std::to_string(i));
      holders.push_back(std::make_unique<Holder>(host, records, options));
      Retirement& retirement = holders.back()->retirement;
      host.also = [&retirement] { return retirement.work(); };
    }
    for (SimHost* host : web) host->start(false);
    for (auto& holder : holders) holder->host.start();
    fleet->pass(30s);
  }
  // Until the run has ended.
  std::string rotate(const std::string& id) {
    const std::string run = run_of(++runs);
    fleet->rotate(id, "t" + std::to_string(runs));
    EXPECT_TRUE(fleet->until([&] { return fleet->ended(run); })) << run;
    return run;
  }
  void retry(const std::string& run) {
    const uint32_t attempt = fleet->peek(run)->attempt;
    fleet->ask_for(Ticket::Kind::kRetry, run, "again-" + run + std::to_string(attempt));
    EXPECT_TRUE(
        fleet->until([&] { return fleet->peek(run)->attempt > attempt && fleet->ended(run); }));
  }
  std::optional<Duration> after_of(const std::string& id) const {
    const auto found = after.find(id);
    return found == after.end() ? std::nullopt : std::optional<Duration>(found->second);
  }
  uint32_t min_of(const std::string& id) const { return records.get(id).min; }
  bool noted(const std::string& id) const {
    return fleet->shared.documents->find(retire_name(id)).has_value();
  }
  int calls() const {
    int all = 0;
    for (const auto& holder : holders) all += holder->retirer.calls;
    return all;
  }

  std::map<std::string, Duration> after = {{"a", kRetireAfter}};
  FleetOptions fleet_options;
  RetirementOptions options;
  FleetRecords records;
  std::vector<SimHost*> web;
  std::vector<std::unique_ptr<Holder>> holders;
  std::unique_ptr<Fleet> fleet;  // its loops end first
  uint64_t runs = 0;
};

TEST_F(Retires, old_versions_so_long_after_a_run_that_all_consumers_have_confirmed) {
  start(6);
  rotate("a");
  EXPECT_TRUE(noted("a"));
  fleet->pass(kRetireAfter - 10s);
  EXPECT_EQ(min_of("a"), 0u);
  EXPECT_TRUE(noted("a"));
  fleet->pass(20s + kLook);
  EXPECT_EQ(min_of("a"), 2u);
  EXPECT_FALSE(noted("a"));
  fleet->pass(2h);
  EXPECT_EQ(calls(), 1);
}

TEST_F(Retires, a_consumer_that_is_gone_has_none_to_keep_them_for) {
  start(6);
  web[0]->consumers[0].gone = true;
  rotate("a");
  fleet->pass(kRetireAfter + kLook);
  EXPECT_EQ(min_of("a"), 2u);
}

TEST_F(Retires, nothing_after_a_consumer_that_failed_until_a_retry_succeeds) {
  start(6);
  web[0]->consumers[0].fails = "exited with 1";
  const std::string run = rotate("a");
  EXPECT_FALSE(noted("a"));
  fleet->pass(5 * kRetireAfter);
  EXPECT_EQ(min_of("a"), 0u);
  retry(run);  // in vain
  fleet->pass(5 * kRetireAfter);
  EXPECT_EQ(min_of("a"), 0u);
  web[0]->consumers[0].fails.reset();
  retry(run);
  EXPECT_EQ(fleet->peek(run)->end, RunDocument::End::kComplete);
  fleet->pass(kRetireAfter - 10s);
  EXPECT_EQ(min_of("a"), 0u);
  fleet->pass(20s + kLook);
  EXPECT_EQ(min_of("a"), 2u);
}

TEST_F(Retires, nothing_after_a_consumer_that_failed_until_it_is_marked_as_done) {
  start(6);
  web[0]->consumers[0].fails = "exited with 1";
  web[1]->consumers[0].fails = "exited with 1";
  const std::string run = rotate("a");
  fleet->pass(5 * kRetireAfter);
  EXPECT_EQ(fleet->mark(run, "c0"), 1u);
  EXPECT_FALSE(noted("a"));  // there is another one
  fleet->pass(3 * kRetireAfter);
  EXPECT_EQ(min_of("a"), 0u);
  EXPECT_EQ(fleet->mark(run, "c1"), 1u);
  EXPECT_TRUE(noted("a"));
  fleet->pass(kLook + 1s);
  EXPECT_EQ(min_of("a"), 2u);
}

TEST_F(Retires, nothing_after_a_run_that_was_stopped) {
  start(20);
  for (SimHost* host : web) {
    for (SimConsumer& consumer : host->consumers) consumer.fails = "exited with 1";
  }
  const std::string run = rotate("a");
  ASSERT_EQ(fleet->peek(run)->end, RunDocument::End::kStopped);
  fleet->pass(5 * kRetireAfter);
  EXPECT_EQ(min_of("a"), 0u);
  EXPECT_FALSE(noted("a"));
  for (SimHost* host : web) {
    for (SimConsumer& consumer : host->consumers) consumer.fails.reset();
  }
  retry(run);
  fleet->pass(kRetireAfter + kLook);
  EXPECT_EQ(min_of("a"), 2u);
}

TEST_F(Retires, nothing_while_a_host_was_not_heard_from_until_it_is_marked_as_done) {
  start(6);
  web[1]->frozen = true;
  const std::string run = rotate("a");
  ASSERT_EQ(fleet->peek(run)->unheard, std::vector<std::string>{"web-1"});
  fleet->pass(5 * kRetireAfter);
  EXPECT_EQ(min_of("a"), 0u);
  EXPECT_EQ(fleet->mark(run, "web-1"), 1u);
  fleet->pass(kLook + 1s);
  EXPECT_EQ(min_of("a"), 2u);
}

TEST_F(Retires, nothing_after_a_run_whose_new_version_lacked_a_region) {
  start(2);
  fleet->shared.keys["a"].missing = {"b"};
  rotate("a");
  fleet->pass(5 * kRetireAfter);
  EXPECT_EQ(min_of("a"), 0u);
  EXPECT_FALSE(noted("a"));
  fleet->shared.keys["a"].missing.clear();
  rotate("a");
  fleet->pass(kRetireAfter + kLook);
  EXPECT_EQ(min_of("a"), 3u);
}

TEST_F(Retires, nothing_while_the_current_version_is_not_in_all_regions) {
  start(2);
  rotate("a");
  fleet->pass(1min);
  Record lost = records.get("a");
  const Wrap wrap = lost.versions.at(2).wrapped.at("c");
  lost.versions.at(2).wrapped.erase("c");
  records.put(lost);
  fleet->pass(5 * kRetireAfter);
  EXPECT_EQ(min_of("a"), 0u);
  EXPECT_TRUE(noted("a"));
  lost.versions.at(2).wrapped["c"] = wrap;  // healed
  records.put(lost);
  fleet->pass(kLook + 1s);
  EXPECT_EQ(min_of("a"), 2u);
}

TEST_F(Retires, nothing_once_another_version_is_current_whose_run_was_not_whole) {
  start(6);
  rotate("a");
  EXPECT_TRUE(noted("a"));
  web[0]->consumers[0].fails = "exited with 1";
  rotate("a");
  EXPECT_FALSE(noted("a"));
  fleet->pass(5 * kRetireAfter);
  EXPECT_EQ(min_of("a"), 0u);
}

// The new version became current by hand, and no run has told anybody yet.
TEST_F(Retires, nothing_once_another_version_is_current_without_a_run) {
  start(2);
  rotate("a");
  fleet->shared.keys["a"].current = 3;
  fleet->pass(5 * kRetireAfter);
  EXPECT_EQ(min_of("a"), 0u);
  EXPECT_FALSE(noted("a"));  // it says nothing of that version
}

TEST_F(Retires, a_version_that_became_current_once_more_begins_its_time_anew) {
  start(2);
  rotate("a");
  fleet->pass(kRetireAfter - 5min);
  Record again = records.get("a");
  again.versions.at(2).promoted = to_rfc3339(fleet->shared.clock.wall());
  records.put(again);
  fleet->pass(kRetireAfter - 1min);
  EXPECT_EQ(min_of("a"), 0u);
  fleet->pass(1min + kLook);
  EXPECT_EQ(min_of("a"), 2u);
}

TEST_F(Retires, only_keys_that_have_a_retire_after) {
  start(2);
  rotate("b");
  fleet->pass(5 * kRetireAfter);
  EXPECT_EQ(min_of("b"), 0u);
  EXPECT_FALSE(noted("b"));
  // The run is still there.
  after["b"] = kRetireAfter;
  fleet->pass(1h + kLook);
  EXPECT_EQ(min_of("b"), 2u);
}

TEST_F(Retires, nothing_once_retire_after_is_taken_out_of_the_configuration) {
  start(2);
  rotate("a");
  after.clear();
  fleet->pass(5 * kRetireAfter);
  EXPECT_EQ(min_of("a"), 0u);
  after["a"] = kRetireAfter;
  fleet->pass(kLook + 1s);
  EXPECT_EQ(min_of("a"), 2u);
}

TEST_F(Retires, a_disabled_key_waits_and_a_deleted_one_is_forgotten) {
  start(2);
  rotate("a");
  fleet->pass(1min);
  Record record = records.get("a");
  record.state = KeyState::kDisabled;
  records.put(record);
  fleet->pass(5 * kRetireAfter);
  EXPECT_EQ(calls(), 0);
  EXPECT_TRUE(noted("a"));
  record.state = KeyState::kDeleted;
  for (auto& [number, version] : record.versions) {
    version.wrapped.clear();
    version.destroyed = to_rfc3339(fleet->shared.clock.wall());
  }
  records.put(record);
  fleet->pass(2 * kLook);
  EXPECT_EQ(calls(), 0);
  EXPECT_FALSE(noted("a"));
}

// A `done` that died after it had marked the run.
TEST_F(Retires, what_a_crash_has_left_out_of_the_notes_is_found_in_the_run) {
  start(2);
  rotate("a");
  const auto there = fleet->shared.documents->find(retire_name("a"));
  ASSERT_TRUE(there);
  fleet->shared.documents->remove(there->name, there->revision);
  fleet->pass(kRetireAfter + 1h + kLook);  // runs are looked at once in an hour
  EXPECT_EQ(min_of("a"), 2u);
  fleet->pass(2h);
  EXPECT_EQ(calls(), 1);
}

TEST_F(Retires, what_a_crash_has_left_out_is_noted_before_the_run_is_removed) {
  fleet_options.rotation.runner.keep_runs = 2;
  start(1);
  rotate("a");
  const auto there = fleet->shared.documents->find(retire_name("a"));
  ASSERT_TRUE(there);
  fleet->shared.documents->remove(there->name, there->revision);
  rotate("b");
  rotate("b");
  ASSERT_TRUE(fleet->until([&] { return !fleet->peek(run_of(1)); }, 1min));
  EXPECT_TRUE(noted("a"));
}

TEST_F(Retires, a_note_that_cannot_be_written_holds_up_no_run) {
  start(1);
  fleet->shared.documents->damage(retire_name("a"));
  rotate("a");
  rotate("b");
  EXPECT_EQ(fleet->runs().size(), 2u);
}

// Retired, and the others not told of it: the next one who looks does that.
TEST_F(Retires, what_was_done_without_telling_others_is_looked_at_again) {
  start(2);
  Holder& holder = *holders[0];
  holder.retirer.untold = Error(Code::kUnavailable, "the pulse could not be changed");
  rotate("a");
  fleet->pass(kRetireAfter + 2 * kLook);
  EXPECT_EQ(min_of("a"), 2u);
  EXPECT_TRUE(noted("a"));
  const int tries = calls();
  EXPECT_GE(tries, 2);
  EXPECT_EQ(holder.retirer.retired, 1);
  holder.retirer.untold.reset();
  fleet->pass(2 * kLook);
  EXPECT_FALSE(noted("a"));
  EXPECT_EQ(calls(), tries + 1);
  EXPECT_EQ(holder.retirer.retired, 1);
}

TEST_F(Retires, another_host_does_it_when_the_holder_is_killed) {
  start(2, 2);
  rotate("a");
  SimHost* holder = fleet->holder();
  ASSERT_NE(holder, nullptr);
  fleet->pass(kRetireAfter - 1min);
  holder->kill();
  holder->frozen = true;
  // An idle host looks at the lock every 5 minutes.
  fleet->pass(20min);
  ASSERT_NE(fleet->holder(), nullptr);
  EXPECT_EQ(min_of("a"), 2u);
  EXPECT_EQ(calls(), 1);
}

TEST_F(Retires, a_holder_that_was_stopped_meanwhile_does_not) {
  start(2, 2);
  rotate("a");
  SimHost* first = fleet->holder();
  ASSERT_NE(first, nullptr);
  fleet->pass(10min);
  first->frozen = true;
  fleet->pass(2 * kRetireAfter);
  EXPECT_EQ(min_of("a"), 2u);  // by the other
  EXPECT_EQ(calls(), 1);
  first->frozen = false;
  fleet->pass(2h);
  EXPECT_EQ(calls(), 1);
}

TEST_F(Retires, a_host_that_does_not_hold_the_lock_does_nothing) {
  start(2, 3);
  rotate("a");
  fleet->pass(kRetireAfter + kLook);
  for (const auto& holder : holders) {
    EXPECT_EQ(holder->retirer.calls, fleet->holder() == &holder->host ? 1 : 0);
  }
}

TEST_F(Retires, without_a_retire_after_nothing_is_read) {
  options.shortest.reset();
  after.clear();
  start(1);
  const int lists = fleet->shared.lists;
  EXPECT_TRUE(fleet->ask(holders[0]->retirement.work()));
  EXPECT_EQ(fleet->shared.lists, lists);
}

}  // namespace
}  // namespace keyfs::testing
