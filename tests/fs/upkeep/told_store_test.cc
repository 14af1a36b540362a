// Commands that change keys over a store that cannot announce changes.
#include "fs/upkeep/told_store.h"

#include "fs/upkeep/key_versions_fixture.h"
#include "store/pulse.h"

namespace keyfs::testing {
namespace {

// A store that loses replies, or that announces changes by itself.
class OtherStore final : public Store {
 public:
  OtherStore(Loop& loop, std::shared_ptr<MemoryRecords> records) : real_(loop, records) {}

  bool watches = false;
  bool no_board = false;
  std::optional<Error> lost;  // the reply of a write that was carried out

  Task<Result<std::string>> identity(TimePoint deadline) override {
    return real_.identity(deadline);
  }
  Task<Result<Got>> get(std::string id, Read read, TimePoint deadline) override {
    return real_.get(std::move(id), read, deadline);
  }
  Task<Result<PutResult>> put_if_absent(Record record, TimePoint deadline) override {
    return real_.put_if_absent(std::move(record), deadline);
  }
  Task<Result<std::optional<Stored>>> replace(Record record, std::string revision,
                                              TimePoint deadline) override {
    auto replaced = co_await real_.replace(std::move(record), std::move(revision), deadline);
    if (lost) co_return fail(*lost);
    co_return replaced;
  }
  Task<Result<ListPage>> list(std::string after, size_t limit, TimePoint deadline) override {
    return real_.list(std::move(after), limit, deadline);
  }
  bool can_watch() const override { return watches; }
  Board* board() override { return no_board ? nullptr : real_.board(); }
  Task<StoreCheck> check(TimePoint deadline) override { return real_.check(deadline); }

 private:
  MemoryStore real_;
};

struct ToldStoreTest : KeyringTest {
  template <class T>
  T run(Task<T> task) {
    return world.time.loop.run_task(std::move(task));
  }
  // The same again, as another command.
  struct Command {
    explicit Command(ToldStoreTest& test)
        : told(test.world.time.loop, test.store, test.world.random, 2),
          versions(test.world.time.loop, told, *test.daemon.regions, test.daemon.no_memory,
                   test.notebook, "admin", 10s),
          admin(test.world.time.loop, told, *test.daemon.regions, test.daemon.no_memory,
                test.notebook, "admin") {}
    ToldStore told;
    KeyVersions versions;
    KeyAdmin admin;
  };
  // What the pulse has told since the last time.
  std::vector<std::string> heard(unsigned shard = 0) {
    const auto there = world.records->documents()->find(pulse_name(shard));
    if (!there) return {};
    const auto pulse = parse_pulse(there->text);
    EXPECT_TRUE(pulse);
    std::vector<std::string> ids(pulse->changed.begin() + static_cast<std::ptrdiff_t>(seen_[shard]),
                                 pulse->changed.end());
    seen_[shard] = pulse->changed.size();
    return ids;
  }
  Result<void> tell() { return run(command.told.tell(now() + 10s)); }
  std::vector<std::string> told() {
    EXPECT_TRUE(tell());
    EXPECT_FALSE(command.told.has_news());
    return heard();
  }
  Result<StateChange> set_state(KeyState state) {
    return run(command.admin.set_state("orders", state, now() + 10s));
  }
  Result<Promotion> rotate(const std::string& token, bool hold = false) {
    RotateRequest request{"orders", token, hold};
    return run(command.versions.rotate(std::move(request)));
  }

  const std::vector<std::string> orders{"orders"};
  const std::vector<std::string> nothing{};
  Daemon daemon{world};
  OtherStore store{world.time.loop, world.records};
  ScriptedNotebook notebook;
  Command command{*this};
  const std::string first = daemon.read("orders");

