// The store's answer decides whenever it comes: before, while and after this host's own copy of the
// record is used instead.
#include "fs/keys/keyring_fixture.h"

namespace keyfs {
namespace {

using testing::Daemon;
using testing::KeyringTest;
using testing::ScriptedMemory;
using namespace std::chrono_literals;

enum class Says { kHit, kMiss, kCorrupt, kError, kRevoked, kHang, kRotated, kRetired };
enum class When { kBefore, kDuring, kAfter };

constexpr Duration kMemoryTakes = 100ms;
constexpr Duration kRegionTakes = 300ms;

const char* name(Says says) {
  const char* const names[] = {"hit",     "miss", "corrupt", "error",
                               "revoked", "hang", "rotated", "retired"};
  return names[static_cast<int>(says)];
}
const char* name(When when) {
  const char* const names[] = {"before", "during", "after"};
  return names[static_cast<int>(when)];
}

struct KeyringOrder : KeyringTest {
  // The store's answer, and when it comes: the memory's comes after 100 ms, and its key is
  // unwrapped 300 ms later.
  void prepare(Daemon& daemon, Says says, When when) {
    daemon.store.fault = {};
    daemon.store.fault.delay = when == When::kBefore ? 10ms : when == When::kDuring ? 50ms : 200ms;
    switch (says) {
      case Says::kHit:
        break;
      case Says::kMiss:
        world.records->erase("orders");
        break;
      case Says::kCorrupt:
        world.records->write_raw("orders", "{");
        break;
      case Says::kError:
        daemon.store.fault.error.emplace(Code::kUnavailable, "told to fail");
        break;
      case Says::kRevoked:
        set_state("orders", KeyState::kDisabled);
        break;
      case Says::kHang:
        daemon.store.fault.hang = true;
        break;
      case Says::kRotated:
        world.records->write_raw("orders", rotated);
        break;
      case Says::kRetired:
        world.records->write_raw("orders", rotated);
        retire("orders", 2);
        break;
    }
  }
  // What a read must give; `version` 0: of the plain name.
  std::string wanted(Says says, uint32_t version = 0) const {
    switch (says) {
      case Says::kMiss:
      case Says::kCorrupt:
        return "corrupt";
      case Says::kRevoked:
        return "revoked";
      case Says::kRotated:
        return version == 0 ? second : key;
      case Says::kRetired:
        return version == 0 ? second : "revoked";
      default:
        return key;
    }
  }

  const std::string key = Daemon(world).read("orders");
  const std::string json = world.records->find("orders")->json;
  Daemon rotator{world};
  const std::string second = rotate(rotator, "orders");
  const std::string rotated = world.records->find("orders")->json;
};

TEST_F(KeyringOrder, the_stores_word_counts_in_every_order_of_events) {
  for (const bool was_out : {false, true}) {
    for (const Says says : {Says::kHit, Says::kMiss, Says::kCorrupt, Says::kError, Says::kRevoked,
                            Says::kHang, Says::kRotated, Says::kRetired}) {
      for (const When when : {When::kBefore, When::kDuring, When::kAfter}) {
        for (const uint32_t version : {0u, 1u}) {
          SCOPED_TRACE(std::string(name(says)) + " " + name(when) +
                       (was_out ? " the copy, after an error" : " the copy") +
                       (version == 0 ? "" : ", by number"));
          world.records->write_raw("orders", json);
          ScriptedMemory memory(world.time.loop);
          memory.knows(stored("orders"));
          memory.delay = kMemoryTakes;
          Daemon daemon(world, &memory);
          for (auto* region : daemon.region) region->answer_after(kRegionTakes);
          if (was_out) {  // then the copy is used at once
            daemon.store.fail_with(Code::kUnavailable);
            (void)daemon.open("other", false);
          }
          prepare(daemon, says, when);
          const auto there = world.records->find("orders");
          const std::string before = there ? there->json : "";
          EXPECT_EQ(version == 0 ? daemon.read("orders") : daemon.read_version("orders", version),
                    wanted(says, version));
          EXPECT_EQ(daemon.store.calls.put, 0);
          const auto after = world.records->find("orders");
          EXPECT_EQ(after ? after->json : "", before);
        }
      }
    }
  }
}

TEST_F(KeyringOrder, what_is_told_after_the_copy_was_served_ends_it) {
  for (const Says says : {Says::kCorrupt, Says::kRevoked}) {
    SCOPED_TRACE(name(says));
    world.records->write_raw("orders", json);
    ScriptedMemory memory(world.time.loop);
    memory.knows(stored("orders"));
    Daemon daemon(world, &memory);
    daemon.store.fail_with(Code::kUnavailable);
    (void)daemon.open("other", false);
    prepare(daemon, says, When::kAfter);
    EXPECT_EQ(daemon.read("orders"), key) << "nobody has said anything yet";
    wait(1s);
    EXPECT_EQ(daemon.seen.ended, std::vector<std::string>{"orders"});
    EXPECT_EQ(daemon.read("orders"), wanted(says));
    EXPECT_EQ(daemon.arena.usage().secrets, 0u);
  }
}

}  // namespace
}  // namespace keyfs
