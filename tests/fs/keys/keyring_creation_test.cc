// Each record that is saved as ours is told once, whoever still waits for it.
#include "fs/keys/keyring_fixture.h"

namespace keyfs {
namespace {

using testing::Daemon;
using testing::KeyringTest;
using testing::ScriptedMemory;
using namespace std::chrono_literals;

struct Told {
  int begun = 0, saved = 0, unknown = 0;
  uint32_t version = 0;
  std::string region, why;
  bool can_be_written = true;
};

class TellingWitness final : public CreationWitness {
 public:
  explicit TellingWitness(Told& told) : told_(told) {}
  Task<Result<void>> begins(TimePoint) override {
    ++told_.begun;
    if (told_.can_be_written) co_return Result<void>();
    co_return fail(Code::kUnavailable, "its line can't be written");
  }
  void saved(uint32_t version, const std::string* region) override {
    ++told_.saved;
    told_.version = version;
    if (region != nullptr) told_.region = *region;
  }
  void perhaps_saved(const std::string& why) override {
    ++told_.unknown;
    told_.why = why;
  }

 private:
  Told& told_;
};

struct KeyringCreation : KeyringTest {
  Task<Result<std::optional<Opened>>> opening(Daemon& daemon, Told& told, uid_t uid = 1000) {
    OpenRequest request(daemon.cache.acquire("orders"), true, now() + 10s);
    request.caller = uid;
    request.witness = std::make_shared<TellingWitness>(told);
    return daemon.keyring->open(std::move(request));
  }
  // What comes of an open that is given up after a while.
  void give_up(Daemon& daemon, Duration after) {
    const auto both = [&]() -> Task<bool> {
      const std::string what = "given up";
      auto open = opening(daemon, told);
      const auto result = co_await before(world.time.loop, now() + after, what, std::move(open));
      EXPECT_FALSE(result);
      co_return true;
    };
    world.time.loop.run_task(both());
  }
  bool exists() { return world.records->find("orders").has_value(); }

