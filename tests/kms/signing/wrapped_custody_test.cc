#include "kms/signing/wrapped_custody.h"

#include <gmock/gmock.h>

#include "kms/signing/wrapped_fixture.h"

namespace keyfs {
namespace {

using ::testing::HasSubstr;
using testing::WrappedHost;
using testing::WrappedTest;
using namespace std::chrono_literals;

WrappedCustodyOptions short_times() {
  WrappedCustodyOptions options;
  options.fresh_for = 30s;
  options.keep_for = 5min;
  options.serve_stale_for = 1h;
  return options;
}

TEST_F(WrappedTest, a_key_signs_before_it_has_its_name_and_leaves_nothing_behind_until_then) {
  WrappedHost host(world);
  const auto key = host.create("ca");
  ASSERT_TRUE(key) << key.error().message;
  EXPECT_THAT(*key, ::testing::StartsWith("ca/1/"));
  EXPECT_EQ(host.signs(*key), "signed");
  EXPECT_FALSE(world.records->find(".sign.ca"));
  wait(11min);
  EXPECT_EQ(host.signs(*key), "revoked");
  const auto late = host.point("ca", *key);
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, Code::kRevoked);
}

TEST_F(WrappedTest, a_key_is_wrapped_in_every_region_and_its_private_half_is_in_no_record) {
  WrappedHost host(world);
  const std::string key = host.make("ca");
  const Record record = stored(".sign.ca");
  EXPECT_EQ(record.kind, "signing");
  EXPECT_EQ(record.versions.at(1).wrapped.size(), 3u);
  EXPECT_EQ(record.versions.at(1).type, "EC_P256");
  EXPECT_EQ(record.versions.at(1).creator, "here");
  const auto half = host.run(host.custody->public_key(key, host.soon()));
  ASSERT_TRUE(half) << half.error().message;
  EXPECT_EQ(record.versions.at(1).public_key, (*half)->der());
  EXPECT_TRUE(host.degraded.empty());
}

TEST_F(WrappedTest, loser_of_a_create_race_serves_the_winners_key) {
  WrappedHost one(world), two(world);
  const std::string winner = *one.create("ca");
  const std::string loser = *two.create("ca");
  ASSERT_NE(winner, loser);
  EXPECT_TRUE(one.point("ca", winner)->done);
  const auto lost = two.point("ca", loser);
  ASSERT_TRUE(lost) << lost.error().message;
  EXPECT_FALSE(lost->done);
  EXPECT_EQ(lost->now->key, winner);
  EXPECT_EQ(two.signs(loser), "revoked");
  EXPECT_EQ(two.signs(winner), "signed");
  EXPECT_EQ(two.refers("ca"), winner);
}

TEST_F(WrappedTest, of_two_rotations_at_once_one_wins_and_the_next_key_is_another_version) {
  WrappedHost one(world), two(world);
  const std::string first = one.make("ca");
  const std::string here = *one.create("ca");
  const std::string there = *two.create("ca");
  EXPECT_TRUE(two.point("ca", there, first)->done);
  const auto lost = one.point("ca", here, first);
  ASSERT_TRUE(lost) << lost.error().message;
  EXPECT_FALSE(lost->done);
  EXPECT_EQ(lost->now->key, there);
  EXPECT_EQ(one.signs(here), "revoked");
  EXPECT_THAT(one.make("ca", there), ::testing::StartsWith("ca/3/"));
  EXPECT_EQ(one.signs(first), "signed");  // as long as it was not deleted
}

TEST_F(WrappedTest, a_write_whose_answer_was_lost_is_known_as_ones_own) {
  WrappedHost host(world);
  const std::string key = *host.create("ca");
  host.daemon.store.fault.lose_reply.emplace(Code::kTimeout, "lost");
  const auto pointed = host.point("ca", key);
  ASSERT_TRUE(pointed) << pointed.error().message;
  EXPECT_TRUE(pointed->done);
  host.daemon.store.heal();
  EXPECT_EQ(host.refers("ca"), key);
}

TEST_F(WrappedTest, too_few_regions_make_no_key_and_a_missing_one_is_told) {
  WrappedHost host(world);
  host.daemon.region[0]->fail_with(Code::kUnavailable);
  EXPECT_THAT(host.make("ca"), ::testing::StartsWith("ca/1/"));
  EXPECT_EQ(host.degraded, std::vector<std::string>{".sign.ca"});
  host.daemon.region[1]->fail_with(Code::kUnavailable);
  const auto none = host.create("other");
  ASSERT_FALSE(none);
  EXPECT_THAT(none.error().message, HasSubstr("wrapped in 1 of 2 required regions ("));
}

TEST_F(WrappedTest, record_that_went_back_is_not_used) {
  WrappedHost host(world, short_times());
  const std::string first = host.make("ca");
  const std::string old = raw(".sign.ca");
  const std::string second = host.make("ca", first);
  EXPECT_EQ(host.signs(second), "signed");
  world.records->write_raw(".sign.ca", old);
  wait(31s);
  EXPECT_EQ(host.signs(second), "corrupt");
  EXPECT_EQ(host.signs(first), "corrupt");
  EXPECT_EQ(host.refers("ca"), "corrupt");
  world.records->erase(".sign.ca");
  EXPECT_EQ(host.refers("ca"), "corrupt");
  // Not even while the store is out.
  host.daemon.store.fail_with(Code::kUnavailable);
  EXPECT_NE(host.signs(second), "signed");
}

TEST_F(WrappedTest, another_public_half_in_the_record_is_corrupt) {
  WrappedHost host(world, short_times());
  const std::string key = host.make("ca");
  host.make("other");
  change(".sign.ca", [&](Record& record) {
    record.versions.at(1).public_key = stored(".sign.other").versions.at(1).public_key;
  });
  wait(31s);
  EXPECT_EQ(host.signs(key), "corrupt");
  WrappedHost fresh(world);  // remembers nothing, but unwraps another key
  EXPECT_EQ(fresh.signs(fresh.refers("ca")), "corrupt");
}

TEST_F(WrappedTest, store_out_signs_on_within_serve_stale_for) {
  WrappedHost host(world, short_times());
  const std::string key = host.make("ca");
  host.daemon.store.hang();
  wait(2min);
  EXPECT_EQ(host.signs(key), "signed");  // after some seconds of waiting for the store
  const TimePoint begun = now();
  for (int i = 0; i < 20; ++i) EXPECT_EQ(host.signs(key), "signed");
  EXPECT_EQ(now(), begun);  // nobody waits for a store that is known to be out
  wait(30min);
  EXPECT_EQ(host.signs(key), "signed");
  wait(30min);
  EXPECT_EQ(host.signs(key), "timeout");
  host.daemon.store.heal();
  wait(5s);
  EXPECT_EQ(host.signs(key), "signed");
}

TEST_F(WrappedTest, a_host_that_starts_while_the_store_is_cut_off_signs_by_what_may_be_old) {
  WrappedHost maker(world);
  const std::string key = maker.make("ca");
  WrappedHost host(world, short_times());
  host.daemon.behind->fall_behind(*world.records, ".sign.ca");
  host.daemon.behind->cut_off = true;
  EXPECT_EQ(host.signs(key), "signed");
  ASSERT_TRUE(maker.run(maker.custody->set_enabled("ca", key, false, maker.soon())));
  host.daemon.behind->cut_off = false;
  wait(2s);
  (void)host.signs(key);  // the store is asked behind it
  wait(1s);
  EXPECT_EQ(host.signs(key), "revoked");
}

TEST_F(WrappedTest, disabled_key_is_refused_within_fresh_for) {
  WrappedHost here(world, short_times()), there(world, short_times());
  const std::string key = here.make("ca");
  EXPECT_EQ(there.signs(key), "signed");
  ASSERT_TRUE(here.run(here.custody->set_enabled("ca", key, false, here.soon())));
  EXPECT_EQ(here.signs(key), "revoked");
  wait(30s);
  EXPECT_EQ(there.signs(key), "revoked");
  EXPECT_FALSE(there.create("ca"));  // a rotation does not enable it
  ASSERT_TRUE(there.run(there.custody->set_enabled("ca", key, true, there.soon())));
  EXPECT_EQ(there.signs(key), "signed");
}

TEST_F(WrappedTest, private_key_is_wiped_after_keep_for) {
  WrappedHost maker(world);
  const std::string key = maker.make("ca");
  WrappedHost host(world, short_times());
  const size_t before = host.daemon.arena.usage().secrets;
  EXPECT_EQ(host.signs(key), "signed");
  EXPECT_EQ(host.daemon.arena.usage().secrets, before + 1);
  wait(5min + 1s);
  EXPECT_EQ(host.daemon.arena.usage().secrets, before);
}

TEST_F(WrappedTest, no_more_private_keys_are_kept_than_are_permitted) {
  WrappedHost maker(world);
  const std::vector<std::string> keys = {maker.make("a"), maker.make("b"), maker.make("c")};
  WrappedCustodyOptions two;
  two.keys_in_memory = 2;
  WrappedHost host(world, two);
  const size_t before = host.daemon.arena.usage().secrets;
  for (const auto& key : keys) EXPECT_EQ(host.signs(key), "signed");
  EXPECT_EQ(host.daemon.arena.usage().secrets, before + 2);
}

TEST_F(WrappedTest, one_unwrap_for_sixteen_signers) {
  WrappedHost maker(world);
  const std::string key = maker.make("ca");
  WrappedHost host(world);
  TaskGroup<Result<Signature>> signers(world.time.loop);
  for (int i = 0; i < 16; ++i) signers.start(host.signing(key));
  const auto all = [&]() -> Task<int> {
    int good = 0;
    while (auto one = co_await signers.next()) good += one->value.has_value();
    co_return good;
  };
  EXPECT_EQ(host.run(all()), 16);
  EXPECT_EQ(host.daemon.unwraps(), 1);
  EXPECT_EQ(host.daemon.store.calls.get, 1);
}

TEST_F(WrappedTest, region_out_signs_on) {
  WrappedHost maker(world);
  const std::string key = maker.make("ca");
  WrappedHost host(world);
  host.daemon.region[0]->fail_with(Code::kUnavailable);
  host.daemon.region[1]->hang();
  EXPECT_EQ(host.signs(key), "signed");
}

TEST_F(WrappedTest, an_rsa_key_is_made_and_signs_on_other_threads) {
  WrappedHost host(world);
  world.time.poller.busy = [] { return true; };  // time stands still meanwhile
  const auto key = host.create("web", SigningKeyType::kRsa2048);
  ASSERT_TRUE(key) << key.error().message;
  const auto signature = host.sign(*key);
  ASSERT_TRUE(signature) << signature.error().message;
  EXPECT_EQ(signature->bytes.size(), 256u);
  EXPECT_EQ(signature->region, "");
  world.time.poller.busy = nullptr;
}

TEST_F(WrappedTest, what_was_rotated_away_is_destroyed_and_what_is_current_is_not) {
  WrappedHost host(world);
  const std::string first = host.make("ca");
  const std::string second = host.make("ca", first);
  const auto refused = host.run(host.custody->schedule_deletion("ca", second, host.soon()));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kInvalid);
  for (int twice = 0; twice < 2; ++twice) {
    EXPECT_TRUE(host.run(host.custody->schedule_deletion("ca", first, host.soon())));
  }
  EXPECT_EQ(host.signs(first), "revoked");
  EXPECT_EQ(host.signs(second), "signed");
  EXPECT_TRUE(stored(".sign.ca").versions.at(1).wrapped.empty());
  EXPECT_FALSE(stored(".sign.ca").versions.at(1).destroyed.empty());
}

