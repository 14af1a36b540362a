// The versions of one key in the cache: one confirmation for all, each counted and evicted.
#include <gtest/gtest.h>
#include <malloc.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "fs/keys/key_cache.h"
#include "support/fake_clock.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;
using Peek = KeyCache::Peek;
using Numbers = std::vector<uint32_t>;

struct KeyCacheVersions : ::testing::Test {
  SharedKey key(uint32_t version) {
    auto made = std::make_shared<DataKey>();
    made->key = std::move(*arena.allocate(32));
    for (uint8_t& byte : made->key.reveal_mutable()) byte = static_cast<uint8_t>(version);
    made->version = version;
    return made;
  }
  // Of `last` versions, as one that keyfs wrote.
  static Record record(uint32_t current, uint32_t last, uint32_t min = 0, uint64_t serial = 0) {
    Record made;
    made.id = "orders";
    made.current = current;
    made.last = last;
    made.min = min;
    made.serial = serial != 0 ? serial : last;
    for (uint32_t n = 1; n <= last; ++n) {
      made.versions[n].bytes = 32;
      made.versions[n].check.emplace().fill(static_cast<uint8_t>(n));
      made.versions[n].promoted = "then";
    }
    return made;
  }
  void put(KeyCache& into, const KeyRef& entry, uint32_t version) {
    into.put(*entry, key(version), clock.now(), into.epoch());
  }
  // As read through a rotation: 1, ..., `last` are cached, the last one as the current one.
  KeyRef rotated(KeyCache& into, uint32_t last, const std::string& id = "orders") {
    KeyRef entry = into.acquire(id);
    for (uint32_t n = 1; n <= last; ++n) {
      into.follow(*entry, record(n, n));
      put(into, entry, n);
    }
    return entry;
  }
  Peek peek(const KeyRef& entry, uint32_t version = 0) {
    return cache.peek(*entry, clock.now(), version).what;
  }
  // Which version is served; 0: none.
  uint32_t served(const KeyRef& entry, uint32_t version = 0) {
    const auto peeked = cache.peek(*entry, clock.now(), version);
    return peeked.key != nullptr ? peeked.key->version : 0;
  }

  SecretArena arena;
  FakeClock clock;
  KeyCache cache{{.fresh_for = 5min, .serve_stale_for = 24h, .keys = 100}};
};

TEST_F(KeyCacheVersions, after_a_rotation_each_version_is_served_by_its_number) {
  const KeyRef entry = rotated(cache, 3);
  EXPECT_EQ(served(entry), 3u);
  for (const uint32_t n : {1u, 2u, 3u}) EXPECT_EQ(served(entry, n), n);
  EXPECT_EQ(peek(entry, 4), Peek::kAsk);
  EXPECT_EQ(cache.usage().keys, 3u);
  EXPECT_EQ(cache.usage().entries, 1u);
  EXPECT_EQ(arena.usage().secrets, 3u);
}

TEST_F(KeyCacheVersions, a_new_current_version_that_is_not_cached_must_be_asked_for) {
  const KeyRef entry = rotated(cache, 1);
  const auto news = cache.follow(*entry, record(2, 2));
  EXPECT_EQ(news.from, 1u);
  EXPECT_EQ(news.to, 2u);
  EXPECT_EQ(news.ended, Numbers{});
  EXPECT_EQ(peek(entry), Peek::kAsk) << "never the old one under the plain name";
  EXPECT_EQ(served(entry, 1), 1u);
  put(cache, entry, 2);
  EXPECT_EQ(served(entry), 2u);
  EXPECT_EQ(served(entry, 1), 1u);
}

TEST_F(KeyCacheVersions, a_promoted_older_version_is_served_from_the_cache) {
  const KeyRef entry = rotated(cache, 2);
  const auto news = cache.follow(*entry, record(1, 2, 0, 3));
  EXPECT_EQ(news.from, 2u);
  EXPECT_EQ(news.to, 1u);
  EXPECT_EQ(served(entry), 1u);
  EXPECT_EQ(served(entry, 2), 2u);
  EXPECT_EQ(cache.usage().keys, 2u);
}

TEST_F(KeyCacheVersions, a_record_that_goes_back_changes_nothing) {
  const KeyRef entry = rotated(cache, 2);
  const auto news = cache.follow(*entry, record(1, 1));
  EXPECT_EQ(news.from, 0u);
  EXPECT_EQ(served(entry), 2u);
  EXPECT_EQ(cache.known(*entry, clock.now()).memory.version, 2u);
}

