#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <set>
#include <thread>
#include <vector>

#include "fs/mount/fixture.h"
#include "fs/mount/inode_ids.h"
#include "fs/mount/inode_table.h"

namespace keyfs {
namespace {

using testing::TemporaryDirectory;

constexpr WallTime kNow{std::chrono::milliseconds(1'780'000'000'000)};

std::string contents(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(InodeIds, no_two_starts_share_a_block) {
  const TemporaryDirectory dir;
  std::set<uint64_t> firsts;
  for (int i = 0; i < 20; ++i) {
    const auto ids = take_inode_ids(dir.path(), kNow);
    ASSERT_TRUE(ids) << ids.error().message;
    EXPECT_TRUE(firsts.insert(ids->first >> InodeIds::kBits).second);
    EXPECT_EQ(ids->first & ((uint64_t{1} << InodeIds::kBits) - 1), 0U);
    EXPECT_GT(ids->first, uint64_t{1} << InodeIds::kBits);
  }
}

TEST(InodeIds, daemons_that_start_together_on_one_directory_get_different_blocks) {
  const TemporaryDirectory dir;
  std::vector<uint64_t> firsts(8);
  std::vector<std::thread> starts;
  for (auto& first : firsts) {
    starts.emplace_back([&] { first = take_inode_ids(dir.path(), kNow)->first; });
  }
  for (auto& start : starts) start.join();
  EXPECT_EQ(std::set<uint64_t>(firsts.begin(), firsts.end()).size(), firsts.size());
}

TEST(InodeIds, a_lost_file_does_not_bring_old_ids_back) {
  const TemporaryDirectory dir;
  const auto before = take_inode_ids(dir.path(), kNow);
  ASSERT_TRUE(before);
  std::filesystem::remove(dir.path() + "/node_ids");
  const auto after = take_inode_ids(dir.path(), kNow + std::chrono::minutes(2));
  ASSERT_TRUE(after);
  EXPECT_GT(after->first, before->first);
}

TEST(InodeIds, a_file_of_somebody_else_is_neither_used_nor_overwritten) {
  const TemporaryDirectory dir;
  for (const std::string text :
       {"", "hello\n", "keyfs node ids 1 \n", "keyfs node ids 1 0\n", "keyfs node ids 1 12",
        "keyfs node ids 1 99999999999999999999\n"}) {
    std::ofstream(dir.path() + "/node_ids") << text;
    const auto ids = take_inode_ids(dir.path(), kNow);
    ASSERT_FALSE(ids) << text;
    EXPECT_EQ(ids.error().code, Code::kCorrupt);
    const auto looked_at = check_inode_ids(dir.path());
    ASSERT_FALSE(looked_at) << text;
    EXPECT_EQ(looked_at.error().message, ids.error().message);
    EXPECT_EQ(contents(dir.path() + "/node_ids"), text);
  }
}

TEST(InodeIds, a_look_at_the_file_takes_nothing) {
  const TemporaryDirectory dir;
  EXPECT_TRUE(check_inode_ids(dir.path() + "/none"));
  EXPECT_TRUE(check_inode_ids(dir.path()));
  EXPECT_FALSE(std::filesystem::exists(dir.path() + "/node_ids"));
  ASSERT_TRUE(take_inode_ids(dir.path(), kNow));
  const std::string before = contents(dir.path() + "/node_ids");
  EXPECT_TRUE(check_inode_ids(dir.path()));
  EXPECT_EQ(contents(dir.path() + "/node_ids"), before);
  std::ofstream(dir.path() + "/node_ids") << "keyfs node ids 1 33554432\n";
  const auto used_up = check_inode_ids(dir.path());
  ASSERT_FALSE(used_up);
  EXPECT_EQ(used_up.error().message, take_inode_ids(dir.path(), kNow).error().message);
}

TEST(InodeIds, a_fifo_in_the_place_of_the_file_is_refused_and_not_waited_for) {
  const TemporaryDirectory dir;
  ASSERT_EQ(::mkfifo((dir.path() + "/node_ids").c_str(), 0600), 0);
  const auto ids = take_inode_ids(dir.path(), kNow);
  ASSERT_FALSE(ids);
  EXPECT_EQ(ids.error().code, Code::kCorrupt);
  EXPECT_NE(ids.error().message.find("node_ids: is not a regular file"), std::string::npos);
}

TEST(InodeIds, a_directory_that_is_not_there_is_named) {
  const auto ids = take_inode_ids("/nonexistent/state", kNow);
  ASSERT_FALSE(ids);
  EXPECT_NE(ids.error().message.find("/nonexistent/state"), std::string::npos);
}

class InodeTableTest : public ::testing::Test {
 protected:
  KeyCache cache{CacheOptions()};
  InodeTable table{InodeIds{uint64_t{5} << InodeIds::kBits}};
};

TEST_F(InodeTableTest, a_key_keeps_its_id_while_the_kernel_knows_it) {
  const KeyRef key = cache.acquire("orders");
  const Inode* inode = table.look_up(key);
  EXPECT_EQ(table.look_up(key), inode);
  EXPECT_EQ(table.find(inode->id), inode);
  EXPECT_EQ(table.size(), 1U);
  table.forget(inode->id, 1);
  EXPECT_EQ(table.find(inode->id), inode);
}

TEST_F(InodeTableTest, an_id_is_gone_with_its_last_reference_and_never_comes_again) {
  std::set<uint64_t> seen;
  for (int i = 0; i < 5'000; ++i) {  // over several leaves
    const KeyRef key = cache.acquire("orders");
    table.look_up(key);
    const uint64_t id = table.look_up(key)->id;
    EXPECT_TRUE(seen.insert(id).second);
    table.forget(id, 2);
    EXPECT_EQ(table.find(id), nullptr);
  }
  EXPECT_EQ(table.size(), 0U);
}

TEST_F(InodeTableTest, forgetting_the_last_reference_lets_go_of_the_keys_entry) {
  const uint64_t id = table.look_up(cache.acquire("orders"))->id;
  EXPECT_EQ(cache.usage().entries, 1U);
  table.forget(id, 1);
  EXPECT_EQ(cache.usage().entries, 0U);
}

TEST_F(InodeTableTest, no_two_names_that_are_known_have_the_same_number) {
  const auto [one, other] = testing::names_of_one_number("key-");
  const Inode* first = table.look_up(cache.acquire(one));
  const Inode* second = table.look_up(cache.acquire(other));
  EXPECT_EQ(first->file_number(), file_number(one));
  EXPECT_EQ(second->file_number(), second->id);
  table.forget(first->id, 1);
  EXPECT_EQ(table.look_up(cache.acquire(other))->file_number(), second->id) << "it keeps its own";
  table.forget(second->id, 2);
  EXPECT_EQ(table.look_up(cache.acquire(other))->file_number(), file_number(other));
}

TEST_F(InodeTableTest, each_place_of_a_key_is_one_node_that_never_comes_again) {
  const KeyRef key = cache.acquire("orders");
  std::set<uint64_t> seen;
  for (int i = 0; i < 100; ++i) {
    Inode* plain = table.look_up(key);
    std::vector<ViewInode*> views;
    for (const View view : {View::kHex, View::kBase64, View::kVersions, View::kCurrent}) {
      views.push_back(table.look_up(key, view, 0, kVersionsNode));
    }
    for (const uint32_t version : {1U, 2U, 4'294'967'295U}) {
      views.push_back(table.look_up(key, View::kVersion, version, views[2]->id));
      EXPECT_EQ(views.back()->version(), version);
      EXPECT_EQ(views.back()->name(), std::to_string(version));
      EXPECT_EQ(table.look_up(key, View::kVersion, version, views[2]->id), views.back());
      table.forget(views.back()->id, 1);
    }
    size_t visited = 0;
    table.for_each_view(*key, [&](ViewInode&) { ++visited; });
    EXPECT_EQ(visited, views.size());
    EXPECT_EQ(table.lone(), views.size());
    EXPECT_TRUE(seen.insert(plain->id).second);
    std::set<uint64_t> numbers{plain->file_number()};
    for (ViewInode* view : views) {
      EXPECT_TRUE(seen.insert(view->id).second);
      EXPECT_TRUE(numbers.insert(view->file_number()).second);
      EXPECT_EQ(table.find(view->id), view);
      bool known = false;
      table.if_known(view->id, key, [&](Inode& inode) { known = &inode == view; });
      EXPECT_TRUE(known);
    }
    table.forget(plain->id, 1);
    for (ViewInode* view : views) {
      const uint64_t id = view->id;
      table.forget(id, 1);
      EXPECT_EQ(table.find(id), nullptr);
      table.if_known(id, key, [](Inode&) { ADD_FAILURE(); });
    }
  }
  EXPECT_EQ(table.size(), 0U);
  EXPECT_EQ(table.lone(), 0U);
}

TEST_F(InodeTableTest, unknown_ids_are_nothing) {
  for (const uint64_t id : {uint64_t{0}, uint64_t{1}, uint64_t{5} << InodeIds::kBits,
                            (uint64_t{6} << InodeIds::kBits), UINT64_MAX}) {
    EXPECT_EQ(table.find(id), nullptr);
    table.forget(id, 1);
  }
}

TEST_F(InodeTableTest, every_known_inode_is_visited_once) {
  std::set<uint64_t> expected;
  for (int i = 0; i < 3'000; ++i) {
    expected.insert(table.look_up(cache.acquire("key-" + std::to_string(i)))->id);
  }
  std::set<uint64_t> visited;
  table.for_each([&](Inode& inode) { EXPECT_TRUE(visited.insert(inode.id).second); });
  EXPECT_EQ(visited, expected);
}

TEST_F(InodeTableTest, lookups_and_forgets_of_many_threads_add_up) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 20'000; ++i) {
        const KeyRef key = cache.acquire("key-" + std::to_string((i * 7 + t) % 50));
        const Inode* inode = table.look_up(key);
        EXPECT_EQ(table.find(inode->id), inode);
        EXPECT_EQ(inode->entry, key);
        const Inode* view = table.look_up(key, View::kVersion, 1 + i % 3, kVersionsNode);
        EXPECT_EQ(table.find(view->id), view);
        if (i % 1'000 == 0) table.for_each([](Inode&) {});
        table.forget(view->id, 1);
        table.forget(inode->id, 1);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(table.size(), 0U);
  EXPECT_EQ(cache.usage().entries, 0U);
}

}  // namespace
}  // namespace keyfs
