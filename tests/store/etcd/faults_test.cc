// The store while members of its cluster fail.
#include <gmock/gmock.h>

#include "store/etcd/faults_fixture.h"
#include "store/etcd/store.h"
#include "store/store_contract.h"

namespace keyfs::testing {

// The contract is tested in store_test.cc.
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(StoreContract);

namespace {

using namespace std::chrono_literals;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

TEST_F(EtcdFaults, a_creation_is_one_round_trip_and_so_is_a_lost_race) {
  EtcdOptions options = world_.options(EtcdWorld::Through::kHttp);
  options.hedge_after = 20s;  // a disk that is slow to sync makes no second one
  options.attempt_timeout = 20s;
  store_ = world_.open(options);
  ASSERT_TRUE(put(example_record("first")));
  reset_counts();
  const auto won = put(example_record("orders", "a"));
  ASSERT_TRUE(won && won->stored);
  EXPECT_EQ(calls("/v3/kv/txn"), 1);
  const auto lost = put(example_record("orders", "b"));
  ASSERT_TRUE(lost && !lost->stored);
  EXPECT_EQ(lost->winner.record, example_record("orders", "a"));
  EXPECT_EQ(calls("/v3/kv/txn"), 2);
  EXPECT_EQ(calls("/v3/kv/range"), 0);
}

TEST_F(EtcdFaults, a_record_that_was_saved_while_the_reply_got_lost_is_ours) {
  store_ = world_.open(world_.options(EtcdWorld::Through::kHttp));
  ASSERT_TRUE(put(example_record("first")));
  world_.proxy(1, "POST", "/faults", R"({"do":"lose_reply","path":"/v3/kv/txn","count":1})");
  const auto saved = put(example_record("orders"));
  ASSERT_TRUE(saved) << saved.error().message;
  EXPECT_TRUE(saved->stored);
  EXPECT_EQ((*get("orders"))->revision, saved->winner.revision);
}

TEST_F(EtcdFaults, a_change_that_was_made_while_the_reply_got_lost_is_no_conflict) {
  store_ = world_.open(world_.options(EtcdWorld::Through::kHttp));
  const auto first = put(example_record("orders"));
  ASSERT_TRUE(first);
  Record changed = first->winner.record;
  changed.state = KeyState::kDisabled;
  for (int member = 1; member <= 3; ++member) {
    world_.proxy(member, "POST", "/faults", R"({"do":"lose_reply","path":"/v3/kv/txn","count":1})");
  }
  const auto replaced = replace(changed, first->winner.revision);
  ASSERT_TRUE(replaced) << replaced.error().message;
  ASSERT_TRUE(*replaced);
  EXPECT_EQ((*get("orders"))->revision, (*replaced)->revision);
  EXPECT_EQ((*get("orders"))->record, changed);
}

// Many opens may wait for one each; a page of 256 records is another matter.
TEST_F(EtcdFaults,
       a_reply_of_megabytes_to_the_read_of_one_record_is_not_taken_and_a_list_of_them_is) {
  store_ = world_.open(world_.options(EtcdWorld::Through::kHttp));
  ASSERT_TRUE(put(example_record("orders")));
  const std::string value(size_t{4} << 20, 'A');  // base64
  for (int member = 1; member <= 3; ++member) {
    world_.proxy(member, "POST", "/faults",
                 R"({"do":"corrupt","path":"/v3/kv/range","field":"kvs.0.value","value":")" +
                     value + R"("})");
  }
  const auto found = get("orders", 5s);
  ASSERT_FALSE(found);
  EXPECT_NE(found.error().code, Code::kCorrupt) << "it was read whole: " << found.error().message;
  const auto listed = world_.loop().run_task(store_->list("", 10, world_.within(20s)));
  ASSERT_TRUE(listed) << listed.error().message;
  ASSERT_EQ(listed->entries.size(), 1u);
  EXPECT_TRUE(listed->entries[0].corrupt);
}

TEST_F(EtcdFaults, a_token_that_a_restarted_member_forgot_is_renewed) {
  EtcdOptions one = world_.options();
  one.endpoints.resize(1);
  store_ = world_.open(one);
  ASSERT_TRUE(put(example_record("orders")));
  world_.act("/1/restart");
  const auto found = get("orders");
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_TRUE(*found);
}

