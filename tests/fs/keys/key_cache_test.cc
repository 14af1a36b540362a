#include "fs/keys/key_cache.h"

#include <gtest/gtest.h>
#include <malloc.h>

#include <cstdint>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "support/fake_clock.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;
using Peek = KeyCache::Peek;

struct KeyCacheTest : ::testing::Test {
  SharedKey key(uint32_t version = 1, uint8_t fill = 0x5a) {
    auto made = std::make_shared<DataKey>();
    made->key = std::move(*arena.allocate(32));
    for (uint8_t& byte : made->key.reveal_mutable()) byte = fill;
    made->version = version;
    return made;
  }
  KeyRef put(KeyCache& into, const std::string& id) {
    KeyRef entry = into.acquire(id);
    into.put(*entry, key(), clock.now(), into.epoch());
    return entry;
  }
  Peek peek(const KeyRef& entry, uint32_t version = 0) {
    return cache.peek(*entry, clock.now(), version).what;
  }

  SecretArena arena;
  FakeClock clock;
  KeyCache cache{{.fresh_for = 5min, .serve_stale_for = 24h, .keys = 100}};
};

TEST_F(KeyCacheTest, an_id_has_one_entry_for_as_long_as_somebody_refers_to_it) {
  KeyRef first = cache.acquire("orders");
  EXPECT_EQ(cache.acquire("orders").get(), first.get());
  EXPECT_EQ(first->id(), "orders");
  EXPECT_EQ(cache.usage().entries, 1u);
  first.reset();
  EXPECT_EQ(cache.usage().entries, 0u);
}

TEST_F(KeyCacheTest, an_id_that_was_never_fetched_must_be_asked_for) {
  EXPECT_EQ(peek(cache.acquire("orders")), Peek::kAsk);
}

TEST_F(KeyCacheTest, a_cached_key_stays_when_nobody_refers_to_its_entry) {
  put(cache, "orders");
  EXPECT_EQ(cache.usage().keys, 1u);
  EXPECT_EQ(peek(cache.find("orders")), Peek::kServe);
}

TEST_F(KeyCacheTest, older_than_fresh_it_is_served_and_one_reader_is_told_to_refresh) {
  const KeyRef entry = put(cache, "orders");
  clock.advance(5min - 1ns);
  EXPECT_EQ(peek(entry), Peek::kServe);
  clock.advance(1ns);
  EXPECT_EQ(peek(entry), Peek::kServeAndRefresh);
  EXPECT_EQ(peek(entry), Peek::kServe);
  cache.refreshed(*entry);  // in vain
  EXPECT_EQ(peek(entry), Peek::kServeAndRefresh);
  EXPECT_TRUE(cache.confirm(*entry, clock.now(), cache.epoch()));
  cache.refreshed(*entry);
  EXPECT_EQ(peek(entry), Peek::kServe);
}

TEST_F(KeyCacheTest, stale_is_served_up_to_the_bound_and_not_longer) {
  const KeyRef entry = put(cache, "orders");
  clock.advance(24h);
  EXPECT_EQ(peek(entry), Peek::kServeAndRefresh);
  clock.advance(1ns);
  EXPECT_EQ(peek(entry), Peek::kAsk);
}

TEST_F(KeyCacheTest, another_version_than_the_cached_one_must_be_asked_for) {
  const KeyRef entry = put(cache, "orders");
  EXPECT_EQ(peek(entry, 1), Peek::kServe);
  EXPECT_EQ(peek(entry, 2), Peek::kAsk);
}

TEST_F(KeyCacheTest, a_revoked_key_is_wiped_at_once_and_asked_for_again_after_a_second) {
  const KeyRef entry = put(cache, "orders");
  cache.revoke(*entry, clock.now(), cache.epoch());
  EXPECT_EQ(arena.usage().secrets, 0u);
  EXPECT_EQ(peek(entry), Peek::kRevoked);
  EXPECT_EQ(peek(entry, 1), Peek::kRevoked);
  clock.advance(1s);
  EXPECT_EQ(peek(entry), Peek::kAsk);
  cache.put(*entry, key(), clock.now(), cache.epoch());
  EXPECT_EQ(peek(entry), Peek::kServe);
}

TEST_F(KeyCacheTest, a_live_watch_would_tell_of_a_revoked_key_that_is_enabled_so_nobody_asks) {
  cache.set_live(true, clock.now());
  const KeyRef entry = put(cache, "orders");
  cache.revoke(*entry, clock.now(), cache.epoch());
  clock.advance(1h);
  EXPECT_EQ(peek(entry), Peek::kRevoked);
  cache.set_live(false, clock.now());
  EXPECT_EQ(peek(entry), Peek::kRevoked);
  clock.advance(1s);
  EXPECT_EQ(peek(entry), Peek::kAsk);
  cache.set_live(true, clock.now());
  EXPECT_EQ(peek(entry), Peek::kRevoked) << "it went on from where it was";
  cache.mark_gap();
  EXPECT_EQ(peek(entry), Peek::kAsk);
}