  Told told;
};

TEST_F(KeyringCreation, an_opener_that_tells_of_it_is_the_only_one) {
  Daemon one(world);
  {
    const auto opened = world.time.loop.run_task(opening(one, told));
    ASSERT_TRUE(opened && *opened && (*opened)->creation);
    EXPECT_TRUE((*opened)->created);
    (*opened)->creation->told();
  }
  EXPECT_EQ(told.begun, 1);
  EXPECT_EQ(told.saved + told.unknown, 0);
}

TEST_F(KeyringCreation, is_told_when_its_opener_is_gone_before_the_store_has_answered) {
  Daemon one(world);
  one.store.fault.late = 1s;  // for the look and for the write
  give_up(one, 1500ms);
  EXPECT_EQ(told.saved, 0);
  wait(3s);
  ASSERT_TRUE(exists());
  EXPECT_EQ(told.saved, 1);
  EXPECT_EQ(told.version, 1u);
  EXPECT_FALSE(told.region.empty());
}

TEST_F(KeyringCreation, is_told_when_its_opener_got_the_key_and_did_not_tell) {
  Daemon one(world);
  ASSERT_TRUE(world.time.loop.run_task(opening(one, told)));
  EXPECT_EQ(told.saved, 1);
}

TEST_F(KeyringCreation, of_a_hundred_that_wait_for_a_key_one_has_created_it) {
  Daemon one(world);
  one.store.fault.late = 1s;
  std::vector<Told> all(100);
  const auto everybody = [&]() -> Task<int> {
    TaskGroup<Result<std::optional<Opened>>> group(world.time.loop);
    for (size_t i = 0; i < all.size(); ++i) {
      group.start(opening(one, all[i], 1000 + static_cast<uid_t>(i % 3)));
    }
    int created = 0;
    for (size_t i = 0; i < all.size(); ++i) {
      const auto next = co_await group.next(TimePoint::max());
      EXPECT_TRUE(next && next->value && *next->value);
      const Opened& opened = **next->value;
      EXPECT_EQ(opened.created, opened.creation != nullptr);
      if (!opened.created) continue;
      ++created;
      opened.creation->told();
    }
    co_return created;
  };
  EXPECT_EQ(world.time.loop.run_task(everybody()), 1);
  int begun = 0;
  for (const Told& each : all) {
    begun += each.begun;
    EXPECT_EQ(each.saved + each.unknown, 0);
  }
  EXPECT_EQ(begun, 1);
  EXPECT_EQ(one.seen.created, 1);
}

TEST_F(KeyringCreation,
       a_follower_who_may_not_create_has_not_created_it_though_the_creator_is_gone) {
  Daemon one(world);
  one.store.fault.late = 1s;
  const auto both = [&]() -> Task<Result<std::optional<Opened>>> {
    TaskGroup<Result<std::optional<Opened>>> group(world.time.loop);
    const size_t creator = group.start(opening(one, told));
    co_await world.time.loop.sleep_for(1500ms);  // its record is on its way
    auto following = one.opening("orders", false);
    group.start(std::move(following));
    co_await world.time.loop.sleep_for(100ms);
    group.cancel(creator);
    auto next = co_await group.next(TimePoint::max());
    co_return std::move(next->value);
  };
  const auto opened = world.time.loop.run_task(both());
  ASSERT_TRUE(opened && *opened);
  EXPECT_FALSE((*opened)->created);
  EXPECT_EQ((*opened)->creation, nullptr);
  EXPECT_EQ(told.saved, 1);
}

TEST_F(KeyringCreation, is_told_when_the_key_is_not_handed_out_for_want_of_this_hosts_memory) {
  ScriptedMemory memory(world.time.loop);
  memory.says(Recall::What::kNever);
  memory.keeps = false;
  Daemon one(world, &memory);
  EXPECT_FALSE(world.time.loop.run_task(opening(one, told)));
  EXPECT_TRUE(exists());
  EXPECT_EQ(told.saved, 1);
}

TEST_F(KeyringCreation, is_told_as_unknown_when_the_stores_answer_is_lost) {
  Daemon one(world);
  one.store.fault.lose_reply.emplace(Code::kUnavailable, "connection reset");
  EXPECT_FALSE(world.time.loop.run_task(opening(one, told)));
  EXPECT_TRUE(exists());
  EXPECT_EQ(told.saved, 0);
  EXPECT_EQ(told.unknown, 1);
  EXPECT_NE(told.why.find("connection reset"), std::string::npos) << told.why;
}

TEST_F(KeyringCreation, is_told_as_unknown_when_keyfs_ends_first) {
  {
    auto one = std::make_unique<Daemon>(world);
    one->store.fault.lose_reply_and_hang = true;
    give_up(*one, 500ms);
    EXPECT_EQ(told.unknown, 0);
  }
  EXPECT_TRUE(exists());
  EXPECT_EQ(told.unknown, 1);
}

TEST_F(KeyringCreation, is_none_where_the_race_was_lost_or_the_store_refused) {
  Daemon winner(world);
  winner.read("orders");
  const std::string record = world.records->find("orders")->json;
  world.records->erase("orders");
  Daemon loser(world);
  loser.store.before_write = [&] { world.records->write_raw("orders", record); };
  const auto opened = world.time.loop.run_task(opening(loser, told));
  ASSERT_TRUE(opened && *opened);
  EXPECT_EQ((*opened)->creation, nullptr);
  EXPECT_EQ(told.saved + told.unknown, 0);

  world.records->erase("orders");
  Daemon refused(world);
  refused.store.before_write = nullptr;
  refused.store.fault.lose_reply.emplace(Code::kDenied, "read-only");
  EXPECT_FALSE(world.time.loop.run_task(opening(refused, told)));
  EXPECT_EQ(told.saved + told.unknown, 0);
}

TEST_F(KeyringCreation, nothing_is_written_to_the_store_when_its_line_cannot_be) {
  Daemon one(world);
  told.can_be_written = false;
  const auto opened = world.time.loop.run_task(opening(one, told));
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, Code::kUnavailable);
  EXPECT_FALSE(exists());
  EXPECT_EQ(one.store.calls.put, 0);
  EXPECT_EQ(told.begun, 1);
  EXPECT_EQ(told.saved + told.unknown, 0);
}

TEST_F(KeyringCreation, the_end_waits_for_the_record_that_is_on_its_way) {
  Daemon one(world);
  EXPECT_TRUE(world.time.loop.run_task(one.keyring->settled()));
  one.store.fault.late = 1s;
  give_up(one, 1500ms);
  const TimePoint begin = now();
  EXPECT_TRUE(world.time.loop.run_task(one.keyring->settled()));
  EXPECT_EQ(now() - begin, 500ms);
}

}  // namespace
}  // namespace keyfs