 private:
  std::map<unsigned, size_t> seen_;
};

TEST_F(ToldStoreTest, others_hear_once_of_each_change_of_what_they_serve) {
  ASSERT_TRUE(set_state(KeyState::kDisabled));
  EXPECT_TRUE(command.told.has_news());
  EXPECT_EQ(told(), orders);
  EXPECT_EQ(heard(1), orders);  // each copy of the pulse
  EXPECT_EQ(told(), nothing);
  ASSERT_TRUE(set_state(KeyState::kEnabled));
  EXPECT_EQ(told(), orders);
  ASSERT_TRUE(rotate("t1"));
  EXPECT_EQ(told(), orders);
  ASSERT_TRUE(run(command.versions.promote("orders", 1)));
  EXPECT_EQ(told(), orders);
  ASSERT_TRUE(run(command.versions.promote("orders", 2)));
  EXPECT_EQ(told(), orders);
  ASSERT_TRUE(run(command.versions.retire("orders", 2)));
  EXPECT_EQ(told(), orders);
  ASSERT_TRUE(run(command.versions.destroy("orders", {1})));
  EXPECT_EQ(told(), orders);
  ASSERT_TRUE(set_state(KeyState::kDeleted));
  EXPECT_EQ(told(), orders);
}

TEST_F(ToldStoreTest, what_changes_nothing_of_what_they_serve_is_not_told) {
  ASSERT_TRUE(set_state(KeyState::kEnabled));  // it is
  EXPECT_EQ(told(), nothing);
  ASSERT_TRUE(rotate("held", true));
  EXPECT_EQ(told(), nothing);
  ASSERT_TRUE(run(command.admin.create("new-one", 32, now() + 10s)));
  EXPECT_EQ(told(), nothing);
  ASSERT_TRUE(rotate("held"));  // now it is promoted
  EXPECT_EQ(told(), orders);
  ASSERT_FALSE(run(command.versions.retire("orders", 3)));
  EXPECT_EQ(told(), nothing);
  EXPECT_FALSE(world.records->documents()->find("pulse-2/now"));
}

TEST_F(ToldStoreTest, a_change_whose_reply_was_lost_is_told) {
  store.lost = Error(Code::kTimeout, "outcome unknown");
  EXPECT_FALSE(set_state(KeyState::kDisabled));
  EXPECT_EQ(told(), orders);
  store.lost = Error(Code::kInvalid, "it is another store");
  EXPECT_FALSE(set_state(KeyState::kEnabled));
  EXPECT_EQ(told(), nothing);
}

TEST_F(ToldStoreTest, what_could_not_be_told_is_told_with_the_next) {
  ASSERT_TRUE(set_state(KeyState::kDisabled));
  world.records->documents()->damage(pulse_name());
  EXPECT_FALSE(tell());
  EXPECT_TRUE(command.told.has_news());
  const auto there = world.records->documents()->find(pulse_name());
  world.records->documents()->remove(pulse_name(), there->revision);
  EXPECT_EQ(told(), orders);
}

TEST_F(ToldStoreTest, a_store_that_announces_changes_gets_no_pulse) {
  store.watches = true;
  ASSERT_TRUE(set_state(KeyState::kDisabled));
  EXPECT_EQ(told(), nothing);
  EXPECT_FALSE(world.records->documents()->find(pulse_name()));
}

TEST_F(ToldStoreTest, a_store_without_a_board_has_nobody_to_tell) {
  store.no_board = true;
  ASSERT_TRUE(set_state(KeyState::kDisabled));
  EXPECT_EQ(told(), nothing);
}

TEST_F(ToldStoreTest, old_versions_are_retired_by_themselves_only_below_the_current_one) {
  ASSERT_TRUE(rotate("t1"));
  ASSERT_TRUE(rotate("t2"));
  const auto late = run(command.versions.retire_old("orders", 2));
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, Code::kInvalid);
  EXPECT_EQ(stored("orders").min, 0u);
  const auto retired = run(command.versions.retire_old("orders", 3));
  ASSERT_TRUE(retired);
  EXPECT_EQ(retired->before, 1u);
  EXPECT_EQ(retired->after, 3u);
  EXPECT_EQ(stored("orders").min, 3u);
  const auto again = run(command.versions.retire_old("orders", 3));
  ASSERT_TRUE(again);
  EXPECT_EQ(again->before, again->after);
}

}  // namespace
}  // namespace keyfs::testing
