// What becomes of the keys of a run, and of the tickets that asked for them.
#include "fs/rotation/run_fixture.h"
#include "support/sanitized.h"

namespace keyfs::testing {
namespace {

TEST(Run, a_key_that_lacks_a_region_is_told_of_and_the_run_is_not_whole) {
  Fleet fleet;
  const auto hosts = start_hosts(fleet, 2);
  spread(hosts, 4, {"a"});
  fleet.shared.keys["a"].missing = {"eu-west-1"};
  start_all(hosts);
  fleet.pass(30s);
  fleet.rotate("a", "ta");
  ASSERT_TRUE(fleet.until([&] { return fleet.ended(kFirst); }));
  const auto run = fleet.peek(kFirst);
  EXPECT_EQ(run->counts.ok, 4u);
  EXPECT_FALSE(run->whole());
  EXPECT_EQ(run->end, RunDocument::End::kInPart);
  EXPECT_EQ(run->keys[0].missing, std::vector<std::string>{"eu-west-1"});
}

TEST(Run, a_key_that_cannot_be_rotated_now_is_overdue_and_done_by_itself_later) {
  Fleet fleet;
  const auto hosts = start_hosts(fleet, 2);
  spread(hosts, 4, {"a", "b"});
  fleet.shared.keys["a"].error = Error(Code::kUnavailable, "wrapped in 1 of 2 required regions");
  start_all(hosts);
  fleet.pass(30s);
  fleet.rotate("a", "ta");
  fleet.rotate("b", "tb");
  ASSERT_TRUE(fleet.until([&] { return fleet.ended(kFirst); }));
  EXPECT_EQ(fleet.shared.hooks.size(), 4u);  // of b
  EXPECT_EQ(fleet.peek(kFirst)->keys[0].state, RunKey::State::kOverdue);
  EXPECT_EQ(fleet.shared.keys["a"].current, 1u);
  fleet.pass(20min);
  EXPECT_EQ(fleet.runs().size(), 1u);  // and no run after another in vain
  EXPECT_TRUE(fleet.shared.documents->find("tickets/ta"));
  fleet.shared.keys["a"].error.reset();
  ASSERT_TRUE(fleet.until([&] { return fleet.ended(kSecond); }));
  EXPECT_EQ(fleet.peek(kSecond)->end, RunDocument::End::kComplete);
  EXPECT_EQ(fleet.shared.keys["a"].current, 2u);
  EXPECT_EQ(fleet.shared.keys["a"].rotations, 1);
  EXPECT_EQ(fleet.shared.hooks.size(), 8u);
  EXPECT_FALSE(fleet.shared.documents->find("tickets/ta"));
}

TEST(Run, where_nothing_is_announced_what_was_overdue_is_told_at_once_too) {
  FleetOptions options;
  options.watches = false;
  Fleet fleet(options);
  const auto hosts = start_hosts(fleet, 2);
  spread(hosts, 4, {"a"});
  fleet.shared.keys["a"].error = Error(Code::kUnavailable, "wrapped in 1 of 2 required regions");
  start_all(hosts);
  fleet.pass(30s);
  fleet.rotate("a", "ta");
  ASSERT_TRUE(fleet.until([&] { return fleet.ended(kFirst); }));
  fleet.shared.keys["a"].error.reset();
  fleet.pass(3min);
  EXPECT_TRUE(fleet.ended(kSecond));
  EXPECT_EQ(fleet.shared.hooks.size(), 4u);
}

TEST(Run, a_key_that_cannot_be_rotated_at_all_is_refused_and_its_ticket_removed) {
  Fleet fleet;
  const auto hosts = start_hosts(fleet, 2);
  spread(hosts, 4, {"a"});
  fleet.shared.keys["a"].error = Error(Code::kInvalid, "was deleted");
  start_all(hosts);
  fleet.pass(30s);
  fleet.rotate("a", "ta");
  ASSERT_TRUE(fleet.until([&] { return fleet.ended(kFirst); }));
  EXPECT_EQ(fleet.peek(kFirst)->end, RunDocument::End::kInPart);
  EXPECT_EQ(fleet.peek(kFirst)->keys[0].state, RunKey::State::kRefused);
  fleet.pass(20min);
  EXPECT_EQ(fleet.runs().size(), 1u);
  EXPECT_TRUE(fleet.shared.hooks.empty());
}

TEST(Run, at_most_a_hundred_keys_are_in_one) {
  constexpr int kMany = kSanitized ? 105 : 150;
  Fleet fleet;
  const auto hosts = start_hosts(fleet, 2);
  SimConsumer consumer;
  consumer.name = "c";
  for (int i = 0; i < kMany; ++i) consumer.keys.push_back("k" + std::to_string(i));
  hosts[0]->consumers.push_back(consumer);
  start_all(hosts);
  fleet.pass(30s);
  for (int i = 0; i < kMany; ++i) {
    fleet.rotate("k" + std::to_string(i), "t" + std::to_string(i));
  }
  ASSERT_TRUE(fleet.until([&] { return fleet.ended(kSecond); }));
  EXPECT_EQ(fleet.peek(kFirst)->keys.size(), 100u);
  EXPECT_EQ(fleet.peek(kSecond)->keys.size(), size_t{kMany - 100});
  for (const auto& [id, key] : fleet.shared.keys) EXPECT_EQ(key.rotations, 1) << id;
}

TEST(Run, a_ticket_that_comes_back_after_it_was_done_makes_no_other_run) {
  Fleet fleet;
  const auto hosts = start_hosts(fleet, 2);
  spread(hosts, 4, {"a"});
  start_all(hosts);
  fleet.pass(30s);
  fleet.rotate("a", "ta");
  ASSERT_TRUE(fleet.until([&] { return fleet.ended(kFirst); }));
  fleet.rotate("a", "ta");
  fleet.pass(10min);
  EXPECT_EQ(fleet.runs().size(), 1u);
  EXPECT_EQ(fleet.shared.keys["a"].rotations, 1);
  EXPECT_FALSE(fleet.shared.documents->find("tickets/ta"));
}

TEST(Run, a_version_that_is_promoted_is_told_like_a_new_one) {
  Fleet fleet;
  const auto hosts = start_hosts(fleet, 2);
  spread(hosts, 4, {"a"});
  start_all(hosts);
  fleet.pass(30s);
  Ticket ticket;
  ticket.token = "promote-it";
  ticket.kind = Ticket::Kind::kPromote;
  ticket.id = "a";
  ticket.version = 7;
  fleet.put(ticket);
  ASSERT_TRUE(fleet.until([&] { return fleet.ended(kFirst); }));
  EXPECT_EQ(fleet.shared.keys["a"].current, 7u);
  EXPECT_EQ(fleet.shared.keys["a"].rotations, 0);
  EXPECT_EQ(fleet.shared.hooks.size(), 4u);
  EXPECT_EQ(fleet.shared.hooks[0].keys, (std::vector<KeyVersion>{{"a", 7}}));
}
}  // namespace
}  // namespace keyfs::testing
