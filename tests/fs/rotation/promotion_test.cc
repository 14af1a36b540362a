// Tickets of what the command line has done already, or could not do.
#include "fs/rotation/fleet.h"

namespace keyfs::testing {
namespace {

class Asked : public ::testing::Test {
 protected:
  Asked() {
    for (const char* name : {"web-0", "web-1"}) {
      SimHost& host = fleet.add(name);
      SimConsumer consumer;
      consumer.name = "app";
      consumer.keys = {"a", "b"};
      host.consumers.push_back(consumer);
      hosts.push_back(&host);
    }
    for (SimHost* host : hosts) host->start();
    fleet.pass(30s);
  }
  // As keyfs rotate does it: the work first, then the ticket.
  void rotated(const std::string& id, const std::string& token, uint32_t version) {
    SimKey& key = fleet.shared.keys[id];
    key.tokens[token] = key.current = version;
    key.changed = fleet.shared.clock.now();
    fleet.rotate(id, token);
  }
  void promote(const std::string& token, uint32_t version, uint32_t from) {
    Ticket ticket;
    ticket.token = token;
    ticket.kind = Ticket::Kind::kPromote;
    ticket.id = "a";
    ticket.version = version;
    ticket.from = from;
    fleet.put(ticket);
  }
  void promoted(const std::string& token, uint32_t version) {
    fleet.shared.keys["a"].current = version;
    promote(token, version, 0);
  }
  uint32_t current(const std::string& id) { return fleet.shared.keys[id].current; }

  Fleet fleet;
  std::vector<SimHost*> hosts;
};

TEST_F(Asked, what_was_rotated_already_is_told_and_not_rotated_again) {
  rotated("a", "ta", 2);
  ASSERT_TRUE(fleet.until([&] { return fleet.ended(kFirst); }));
  EXPECT_EQ(fleet.shared.keys["a"].rotations, 0);
  EXPECT_EQ(fleet.shared.hooks.size(), 2u);
  EXPECT_EQ(fleet.shared.hooks[0].keys, (std::vector<KeyVersion>{{"a", 2}}));
}

TEST_F(Asked, the_holder_tells_for_how_long_it_collects_changes) {
  const auto told = [&] { return parse_run_now(fleet.shared.documents->find(kNowName)->text); };
  EXPECT_EQ(told()->settle_ms, 5000u);
  fleet.rotate("a", "ta");
  ASSERT_TRUE(fleet.until([&] { return fleet.ended(kFirst); }));
  EXPECT_EQ(told()->number, 1u);
  EXPECT_EQ(told()->settle_ms, 5000u);
}

TEST_F(Asked, a_promotion_that_was_made_does_not_undo_what_came_after_it) {
  rotated("a", "ta", 2);
  promoted("p1", 1);  // back, for a moment
  rotated("a", "tb", 3);
  ASSERT_TRUE(fleet.until([&] { return fleet.ended(kFirst); }));
  fleet.pass(10min);
  EXPECT_EQ(current("a"), 3u);
  EXPECT_EQ(fleet.shared.hooks.size(), 2u);
  for (const Hook& hook : fleet.shared.hooks) {
    for (const KeyVersion& key : hook.keys) EXPECT_EQ(key.version, 3u);
  }
}

TEST_F(Asked, a_promotion_that_could_not_be_made_is_made_if_nobody_has_changed_the_key_since) {
  fleet.shared.keys["a"].current = 4;
  promote("p3", 3, 4);
  ASSERT_TRUE(fleet.until([&] { return fleet.ended(kFirst); }));
  EXPECT_EQ(current("a"), 3u);
}

TEST_F(Asked, a_promotion_that_comes_late_leaves_what_others_have_made_current) {
  fleet.shared.keys["a"].current = 5;
  promote("p3", 3, 4);
  ASSERT_TRUE(fleet.until([&] { return fleet.ended(kFirst); }));
  EXPECT_EQ(current("a"), 5u);
  EXPECT_EQ(fleet.peek(kFirst)->keys[0].state, RunKey::State::kCurrent);
  EXPECT_EQ(fleet.peek(kFirst)->keys[0].current, 5u);
}

TEST_F(Asked, one_token_for_two_keys_is_a_rotation_of_each) {
  for (const char* id : {"a", "b"}) {
    Ticket ticket;
    ticket.token = std::string("of-") + id;
    ticket.rotation = "round-5";
    ticket.id = id;
    fleet.put(ticket);
  }
  ASSERT_TRUE(fleet.until([&] { return fleet.ended(kFirst); }));
  for (const char* id : {"a", "b"}) {
    EXPECT_EQ(current(id), 2u);
    EXPECT_TRUE(fleet.shared.keys[id].tokens.contains("round-5"));
  }
  EXPECT_EQ(fleet.peek(kFirst)->keys.size(), 2u);
}

TEST_F(Asked, what_is_overdue_is_told_at_once_when_it_was_done_by_hand) {
  fleet.shared.keys["a"].error = Error(Code::kUnavailable, "two regions are out");
  fleet.rotate("a", "ta");
  ASSERT_TRUE(fleet.until([&] { return fleet.ended(kFirst); }));
  fleet.pass(30min);  // the holder tries seldom by now
  fleet.shared.keys["a"].error.reset();
  SimKey& key = fleet.shared.keys["a"];
  key.tokens["ta"] = key.current = 2;
  const auto again = fleet.take_up_again("ta");
  ASSERT_TRUE(again) << again.error().message;
  ASSERT_TRUE(fleet.until([&] { return fleet.ended(kSecond); }, 2min));
  EXPECT_EQ(fleet.shared.keys["a"].rotations, 0);
  EXPECT_EQ(fleet.shared.hooks.size(), 2u);
}

}  // namespace
}  // namespace keyfs::testing