TEST_F(KeyCacheVersions, a_retired_version_is_wiped_at_once_and_the_others_go_on) {
  const KeyRef entry = rotated(cache, 3);
  auto reply = cache.peek(*entry, clock.now(), 2);
  EXPECT_EQ(cache.follow(*entry, record(3, 3, 3, 4)).ended, (Numbers{1, 2}));
  EXPECT_EQ(arena.usage().secrets, 2u);
  reply.key.reset();
  EXPECT_EQ(arena.usage().secrets, 1u);
  EXPECT_EQ(cache.usage().keys, 1u);
  EXPECT_EQ(peek(entry, 1), Peek::kRevoked);
  EXPECT_EQ(peek(entry, 2), Peek::kRevoked);
  EXPECT_EQ(served(entry), 3u);
  EXPECT_EQ(cache.follow(*entry, record(3, 3, 3, 4)).ended, Numbers{}) << "told once";
  clock.advance(KeyCache::kRevokedFor);
  EXPECT_EQ(peek(entry, 1), Peek::kAsk) << "retiring is reversible";
  EXPECT_EQ(served(entry), 3u);
  cache.follow(*entry, record(3, 3, 1, 5));
  EXPECT_EQ(peek(entry, 1), Peek::kAsk);
  cache.put_older(*entry, key(1), clock.now(), cache.epoch());
  EXPECT_EQ(served(entry, 1), 1u);
}

TEST_F(KeyCacheVersions, a_live_watch_would_tell_that_a_version_is_no_longer_retired) {
  cache.set_live(true, clock.now());
  const KeyRef entry = rotated(cache, 2);
  cache.follow(*entry, record(2, 2, 2, 3));
  clock.advance(24h);
  EXPECT_EQ(peek(entry, 1), Peek::kRevoked);
  EXPECT_EQ(served(entry), 2u);
  cache.mark_gap();
  EXPECT_EQ(peek(entry, 1), Peek::kAsk);
}

TEST_F(KeyCacheVersions, a_destroyed_version_is_wiped_at_once_and_the_others_go_on) {
  const KeyRef entry = rotated(cache, 2);
  Record destroyed = record(2, 2, 0, 3);
  destroyed.versions.at(1).destroyed = "now";
  EXPECT_EQ(cache.follow(*entry, destroyed).ended, Numbers{1});
  EXPECT_EQ(cache.follow(*entry, destroyed).ended, Numbers{}) << "told once, though above min";
  EXPECT_EQ(arena.usage().secrets, 1u);
  EXPECT_EQ(peek(entry, 1), Peek::kAsk);
  EXPECT_EQ(served(entry), 2u);
}

TEST_F(KeyCacheVersions, one_confirmation_is_for_all_versions) {
  const KeyRef entry = rotated(cache, 2);
  clock.advance(5min);
  EXPECT_EQ(peek(entry, 1), Peek::kServeAndRefresh);
  EXPECT_EQ(peek(entry), Peek::kServe) << "one check at a time";
  EXPECT_TRUE(cache.confirm(*entry, clock.now(), cache.epoch()));
  cache.refreshed(*entry);
  EXPECT_EQ(peek(entry, 1), Peek::kServe);
  EXPECT_EQ(peek(entry, 2), Peek::kServe);
  clock.advance(24h + 1ns);
  EXPECT_EQ(peek(entry, 1), Peek::kAsk);
  EXPECT_EQ(peek(entry, 2), Peek::kAsk);
}

TEST_F(KeyCacheVersions,
       an_older_confirmation_that_comes_with_one_version_does_not_age_the_others) {
  const KeyRef entry = rotated(cache, 2);
  const TimePoint fetched = clock.now();
  clock.advance(1h);
  cache.confirm(*entry, clock.now(), cache.epoch());
  cache.put_older(*entry, key(1), fetched, cache.epoch());
  clock.advance(23h + 30min);
  EXPECT_EQ(served(entry), 2u);
}

TEST_F(KeyCacheVersions, revoking_and_dropping_wipe_all_versions) {
  KeyRef entry = rotated(cache, 3);
  cache.revoke(*entry, clock.now(), cache.epoch());
  EXPECT_EQ(arena.usage().secrets, 0u);
  EXPECT_EQ(cache.usage().keys, 0u);
  for (const uint32_t n : {0u, 1u, 2u, 3u}) EXPECT_EQ(peek(entry, n), Peek::kRevoked);
  put(cache, entry, 3);
  cache.put_older(*entry, key(1), clock.now(), cache.epoch());
  EXPECT_EQ(cache.usage().keys, 2u);
  cache.drop(*entry);
  EXPECT_EQ(arena.usage().secrets, 0u);
  EXPECT_EQ(cache.usage().keys, 0u);
  entry.reset();
  EXPECT_EQ(cache.usage().entries, 0u);
}