TEST_F(KeyCacheTest, after_a_watch_has_ended_keys_are_as_old_as_what_it_had_announced_by_then) {
  cache.set_live(true, clock.now());
  const KeyRef entry = put(cache, "orders");
  clock.advance(24h);
  EXPECT_EQ(peek(entry), Peek::kServe);
  cache.set_live(false, clock.now() - 1s);
  clock.advance(cache.options().fresh_for - 1s);
  EXPECT_EQ(peek(entry), Peek::kServeAndRefresh);
}

TEST_F(KeyCacheTest, dropped_bytes_are_wiped_when_the_last_reply_is_out) {
  const KeyRef entry = put(cache, "orders");
  auto reply = cache.peek(*entry, clock.now());
  cache.drop(*entry);
  EXPECT_EQ(arena.usage().secrets, 1u);
  reply.key.reset();
  EXPECT_EQ(arena.usage().secrets, 0u);
  EXPECT_EQ(peek(entry), Peek::kAsk);
}

TEST_F(KeyCacheTest, a_full_cache_evicts_and_keeps_what_is_used) {
  const KeyRef used = put(cache, "used");
  for (int i = 0; i < 1000; ++i) {
    put(cache, "id" + std::to_string(i));
    ASSERT_NE(peek(used), Peek::kAsk) << i;
  }
  EXPECT_EQ(cache.usage().keys, 100u);
  EXPECT_EQ(arena.usage().secrets, 100u);
  EXPECT_EQ(cache.usage().evictions, 901u);
}

TEST_F(KeyCacheTest, a_cache_of_one_holds_the_last_key) {
  KeyCache one({.keys = 1});
  for (int i = 0; i < 50; ++i) {
    const KeyRef entry = put(one, "id" + std::to_string(i));
    EXPECT_EQ(one.peek(*entry, clock.now()).what, Peek::kServe);
    EXPECT_EQ(one.usage().keys, 1u);
  }
}

// That many ids that would be in one shard and one chain if the cache used `hash`.
template <class Hash>
std::vector<std::string> colliding(size_t count, const Hash& hash) {
  constexpr uint64_t kChain = 0xff | uint64_t{0x3f} << 40;
  std::vector<std::string> ids;
  for (uint64_t i = 0; ids.size() < count; ++i) {
    std::string id = "app-" + std::to_string(i);
    if ((hash(id) & kChain) == 0) ids.push_back(std::move(id));
  }
  return ids;
}

TEST_F(KeyCacheTest, ids_that_were_chosen_to_collide_do_not_slow_a_look_up) {
  const SipHash known;
  const SipHash secret(0x0123456789abcdef, 0xfedcba9876543210);
  const auto by_known = colliding(100, known);
  for (const auto& ids : {colliding(100, std::hash<std::string>()), by_known}) {
    KeyCache keyed({.hash = secret});
    std::vector<KeyRef> refs;
    for (const std::string& id : ids) refs.push_back(keyed.acquire(id));
    EXPECT_LE(keyed.longest_chain(), 8u);
  }
  KeyCache guessed({.hash = known});
  std::vector<KeyRef> refs;
  for (const std::string& id : by_known) refs.push_back(guessed.acquire(id));
  EXPECT_EQ(guessed.longest_chain(), 100u);  // the cost if the hash key were known
}

TEST_F(KeyCacheTest, shrink_wipes_as_many_as_it_is_asked_to) {
  for (int i = 0; i < 50; ++i) put(cache, "id" + std::to_string(i));
  EXPECT_EQ(cache.shrink(20), 20u);
  EXPECT_EQ(arena.usage().secrets, 30u);
  EXPECT_EQ(cache.shrink(100), 30u);
  EXPECT_EQ(arena.usage().secrets, 0u);
  EXPECT_EQ(cache.usage().entries, 0u);
}

TEST_F(KeyCacheTest, while_a_watch_is_live_nothing_needs_a_check) {
  cache.set_live(true, clock.now());
  const KeyRef entry = put(cache, "orders");
  clock.advance(48h);
  EXPECT_EQ(peek(entry), Peek::kServe);
  cache.set_live(false, clock.now());
  clock.advance(5min - 1ns);
  EXPECT_EQ(peek(entry), Peek::kServe);
  clock.advance(1ns);
  EXPECT_EQ(peek(entry), Peek::kServeAndRefresh);
}