TEST_F(WrappedTest, a_deleted_id_keeps_no_wrap_and_gets_no_other_key) {
  WrappedHost host(world);
  const std::string key = host.make("ca");
  EXPECT_TRUE(host.run(host.custody->remove_name("ca", "ca/1/other", host.soon())));
  EXPECT_EQ(host.refers("ca"), key);
  for (int twice = 0; twice < 2; ++twice) {
    EXPECT_TRUE(host.run(host.custody->remove_name("ca", key, host.soon())));
  }
  EXPECT_EQ(host.refers("ca"), "none");
  EXPECT_EQ(host.signs(key), "revoked");
  EXPECT_EQ(stored(".sign.ca").state, KeyState::kDeleted);
  EXPECT_TRUE(stored(".sign.ca").versions.at(1).wrapped.empty());
  const auto again = host.point("ca", *host.create("ca"));
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, Code::kRevoked);
  EXPECT_TRUE(host.run(host.custody->list(host.soon()))->empty());
}

TEST_F(WrappedTest, a_damaged_record_is_listed_and_hides_no_other_one) {
  WrappedHost host(world);
  const std::string good = host.make("good");
  host.make("bad");
  world.records->write_raw(".sign.bad", "{");
  WrappedHost fresh(world);
  const auto keys = fresh.run(fresh.custody->list(fresh.soon()));
  ASSERT_TRUE(keys) << keys.error().message;
  ASSERT_EQ(keys->size(), 2u);
  EXPECT_EQ((*keys)[0].name, "bad");
  EXPECT_EQ(fresh.signs((*keys)[0].key), "corrupt");
  EXPECT_EQ((*keys)[1].key, good);
}

}  // namespace
}  // namespace keyfs
