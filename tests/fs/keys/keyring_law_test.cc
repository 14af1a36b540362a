// The first promise: a version of an id has one plaintext, forever, and no failure creates a second
// one.
#include "fs/keys/keyring_fixture.h"

namespace keyfs {
namespace {

using testing::Daemon;
using testing::KeyringTest;
using namespace std::chrono_literals;

struct KeyringLaw : KeyringTest {
  // The key that everybody must see forever.
  std::string key = Daemon(world).read("orders");
  std::string json = world.records->find("orders")->json;

  // Reads with a fresh daemon; whatever the result, the store must be unchanged.
  std::string told(const std::string& id = "orders") {
    const std::string before = world.records->find(id)->json;
    Daemon one(world);
    const std::string seen = one.read(id);
    EXPECT_EQ(world.records->find(id)->json, before);
    EXPECT_EQ(one.store.calls.put, 0);
    return seen;
  }
  bool logged(const std::string& id) {
    return world.log.has("level=error msg=\"key " + id + " cannot be served");
  }
};

TEST_F(KeyringLaw, an_unreadable_key_is_never_recreated) {
  for (const Code code : {Code::kDenied, Code::kUnavailable, Code::kCorrupt, Code::kThrottled,
                          Code::kUnauthenticated}) {
    Daemon one(world);
    one.regions_fail(code);
    const auto opened = one.open("orders", true);
    ASSERT_FALSE(opened) << to_string(code);
    EXPECT_EQ(one.store.calls.put, 0);
    EXPECT_EQ(world.records->find("orders")->json, json);
    one.regions_heal();
    wait(10min);  // breakers close again
    EXPECT_EQ(one.read("orders"), key) << to_string(code);
  }
}

TEST_F(KeyringLaw, a_store_that_fails_leads_to_no_creation) {
  for (const Code code : {Code::kDenied, Code::kUnavailable, Code::kTimeout, Code::kThrottled,
                          Code::kUnauthenticated, Code::kCorrupt, Code::kInvalid}) {
    Daemon one(world);
    one.store.fail_with(code);
    ASSERT_FALSE(one.open("new", true)) << to_string(code);
    EXPECT_EQ(one.store.calls.put, 0);
    EXPECT_EQ(one.region_calls(), 0);
  }
}

TEST_F(KeyringLaw, a_store_that_refuses_keyfs_is_an_outage_and_not_the_callers_fault) {
  Daemon one(world);
  one.store.fail_with(Code::kDenied);
  for (const char* id : {"orders", "new"}) {
    const auto opened = one.open(id, true);
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().code, Code::kUnavailable) << opened.error().message;
  }
  Daemon writer(world);
  writer.store.fault.lose_reply.emplace(Code::kDenied, "read-only");
  const auto created = writer.open("new", true);
  ASSERT_FALSE(created);
  EXPECT_EQ(created.error().code, Code::kUnavailable) << created.error().message;
  EXPECT_NE(created.error().message.find("read-only"), std::string::npos);
}

TEST_F(KeyringLaw, all_masters_that_refuse_are_told_as_denied) {
  Daemon one(world);
  one.regions_fail(Code::kDenied);
  EXPECT_EQ(one.read("orders"), "denied");
}

TEST_F(KeyringLaw, a_swapped_blob_is_corrupt) {
  Daemon(world).read("other");
  Record record = stored("orders");
  record.versions.at(1).wrapped = stored("other").versions.at(1).wrapped;
  rewrite(record);
  EXPECT_EQ(told(), "corrupt");
  EXPECT_TRUE(logged("orders"));
}

TEST_F(KeyringLaw, a_flipped_blob_is_corrupt_when_no_other_region_has_a_good_one) {
  Record record = stored("orders");
  for (auto& [region, wrap] : record.versions.at(1).wrapped) wrap.blob.back() ^= 1;
  rewrite(record);
  EXPECT_EQ(told(), "corrupt");
  EXPECT_TRUE(logged("orders"));
}

TEST_F(KeyringLaw, one_flipped_blob_costs_another_region_and_a_line_in_the_log) {
  Record record = stored("orders");
  record.versions.at(1).wrapped.at("a").blob.back() ^= 1;
  rewrite(record);
  Daemon one(world);
  EXPECT_EQ(one.read("orders"), key);
  EXPECT_TRUE(world.log.has("gives another key than was wrapped"));
  EXPECT_EQ(one.seen.degraded, std::vector<std::string>{"orders"});
}

TEST_F(KeyringLaw, a_changed_check_value_is_corrupt) {
  Record record = stored("orders");
  (*record.versions.at(1).check)[0] ^= 1;
  rewrite(record);
  EXPECT_EQ(told(), "corrupt");
  EXPECT_TRUE(logged("orders"));
}

TEST_F(KeyringLaw, another_size_than_was_written_is_corrupt) {
  Record record = stored("orders");
  record.versions.at(1).bytes = 16;
  rewrite(record);
  EXPECT_EQ(told(), "corrupt");
}

TEST_F(KeyringLaw, a_record_cut_short_is_corrupt) {
  world.records->write_raw("orders", json.substr(0, json.size() / 2));
  EXPECT_EQ(told(), "corrupt");
  EXPECT_TRUE(logged("orders"));
  world.records->write_raw("orders", "");
  EXPECT_EQ(told(), "corrupt");
}

TEST_F(KeyringLaw, the_record_of_another_id_is_corrupt) {
  world.records->write_raw("stolen", json);
  EXPECT_EQ(told("stolen"), "corrupt");
  EXPECT_TRUE(logged("stolen"));
}

TEST_F(KeyringLaw, a_region_that_gives_a_wrong_key_is_not_believed) {
  Daemon one(world);
  one.region[0]->fault.wrong_key = true;
  EXPECT_EQ(one.read("orders"), key);
  Daemon two(world);
  for (auto* region : two.region) region->fault.wrong_key = true;
  EXPECT_EQ(two.read("orders"), "corrupt");
  EXPECT_EQ(two.arena.usage().secrets, 0u);
}

TEST_F(KeyringLaw, a_record_that_the_store_lost_is_not_made_anew_where_its_key_is_cached) {
  Daemon one(world, nullptr, {.fresh_for = 1s, .serve_stale_for = 2s});
  EXPECT_EQ(one.read("orders"), key);
  world.records->erase("orders");
  wait(1min);
  EXPECT_EQ(one.read("orders"), "corrupt");
  EXPECT_FALSE(world.records->find("orders"));
  EXPECT_TRUE(logged("orders"));
}

TEST_F(KeyringLaw, a_disabled_or_deleted_key_is_revoked_and_not_made_anew) {
  for (const KeyState state : {KeyState::kDisabled, KeyState::kDeleted}) {
    set_state("orders", state);
    EXPECT_EQ(told(), "revoked");
  }
  set_state("orders", KeyState::kEnabled);
  EXPECT_EQ(told(), key);
}

TEST_F(KeyringLaw, a_loser_whose_winner_cannot_be_read_gets_no_key_of_his_own) {
  world.records->erase("orders");
  Daemon one(world);
  one.store.before_write = [&] {
    Record record = *parse_record(json, "orders");
    (*record.versions.at(1).check)[0] ^= 1;
    rewrite(record);
  };
  EXPECT_EQ(one.read("orders"), "corrupt");
  EXPECT_EQ(one.arena.usage().secrets, 0u);
}

TEST_F(KeyringLaw, a_version_is_served_by_its_number_and_never_made) {
  Daemon one(world);
  const auto version = [&](uint32_t number) {
    return Daemon::told(world.time.loop.run_task(one.opening("orders", true, 10s, number)));
  };
  EXPECT_EQ(version(1), key);
  EXPECT_EQ(version(2), "absent");
  EXPECT_EQ(one.store.calls.put, 0);
}

}  // namespace
}  // namespace keyfs
