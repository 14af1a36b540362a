// A host sticks to the cluster that it knows, and to its latest revision.
#include "store/etcd/identity.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/encoding.h"
#include "store/etcd/fixture.h"
#include "store/known_store.h"
#include "store/store_contract.h"

namespace keyfs::testing {

// The contract is tested in store_test.cc.
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(StoreContract);

namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

EtcdHeader header(uint64_t cluster, int64_t revision) { return {cluster, 1, revision}; }

TEST(EtcdIdentity, what_is_stored_is_loaded) {
  const TemporaryDirectory folder;
  EXPECT_FALSE(*EtcdIdentity::load(folder.file("state")));
  const EtcdKnown known{0xfedcba9876543210, "0123456789abcdef0123456789abcdef", 42, false};
  ASSERT_TRUE(EtcdIdentity::store(folder.file("state"), known));
  EXPECT_EQ(*EtcdIdentity::load(folder.file("state")), known);
}

TEST(EtcdIdentity, a_revision_never_goes_back_and_another_cluster_is_never_written_over) {
  const TemporaryDirectory folder;
  const std::string dir = folder.file("state");
  ASSERT_TRUE(EtcdIdentity::store(dir, {1, "a", 42, true}));
  ASSERT_TRUE(EtcdIdentity::store(dir, {1, "a", 41, false}));
  EXPECT_EQ(*EtcdIdentity::load(dir), (EtcdKnown{1, "a", 42, true}));
  EXPECT_FALSE(EtcdIdentity::store(dir, {2, "a", 43, false}));
  EXPECT_FALSE(EtcdIdentity::store(dir, {1, "b", 43, false}));
  EXPECT_EQ(*EtcdIdentity::load(dir), (EtcdKnown{1, "a", 42, true}));
}

TEST(EtcdIdentity, the_cluster_is_remembered_as_any_store_is_and_is_forgotten_at_a_word) {
  const TemporaryDirectory folder;
  const std::string dir = folder.file("state");
  ASSERT_TRUE(EtcdIdentity::store(dir, {1, "a", 42, false}));
  EXPECT_EQ(*read_known_store(dir), (StoreName{"etcd", "a"}));
  EXPECT_FALSE(check_known_type(dir, "sqlite"));
  EXPECT_TRUE(check_known_type(dir, "etcd"));
  ASSERT_TRUE(std::filesystem::remove(dir + "/etcd-cluster"));
  EXPECT_FALSE(EtcdIdentity::store(dir, {2, "b", 1, false})) << "the file of all stores tells";
  ASSERT_TRUE(*forget_known_store(dir));
  EXPECT_TRUE(EtcdIdentity::store(dir, {2, "b", 1, false}));
}

TEST(EtcdIdentity, a_file_that_was_cut_short_or_changed_is_no_fresh_start) {
  const TemporaryDirectory folder;
  const std::string dir = folder.file("state");
  ASSERT_TRUE(EtcdIdentity::store(dir, {1, "a", 42, false}));
  std::stringstream text;
  text << std::ifstream(dir + "/etcd-cluster").rdbuf();
  const std::string whole = text.str();
  for (size_t size = 0; size < whole.size(); ++size) {
    std::ofstream(dir + "/etcd-cluster") << whole.substr(0, size);
    const auto loaded = EtcdIdentity::load(dir);
    ASSERT_FALSE(loaded) << size;
    EXPECT_EQ(loaded.error().code, Code::kCorrupt);
    EXPECT_THAT(loaded.error().message, HasSubstr("etcd-cluster"));
  }
}

TEST(EtcdIdentity, only_a_linearizable_reply_from_below_the_mark_shows_that_writes_were_lost) {
  EtcdIdentity identity("", EtcdKnown{1, "a", 42, false});
  ASSERT_TRUE(identity.establish(header(1, 50), "a"));
  identity.note(header(1, 45), 0);   // a member that is behind
  identity.note(header(1, 49), 45);  // sent before 50 was known
  EXPECT_TRUE(identity.may_create());
  identity.note(header(1, 49), identity.mark());
  EXPECT_FALSE(identity.may_create());
  identity.note(header(1, 60), identity.mark());
  EXPECT_FALSE(identity.may_create()) << "others wrote on; what was lost stays lost";
}

class EtcdKnownCluster : public ::testing::Test {
 protected:
  void TearDown() override { world_.loop().shutdown(); }

  Result<Got> get(EtcdStore& store, const std::string& id) {
    return world_.loop().run_task(store.get(id, Read::kAny, world_.within(15s)));
  }
  Result<PutResult> put(EtcdStore& store, const Record& record) {
    return world_.loop().run_task(store.put_if_absent(record, world_.within(15s)));
  }
  std::string file() { return world_.state_dir("state") + "/etcd-cluster"; }
  void expect_nothing_is_made(EtcdStore& store) {
    const auto missed = get(store, "nobody");
    ASSERT_FALSE(missed) << "the miss was believed";
    EXPECT_EQ(missed.error().code, Code::kInvalid) << missed.error().message;
    const auto made = put(store, example_record("nobody"));
    ASSERT_FALSE(made);
    EXPECT_EQ(made.error().code, Code::kInvalid) << made.error().message;
    EXPECT_THAT(made.error().message, HasSubstr(file()));
    const auto check = world_.loop().run_task(store.check(world_.within(15s)));
    bool told = false;
    for (const auto& item : check.items) told = told || (item.what == "cluster" && !item.ok);
    EXPECT_TRUE(told);
  }