TEST_F(KeyCacheVersions, each_version_counts_and_is_evicted_like_any_key) {
  const KeyRef used = rotated(cache, 3, "used");
  for (int i = 0; i < 1000; ++i) {
    rotated(cache, 1, "id" + std::to_string(i));
    ASSERT_EQ(served(used, 1), 1u) << i;
    ASSERT_EQ(served(used), 3u) << i;
  }
  EXPECT_EQ(served(used, 2), 0u) << "nobody reads it";
  EXPECT_EQ(cache.usage().keys, 100u);
  EXPECT_EQ(arena.usage().secrets, 100u);
  EXPECT_EQ(cache.usage().evictions, 903u);
}

TEST_F(KeyCacheVersions, a_cache_of_one_holds_the_last_version) {
  KeyCache one({.keys = 1});
  const KeyRef entry = rotated(one, 5);
  EXPECT_EQ(one.usage().keys, 1u);
  EXPECT_EQ(arena.usage().secrets, 1u);
  EXPECT_EQ(one.peek(*entry, clock.now()).what, Peek::kServe);
  one.put_older(*entry, key(1), clock.now(), one.epoch());
  EXPECT_EQ(one.usage().keys, 1u);
  EXPECT_EQ(one.peek(*entry, clock.now(), 1).what, Peek::kServe);
  EXPECT_EQ(one.peek(*entry, clock.now()).what, Peek::kAsk);
}

TEST_F(KeyCacheVersions, shrink_wipes_versions_one_by_one_until_the_entry_is_gone) {
  rotated(cache, 5);
  EXPECT_EQ(cache.shrink(2), 2u);
  EXPECT_EQ(cache.usage().keys, 3u);
  EXPECT_EQ(cache.shrink(100), 3u);
  EXPECT_EQ(arena.usage().secrets, 0u);
  EXPECT_EQ(cache.usage().entries, 0u);
}

TEST_F(KeyCacheVersions, an_older_version_takes_at_most_400_bytes) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the sanitizers' malloc does not tell what it gave";
#endif
  constexpr size_t kKeys = 5'000;
  KeyCache big({.keys = 2 * kKeys});
  std::vector<KeyRef> refs;
  for (size_t i = 0; i < kKeys; ++i) refs.push_back(rotated(big, 1, "id" + std::to_string(i)));
  const auto malloced = [] {
    const struct mallinfo2 info = ::mallinfo2();
    return info.uordblks + info.hblkhd;
  };
  const size_t locked_before = arena.usage().used_bytes;
  const size_t before = malloced();
  for (const KeyRef& entry : refs) {
    big.follow(*entry, record(2, 2));
    put(big, entry, 2);
  }
  ASSERT_EQ(big.usage().keys, 2 * kKeys);
  EXPECT_LE((malloced() - before + arena.usage().used_bytes - locked_before) / kKeys, 400u);
}

TEST_F(KeyCacheVersions, readers_of_every_version_and_a_writer_may_meet) {
  const KeyRef entry = rotated(cache, 2);
  std::atomic<bool> stop{false};
  std::vector<std::thread> readers;
  for (uint32_t version = 0; version < 4; ++version) {
    readers.emplace_back([&, version] {
      while (!stop) {
        const auto peeked = cache.peek(*entry, clock.now(), version);
        if (peeked.key == nullptr) continue;
        const uint32_t wanted = version != 0 ? version : peeked.key->version;
        ASSERT_EQ(peeked.key->version, wanted);
        for (const uint8_t byte : peeked.key->key.reveal()) ASSERT_EQ(byte, peeked.key->version);
      }
    });
  }
  uint64_t serial = 10;
  for (uint32_t i = 0; i < 2000; ++i) {
    const uint32_t current = 2 + i % 2;
    cache.follow(*entry, record(current, 3, i % 5 == 0 ? 2 : 1, ++serial));
    put(cache, entry, current);
    if (i % 5 != 0) cache.put_older(*entry, key(1), clock.now(), cache.epoch());
    if (i % 7 == 0) cache.shrink(1);
    if (i % 11 == 0) cache.revoke(*entry, clock.now(), cache.epoch());
  }
  stop = true;
  for (std::thread& reader : readers) reader.join();
}

}  // namespace
}  // namespace keyfs