TEST_F(EtcdFaults, a_token_that_one_member_forgot_serves_at_the_others_when_nobody_can_log_in) {
  EtcdOptions options = world_.options(EtcdWorld::Through::kHttp);
  store_ = world_.open(options);
  ASSERT_TRUE(put(example_record("orders")));
  world_.proxy(1, "POST", "/faults",
               R"({"do":"error","path":"/v3/kv/*","status":401,)"
               R"("body":{"error":"etcdserver: invalid auth token","code":16}})");
  for (int member = 1; member <= 3; ++member) {
    world_.proxy(member, "POST", "/faults", R"({"do":"hang","path":"/v3/auth/*"})");
  }
  for (int i = 0; i < 3; ++i) {
    const auto found = get("orders", 10s);
    ASSERT_TRUE(found) << found.error().message;
    EXPECT_TRUE(*found);
  }
}

TEST_F(EtcdFaults, a_wrong_password_is_told_and_not_quoted) {
  EtcdOptions options = world_.options();
  options.password_file = world_.make_file("password", "not-the-password\n", 0600);
  store_ = world_.open(options);
  const auto found = get("orders");
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code, Code::kUnauthenticated);
  EXPECT_THAT(found.error().message,
              AllOf(HasSubstr("password_file"), Not(HasSubstr("not-the-password"))));
}

TEST_F(EtcdFaults, a_prefix_that_the_user_may_not_touch_is_told) {
  EtcdOptions options = world_.options();
  options.prefix = "/elsewhere";
  store_ = world_.open(options);
  const auto found = get("orders");
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code, Code::kDenied);
  EXPECT_THAT(found.error().message, HasSubstr("readwrite"));
}

TEST_F(EtcdFaults, without_its_client_certificate_nobody_gets_in) {
  EtcdOptions options = world_.options();
  options.cert.clear();
  options.key.clear();
  store_ = world_.open(options);
  // With TLS 1.3 the refusal comes after the handshake and looks like any broken connection.
  EXPECT_FALSE(get("orders", 3s));
}

TEST_F(EtcdFaults, what_is_wrong_with_a_members_certificate_is_told) {
  const auto told = [&](const EtcdOptions& options) {
    store_ = world_.open(options);
    const auto found = get("orders", 2s);
    EXPECT_FALSE(found);
    return found ? "" : found.error().message;
  };
  EtcdOptions untrusting = world_.options();
  untrusting.ca = untrusting.cert;
  EXPECT_THAT(told(untrusting),
              HasSubstr("the TLS certificate is not trusted by the CA file " + untrusting.ca));
  const EtcdOptions http = world_.options(EtcdWorld::Through::kHttp);
  for (int member = 1; member <= 3; ++member) {
    world_.proxy(member, "POST", "/certificate", R"({"kind":"expired"})");
  }
  EXPECT_THAT(told(http), HasSubstr("the TLS certificate has expired"));
  for (int member = 1; member <= 3; ++member) {
    world_.proxy(member, "POST", "/certificate", R"({"kind":"wrong_host"})");
  }
  EXPECT_THAT(told(http), HasSubstr("the TLS certificate is not for this host name"));
}

TEST_F(EtcdFaults, one_member_lost_in_any_way_fails_no_call) {
  ASSERT_TRUE(put(example_record("orders")));
  int round = 0;
  for (const char* verb : {"/kill", "/pause", "/cut_peers"}) {
    for (int member = 1; member <= 3; ++member) {
      world_.act(path(member, verb));
      const std::string id = "key-" + std::to_string(++round);
      const auto saved = put(example_record(id), 10s);
      ASSERT_TRUE(saved) << verb << member << ": " << saved.error().message;
      const auto found = get("orders", 10s);
      ASSERT_TRUE(found && *found) << verb << member;
      const auto missed = get("nobody", 10s);
      ASSERT_TRUE(missed && !*missed) << verb << member;
      world_.act("/heal");
      ASSERT_TRUE(*get(id));
    }
  }
}

TEST_F(EtcdFaults, a_silent_member_costs_the_first_caller_little_and_the_next_nothing) {
  store_ = world_.open(world_.options(EtcdWorld::Through::kHttp));  // which counts
  ASSERT_TRUE(put(example_record("orders")));
  world_.act("/1/pause");
  ASSERT_TRUE(get("orders", 10s));
  // The others are now known to answer. By the requests, not by the time, which tells of the machine:
  // the silent one is looked for after 0.75 to 1.25 s, then after twice as long each time.
  ASSERT_TRUE(get("orders", 10s));
  reset_counts();
  const TimePoint begin = world_.loop().now();
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(get("orders", 10s));
  int looks = 1;
  for (Duration after = 750ms; world_.loop().now() - begin > after; after = 2 * after + 750ms) {
    ++looks;
  }
  EXPECT_GE(calls("/v3/kv/range"), 5);
  EXPECT_LE(world_.calls(1, "/v3/kv/range"), looks) << "the silent one was asked again";
}

TEST_F(EtcdFaults, with_two_members_lost_keys_read_and_none_is_made) {
  ASSERT_TRUE(put(example_record("orders")));
  log_in(1);
  world_.act("/2/kill");
  world_.act("/3/kill");
  auto found = get("orders", 10s);
  ASSERT_TRUE(found) << found.error().message;
  ASSERT_TRUE(*found);
  EXPECT_EQ((*found)->record, example_record("orders"));
  const auto missed = get("nobody", 3s);
  ASSERT_FALSE(missed) << "a member's own copy was believed to lack a key";
  EXPECT_EQ(missed.error().code, Code::kTimeout);
  const auto page = world_.loop().run_task(store_->list("", 10, world_.within(10s)));
  ASSERT_TRUE(page) << page.error().message;
  EXPECT_EQ(page->entries.size(), 1u);
  const TimePoint begin = world_.loop().now();
  const auto refused = put(example_record("new"), 3s);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("key new"));
  EXPECT_LT(world_.loop().now() - begin, 4s);
  world_.act("/heal");
  const auto saved = put(example_record("newer"));
  ASSERT_TRUE(saved) << saved.error().message;
  EXPECT_TRUE(saved->stored);
}

TEST_F(EtcdFaults, a_members_own_copy_is_told_as_one_and_never_answers_a_strong_read) {
  EtcdOptions patient = world_.options();
  patient.local_after = 10s;
  store_ = world_.open(patient);
  ASSERT_TRUE(put(example_record("orders")));
  auto found = get("orders", 40s);
  ASSERT_TRUE(found && *found);
  EXPECT_TRUE(found->strong);
  log_in(1);
  world_.act("/2/kill");
  world_.act("/3/kill");
  found = get("orders", 10s);
  ASSERT_TRUE(found && *found) << found.error().message;
  EXPECT_FALSE(found->strong);
  found = get("orders", 3s, Read::kStrong);
  ASSERT_FALSE(found) << "a member without a quorum answered a strong read";
  EXPECT_EQ(found.error().code, Code::kTimeout);
  world_.act("/heal");
  found = get("orders", 20s, Read::kStrong);
  ASSERT_TRUE(found && *found) << found.error().message;
  EXPECT_TRUE(found->strong);
}

TEST_F(EtcdFaults, a_leader_that_is_cut_off_is_left_alone) {
  store_ = world_.open(leader_first());
  ASSERT_TRUE(put(example_record("orders", "a")));
  world_.act(path(leader_, "/cut_peers"));
  const auto saved = put(example_record("new"));
  ASSERT_TRUE(saved && saved->stored) << saved.error().message;
  const auto found = get("new");
  ASSERT_TRUE(found && *found) << "the cut off member's miss was believed";
}

TEST_F(EtcdFaults, a_member_that_was_cut_off_does_not_bring_back_what_is_known_to_be_disabled) {
  store_ = world_.open(world_.options(EtcdWorld::Through::kHttp));
  const auto first = put(example_record("orders"));
  ASSERT_TRUE(first);
  world_.act("/1/cut_peers");
  Record disabled = first->winner.record;
  disabled.state = KeyState::kDisabled;
  ASSERT_TRUE(replace(disabled, first->winner.revision));
  // The others are now up but slow, so that member 1 answers first.
  for (int member = 2; member <= 3; ++member) {
    world_.proxy(member, "POST", "/faults", R"({"do":"delay","path":"/v3/kv/*","seconds":1.5})");
  }
  const auto found = get("orders", 10s);
  ASSERT_TRUE(found && *found) << found.error().message;
  EXPECT_EQ((*found)->record.state, KeyState::kDisabled);
}

TEST_F(EtcdFaults, a_member_that_lost_its_data_and_joined_anew_shows_the_same_records) {
  const auto first = put(example_record("orders"));
  ASSERT_TRUE(first);
  world_.act("/1/wipe");
  EtcdOptions one = world_.options();
  one.endpoints.resize(1);
  const auto other = world_.open(one);
  const auto found = world_.loop().run_task(other->get("orders", Read::kAny, world_.within(20s)));
  ASSERT_TRUE(found && *found);
  EXPECT_EQ((*found)->revision, first->winner.revision);
  const auto again = world_.loop().run_task(
      other->put_if_absent(example_record("orders", "b"), world_.within(20s)));
  ASSERT_TRUE(again && !again->stored);
}

TEST_F(EtcdFaults, a_cluster_that_is_down_is_told_with_its_member_and_the_cause) {
  EtcdOptions one = world_.options(EtcdWorld::Through::kHttp);
  one.endpoints = {"http://127.0.0.1:1"};  // nobody listens there
  const auto down = world_.open(one);
  const auto page = world_.loop().run_task(down->list("", 10, world_.within(1s)));
  ASSERT_FALSE(page);
  EXPECT_THAT(page.error().message,
              AllOf(HasSubstr("127.0.0.1:1"), Not(HasSubstr("no time left to ask"))));
  const auto check = world_.loop().run_task(down->check(world_.within(2s)));
  ASSERT_EQ(check.items.size(), 2u);
  EXPECT_THAT(check.items[0].remedy, HasSubstr("names no other"));
  EXPECT_THAT(check.items[1].remedy, Not(HasSubstr("which cluster this is")));
}

TEST_F(EtcdFaults, a_list_goes_on_when_its_revision_was_compacted) {
  for (const char* id : {"a", "b", "c", "d"}) ASSERT_TRUE(put(example_record(id)));
  auto page = world_.loop().run_task(store_->list("", 2, world_.within(20s)));
  ASSERT_TRUE(page && page->next);
  ASSERT_TRUE(put(example_record("e")));
  world_.act("/compact");
  page = world_.loop().run_task(store_->list(*page->next, 10, world_.within(20s)));
  ASSERT_TRUE(page) << page.error().message;
  ASSERT_EQ(page->entries.size(), 3u);
  EXPECT_EQ(page->entries[0].id, "c");
}

}  // namespace
}  // namespace keyfs::testing