TEST_F(KeyCacheTest, what_was_fetched_before_the_first_watch_is_checked_once) {
  const KeyRef entry = put(cache, "orders");
  cache.set_live(true, clock.now());
  EXPECT_EQ(peek(entry), Peek::kServeAndRefresh);
}

TEST_F(KeyCacheTest, after_a_gap_every_key_is_checked) {
  cache.set_live(true, clock.now());
  const KeyRef entry = put(cache, "orders");
  const uint32_t before = cache.epoch();
  cache.mark_gap();
  EXPECT_EQ(peek(entry), Peek::kServeAndRefresh);
  // An answer that the store gave before the gap does not count.
  cache.confirm(*entry, clock.now(), before);
  cache.refreshed(*entry);
  EXPECT_EQ(peek(entry), Peek::kServeAndRefresh);
  cache.confirm(*entry, clock.now(), cache.epoch());
  cache.refreshed(*entry);
  EXPECT_EQ(peek(entry), Peek::kServe);
}

TEST_F(KeyCacheTest, after_a_gap_a_key_is_as_old_as_what_the_feed_had_announced_before_it) {
  cache.set_live(true, clock.now());
  const KeyRef entry = put(cache, "orders");
  clock.advance(cache.options().serve_stale_for * 3);
  cache.set_live(false, clock.now());
  clock.advance(1s);
  cache.mark_gap();
  EXPECT_EQ(peek(entry), Peek::kServeAndRefresh) << "checked, and not fetched from a region";
  cache.refreshed(*entry);
  clock.advance(cache.options().serve_stale_for);
  EXPECT_EQ(peek(entry), Peek::kAsk);
  cache.mark_gap();
  EXPECT_EQ(peek(entry), Peek::kAsk);
}

TEST_F(KeyCacheTest, a_cached_32_byte_key_takes_at_most_400_bytes_of_which_128_are_locked) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the sanitizers' malloc does not tell what it gave";
#endif
  // The file system's own share is a map from node number to entry: 40 bytes with glibc's malloc.
  constexpr size_t kNode = 40;
  constexpr size_t kKeys = 20'000;
  KeyCache big({.fresh_for = 5min, .serve_stale_for = 24h, .keys = kKeys});
  const auto malloced = [] {
    const struct mallinfo2 info = ::mallinfo2();
    return info.uordblks + info.hblkhd;
  };
  const size_t locked_before = arena.usage().used_bytes;
  const size_t before = malloced();
  for (size_t i = 0; i < kKeys; ++i) {
    std::string id = std::to_string(i);
    id.insert(0, 36 - id.size(), 'u');  // as long as a UUID
    put(big, id);
  }
  const size_t all = malloced() - before;
  const size_t locked = (arena.usage().used_bytes - locked_before) / kKeys;
  ASSERT_EQ(big.usage().keys, kKeys);
  EXPECT_GE(locked, 32u);  // or nothing was measured
  EXPECT_LE(locked, 128u);
  EXPECT_GE(all / kKeys, sizeof(KeyEntry));
  EXPECT_LE(all / kKeys + locked + kNode, 400u);
}

TEST_F(KeyCacheTest, readers_and_a_writer_may_meet) {
  const KeyRef entry = put(cache, "orders");
  std::atomic<bool> stop{false};
  std::vector<std::thread> readers;
  for (int i = 0; i < 4; ++i) {
    readers.emplace_back([&] {
      while (!stop) {
        KeyRef ref = cache.acquire("orders");
        auto peeked = cache.peek(*ref, clock.now());
        if (peeked.key == nullptr) continue;
        // Whole, and never one that was wiped.
        const auto bytes = peeked.key->key.reveal();
        for (const uint8_t byte : bytes) ASSERT_EQ(byte, bytes[0]);
        ASSERT_NE(bytes[0], 0);
        KeyRef other = cache.acquire("other" + std::to_string(bytes[0] % 7));
      }
    });
  }
  for (int i = 0; i < 2000; ++i) {
    switch (i % 4) {
      case 0:
        cache.put(*entry, key(1, static_cast<uint8_t>(1 + i % 250)), clock.now(), cache.epoch());
        break;
      case 1:
        cache.revoke(*entry, clock.now(), cache.epoch());
        break;
      case 2:
        cache.put(*entry, key(1, static_cast<uint8_t>(1 + i % 250)), clock.now(), cache.epoch());
        cache.shrink(1);
        break;
      case 3:
        put(cache, "other" + std::to_string(i % 7));
        break;
    }
  }
  stop = true;
  for (std::thread& reader : readers) reader.join();
}

}  // namespace
}  // namespace keyfs