  EtcdWorld world_;
};

TEST_F(EtcdKnownCluster, a_cluster_that_went_back_in_time_serves_and_makes_nothing) {
  {
    const auto store = world_.open();
    ASSERT_TRUE(put(*store, example_record("orders")));
  }
  auto known = EtcdIdentity::load(world_.state_dir("state"));
  ASSERT_TRUE(known && *known);
  (*known)->revision += 100;
  ASSERT_TRUE(EtcdIdentity::store(world_.state_dir("state"), **known));
  {
    const auto store = world_.open();
    EXPECT_TRUE(*get(*store, "orders"));
    expect_nothing_is_made(*store);
    for (int i = 0; i < 110; ++i) world_.write_raw("filler", std::to_string(i));
    expect_nothing_is_made(*store);
  }
  {
    const auto store = world_.open();  // after a restart, too
    expect_nothing_is_made(*store);
  }
  ASSERT_TRUE(*forget_known_store(world_.state_dir("state")));
  const auto store = world_.open();
  EXPECT_TRUE(put(*store, example_record("nobody"))) << "the operator accepted it";
}

TEST_F(EtcdKnownCluster, how_far_it_had_come_is_on_disk_when_an_own_write_is_told_and_at_the_end) {
  auto store = world_.open();
  const auto on_disk = [this] {
    const auto known = EtcdIdentity::load(world_.state_dir("state"));
    return known && *known ? (*known)->revision : -1;
  };
  for (const char* id : {"orders", "sales", "stock"}) {
    const auto made = put(*store, example_record(id));
    ASSERT_TRUE(made);
    EXPECT_GE(on_disk(), std::stoll(made->winner.revision)) << id;
  }
  for (int i = 0; i < 3; ++i) world_.write_raw("filler", std::to_string(i));
  const int64_t now = world_.revision();
  ASSERT_TRUE(get(*store, "orders"));
  store.reset();
  EXPECT_GE(on_disk(), now);
}

TEST_F(EtcdKnownCluster, in_one_that_went_back_a_key_can_be_disabled_and_nothing_else_be_changed) {
  std::optional<PutResult> made;
  {
    const auto store = world_.open();
    auto put_one = put(*store, example_record("orders"));
    ASSERT_TRUE(put_one);
    made = std::move(*put_one);
  }
  auto known = EtcdIdentity::load(world_.state_dir("state"));
  ASSERT_TRUE(known && *known);
  (*known)->revision += 100;
  ASSERT_TRUE(EtcdIdentity::store(world_.state_dir("state"), **known));
  const auto store = world_.open();
  const auto change = [&](KeyState state, const std::string& revision) {
    Record record = made->winner.record;
    record.state = state;
    return world_.loop().run_task(store->replace(record, revision, world_.within(15s)));
  };
  const auto disabled = change(KeyState::kDisabled, made->winner.revision);
  ASSERT_TRUE(disabled && *disabled) << disabled.error().message;
  const auto enabled = change(KeyState::kEnabled, (*disabled)->revision);
  ASSERT_FALSE(enabled);
  EXPECT_THAT(enabled.error().message, HasSubstr("has gone back in time"));
}

TEST_F(EtcdKnownCluster, a_keyfs_that_still_runs_does_not_undo_that_its_store_was_forgotten) {
  auto store = world_.open();
  ASSERT_TRUE(put(*store, example_record("orders")));
  ASSERT_TRUE(*forget_known_store(world_.state_dir("state")));
  ASSERT_TRUE(put(*store, example_record("sales")));
  store.reset();
  EXPECT_FALSE(std::filesystem::exists(file()));
  EXPECT_FALSE(*read_known_store(world_.state_dir("state")));
}

TEST_F(EtcdKnownCluster, a_cluster_that_was_emptied_behind_a_running_keyfs_gets_no_key) {
  const auto store = world_.open();
  ASSERT_TRUE(put(*store, example_record("orders")));
  world_.call(0, "/v3/kv/deleterange",
              "{\"key\":\"" + base64_encode(world_.prefix() + "/") + "\",\"range_end\":\"" +
                  base64_encode(world_.prefix() + "0") + "\"}");
  const auto made = put(*store, example_record("orders", "b"));
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, Code::kInvalid) << made.error().message;
  const auto restarted = world_.open();
  expect_nothing_is_made(*restarted);
}

// Last: it leaves the cluster broken.
TEST_F(EtcdKnownCluster, a_member_of_another_cluster_is_not_listened_to) {
  const auto store = world_.open();
  ASSERT_TRUE(put(*store, example_record("orders")));
  world_.act("/1/stranger");
  const auto restarted = world_.open();  // asks the stranger first
  for (EtcdStore* each : {store.get(), restarted.get()}) {
    const auto found = get(*each, "orders");
    ASSERT_TRUE(found && *found) << "the others go on";
    const auto missed = get(*each, "nobody");
    ASSERT_TRUE(missed && !*missed);
    const auto lost = put(*each, example_record("orders", "b"));
    ASSERT_TRUE(lost && !lost->stored);
    EXPECT_EQ(lost->winner.record, example_record("orders"));
  }

  EtcdOptions only_stranger = world_.options();
  only_stranger.endpoints.resize(1);
  const auto misled = world_.open(only_stranger);
  expect_nothing_is_made(*misled);
  EXPECT_FALSE(get(*misled, "orders"));
}

}  // namespace
}  // namespace keyfs::testing
