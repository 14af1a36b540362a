#include "fs/rotation/consumers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <string>
#include <thread>

#include "fs/rotation/consumers_fixture.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;
using testing::Child;
using testing::comes_true;
using testing::ConsumersTest;
using testing::contents;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::rules_of;
using testing::sleeper;
using testing::write_text;

constexpr auto kApp = "[consumer app]\nmatch = uid:0\nrefresh = watch\n";

TEST_F(ConsumersTest, who_has_opened_a_key_is_told_until_it_has_opened_the_new_version) {
  start(kApp);
  Child child(sleeper());
  EXPECT_THAT(told(key("orders", 2)), IsEmpty());
  open(info_of(child.pid()), "orders", 1);
  EXPECT_THAT(told(key("orders", 2)), ElementsAre("app"));
  EXPECT_THAT(told(key("tls", 2)), IsEmpty());
  EXPECT_THAT(told(key("orders", 0)), IsEmpty());  // it was not rotated
  EXPECT_THAT(consumers_->keys_in_use(), ElementsAre("orders"));
  open(info_of(child.pid()), "orders", 2);
  EXPECT_THAT(told(key("orders", 2)), IsEmpty());
}

TEST_F(ConsumersTest, each_key_of_the_run_is_named_by_its_place) {
  start(kApp);
  open(info_of(0), "tls", 1);
  open(info_of(0), "orders", 1);
  const std::vector<KeyVersion> keys{{"a", 2}, {"orders", 2}, {"b", 2}, {"tls", 2}};
  const auto all = consumers_->to_tell(keys);
  ASSERT_EQ(all.size(), 1u);
  EXPECT_THAT(all[0].keys, ElementsAre(1u, 3u));
  EXPECT_EQ(all[0].timeout, 30s);
}

TEST_F(ConsumersTest, one_process_that_is_left_with_the_old_version_is_enough_to_be_told) {
  start(kApp);
  Child first(sleeper());
  Child second(sleeper());
  open(info_of(first.pid()), "orders", 1);
  open(info_of(second.pid()), "orders", 1);
  open(info_of(first.pid()), "orders", 2);
  EXPECT_THAT(told(key("orders", 2)), ElementsAre("app"));
  const auto behind = consumers_->behind("app", key("orders", 2), TimePoint::max());
  ASSERT_EQ(behind.size(), 1u);
  EXPECT_THAT(behind[0].pids, ElementsAre(second.pid()));
  EXPECT_TRUE(behind[0].opened_by_any);
  second.end();  // whoever has ended uses nothing
  EXPECT_THAT(told(key("orders", 2)), IsEmpty());
}

TEST_F(ConsumersTest, a_consumer_that_is_not_confirmed_by_opening_is_told_in_any_case) {
  start("[consumer app]\nmatch = uid:0\nrefresh = exec:/bin/true\nconfirm = exit\n");
  open(info_of(0), "orders", 2);
  EXPECT_THAT(told(key("orders", 2)), ElementsAre("app"));
}

TEST_F(ConsumersTest, a_section_that_fits_nobody_who_opened_a_key_is_not_told) {
  start(kApp);
  open(info_of(0), "orders", 1, 0, 1000);
  EXPECT_THAT(told(key("orders", 2)), IsEmpty());
  const auto all = consumers_->list();
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].who.uid, 1000u);
  EXPECT_THAT(all[0].sections, IsEmpty());
  EXPECT_THAT(all[0].keys, ElementsAre(KeyVersion{"orders", 1}));
}

TEST_F(ConsumersTest, a_process_that_opens_as_two_users_is_one_process) {
  start("[consumer app]\nmatch = unit:app.service\nrefresh = watch\n");
  Child child(sleeper());
  const auto info = [&] { return info_of(child.pid(), "/system.slice/app.service"); };
  open(info(), "orders", 1, 0, 0);
  open(info(), "orders", 2, 0, 33);  // it has dropped its rights
  EXPECT_THAT(told(key("orders", 2)), IsEmpty());
}

TEST_F(ConsumersTest, an_old_version_opened_by_number_is_decryption_and_not_a_step_back) {
  start(kApp, {}, [](const KeyEntry&) { return 2u; });
  Child child(sleeper());
  open(info_of(child.pid()), "orders", 2);
  open(info_of(child.pid()), "orders", 1, 1);
  EXPECT_THAT(told(key("orders", 2)), IsEmpty());
}

TEST_F(ConsumersTest, the_current_version_opened_by_number_is_use) {
  start(kApp, {}, [](const KeyEntry&) { return 2u; });
  Child child(sleeper());
  open(info_of(child.pid()), "orders", 1, 1);
  EXPECT_THAT(told(key("orders", 2)), IsEmpty());  // it only decrypts with it
  open(info_of(child.pid()), "orders", 2, 2);
  EXPECT_THAT(consumers_->keys_in_use(), ElementsAre("orders"));
  EXPECT_THAT(told(key("orders", 3)), ElementsAre("app"));
}

TEST_F(ConsumersTest, going_back_to_an_older_version_is_confirmed_by_that_version) {
  start(kApp);
  Child child(sleeper());
  open(info_of(child.pid()), "orders", 3);
  EXPECT_THAT(told(key("orders", 2)), ElementsAre("app"));
  const TimePoint since = consumers_->look_closely();
  EXPECT_FALSE(consumers_->behind("app", key("orders", 2), since).empty());
  open(info_of(child.pid()), "orders", 2);
  EXPECT_TRUE(consumers_->behind("app", key("orders", 2), since).empty());
}

TEST_F(ConsumersTest, a_newer_version_than_the_wanted_one_confirms_if_it_was_opened_since) {
  start(kApp);
  Child child(sleeper());
  const TimePoint since = consumers_->look_closely();
  open(info_of(child.pid()), "orders", 4);
  EXPECT_TRUE(consumers_->behind("app", key("orders", 3), since).empty());
}

TEST_F(ConsumersTest, the_waiter_goes_on_as_soon_as_the_version_is_opened) {
  start(kApp);
  Child child(sleeper());
  open(info_of(child.pid()), "orders", 1);
  const auto info = info_of(child.pid());
  std::thread opener([&] {
    std::this_thread::sleep_for(100ms);
    open(info, "orders", 2);
  });
  const TimePoint begin = loop_.now();
  const auto missing = loop_.run_task(
      consumers_->confirmed("app", key("orders", 2), begin, begin + std::chrono::seconds(30)));
  opener.join();
  EXPECT_THAT(missing, IsEmpty());
  EXPECT_LT(loop_.now() - begin, 10s);
}

TEST_F(ConsumersTest, the_waiter_ends_at_its_deadline_and_says_who_is_behind) {
  start(kApp);
  Child child(sleeper());
  open(info_of(child.pid()), "orders", 1);
  const TimePoint begin = loop_.now();
  const auto missing =
      loop_.run_task(consumers_->confirmed("app", key("orders", 2), begin, begin + 200ms));
  ASSERT_EQ(missing.size(), 1u);
  EXPECT_EQ(missing[0].uses, 1u);
  EXPECT_THAT(missing[0].pids, ElementsAre(child.pid()));
  EXPECT_FALSE(missing[0].opened_by_any);
}

TEST_F(ConsumersTest, the_same_opening_again_is_not_told_again_until_somebody_looks_closely) {
  start(kApp);
  Child child(sleeper());
  const auto info = info_of(child.pid());
  for (int i = 0; i < 100; ++i) open(info, "orders", 3);
  consumers_->list();
  const TimePoint since = consumers_->look_closely();
  // Not its version: only an opening after `since` shows that it looked again.
  EXPECT_FALSE(consumers_->behind("app", key("orders", 2), since).empty());
  open(info, "orders", 3);
  EXPECT_TRUE(consumers_->behind("app", key("orders", 2), since).empty());
}

TEST_F(ConsumersTest, many_threads_open_at_once_and_nothing_is_lost) {
  start(kApp);
  constexpr int kThreads = 4;
  constexpr int kKeys = 200;
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, info = info_of(0)] {
      for (int k = 0; k < kKeys; ++k) open(info, "key-" + std::to_string(k), 1);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(comes_true([&] { return consumers_->keys_in_use().size() == kKeys; }));
  EXPECT_EQ(consumers_->status().missed, 0u);
}

TEST_F(ConsumersTest, a_restart_knows_who_used_what_and_which_processes_run_still) {
  start(kApp);
  Child stays(sleeper());
  Child goes(sleeper());
  open(info_of(stays.pid()), "orders", 1);
  open(info_of(goes.pid()), "orders", 1);
  ASSERT_TRUE(save());
  goes.end();
  start(kApp);
  EXPECT_THAT(told(key("orders", 2)), ElementsAre("app"));
  const auto running = consumers_->running("app", key("orders", 2));
  ASSERT_EQ(running.size(), 1u);
  EXPECT_EQ(running[0].process.pid, stays.pid());
  EXPECT_EQ(running[0].program, program_of(stays.pid()));
}

TEST_F(ConsumersTest, the_file_is_ours_alone_and_is_written_only_for_news) {
  start(kApp);
  Child child(sleeper());
  open(info_of(child.pid()), "orders", 1);
  ASSERT_TRUE(save());
  struct stat before {};
  ASSERT_EQ(::stat(file().c_str(), &before), 0);
  EXPECT_EQ(before.st_mode & 07777, 0600u);
  EXPECT_EQ(before.st_uid, ::geteuid());
  ASSERT_TRUE(save());
  struct stat after {};
  ASSERT_EQ(::stat(file().c_str(), &after), 0);
  EXPECT_EQ(before.st_ino, after.st_ino);
}

TEST_F(ConsumersTest, what_was_opened_is_kept_by_itself_within_seconds) {
  start(kApp);
  loop_.spawn(consumers_->keep());
  open(info_of(0), "orders", 1);
  const auto pause = [](Loop& loop) -> Task<bool> {
    co_await loop.sleep_for(20ms);
    co_return true;
  };
  EXPECT_TRUE(comes_true([&] {
    loop_.run_task(pause(loop_));
    return contents(file()).find("orders") != std::string::npos;
  }));
}

TEST_F(ConsumersTest, a_new_program_is_kept_at_once) {
  start(kApp);
  loop_.spawn(consumers_->keep());
  const auto pause = [](Loop& loop) -> Task<bool> {
    co_await loop.sleep_for(20ms);
    co_return true;
  };
  loop_.run_task(pause(loop_));
  open(info_of(0), "orders", 1);
  const TimePoint begin = loop_.now();
  EXPECT_TRUE(comes_true([&] {
    loop_.run_task(pause(loop_));
    return contents(file()).find("orders") != std::string::npos;
  }));
  EXPECT_LT(loop_.now() - begin, 1800ms);  // all else is written after two seconds
}

TEST_F(ConsumersTest, a_damaged_file_is_set_aside_and_told_and_a_torn_one_never_seen) {
  write_text(file(), "{\"keyfs_consumers\":1,\"epo");
  start(kApp);
  EXPECT_TRUE(log_.has("which programs use keys is learned anew"));
  EXPECT_EQ(contents(file() + ".damaged"), "{\"keyfs_consumers\":1,\"epo");
  open(info_of(0), "orders", 1);
  EXPECT_TRUE(save());
  start(kApp);
  EXPECT_THAT(told(key("orders", 2)), ElementsAre("app"));
}

TEST_F(ConsumersTest, a_file_that_others_may_write_is_not_believed) {
  start(kApp);
  open(info_of(0), "orders", 1);
  ASSERT_TRUE(save());
  ::chmod(file().c_str(), 0666);
  start(kApp);
  EXPECT_THAT(told(key("orders", 2)), IsEmpty());
  EXPECT_TRUE(log_.has("chmod go-w"));
}

TEST_F(ConsumersTest, a_link_in_place_of_the_file_is_neither_read_nor_written_through) {
  const std::string other = folder_.file("other");
  write_text(other, "precious");
  std::filesystem::create_symlink(other, file());
  start(kApp);
  EXPECT_TRUE(log_.has("symbolic link"));
  open(info_of(0), "orders", 1);
  EXPECT_TRUE(save());
  EXPECT_EQ(contents(other), "precious");
}

TEST_F(ConsumersTest, a_file_that_is_anothers_by_now_is_left_alone_and_what_is_not_in_it_is_known) {
  start(kApp);
  std::atomic<bool> ours = true;
  consumers_->write_while([&ours]() -> Result<void> {
    if (ours) return {};
    return fail(Code::kUnavailable, "another has it");
  });
  open(info_of(0), "orders", 1);
  ASSERT_TRUE(save());
  EXPECT_FALSE(consumers_->has_unwritten());
  const std::string before = contents(file());
  ours = false;
  open(info_of(0), "orders", 2);  // nobody new
  EXPECT_FALSE(save());
  EXPECT_FALSE(consumers_->has_unwritten());
  open(info_of(0), "bills", 1);
  EXPECT_FALSE(save());
  EXPECT_TRUE(consumers_->has_unwritten());
  EXPECT_EQ(contents(file()), before);
  EXPECT_THAT(told(key("bills", 2)), ElementsAre("app"));
  ours = true;
  EXPECT_TRUE(save());
  EXPECT_FALSE(consumers_->has_unwritten());
}

TEST_F(ConsumersTest, a_disk_that_takes_nothing_is_told_once_and_changes_nothing_else) {
  rules_ = rules_of(kApp);
  consumers_ = Consumers::open(loop_, log_.log(), rules_, folder_.file("no/such/consumers.json"));
  open(info_of(0), "orders", 1);
  EXPECT_FALSE(save());
  EXPECT_FALSE(save());
  EXPECT_EQ(log_.count("could not save which programs use keys"), 1u);
  EXPECT_NE(consumers_->status().save_error, "");
  EXPECT_THAT(told(key("orders", 2)), ElementsAre("app"));
}

TEST_F(ConsumersTest, who_cannot_be_known_by_number_is_marked) {
  start(kApp);
  open(info_of(0), "orders", 1);
  EXPECT_TRUE(consumers_->has_unknown_processes("app", key("orders", 2)));
  EXPECT_FALSE(consumers_->has_unknown_processes("app", key("tls", 2)));
  EXPECT_THAT(consumers_->running("app", key("orders", 2)), IsEmpty());
}

TEST_F(ConsumersTest, a_process_that_became_another_program_is_waited_for_still) {
  start(kApp);
  Child child(sleeper());
  open(info_of(child.pid(), "/", "/usr/bin/wrapper"), "orders", 1);  // and then called exec(2)
  const auto running = consumers_->running("app", key("orders", 2));
  ASSERT_EQ(running.size(), 1u);
  EXPECT_FALSE(running[0].same);
  const auto behind = consumers_->behind("app", key("orders", 2), TimePoint::max());
  ASSERT_EQ(behind.size(), 1u);
  EXPECT_EQ(behind[0].processes, 1u);  // it may have what it opened before
  child.end();
  EXPECT_THAT(consumers_->running("app", key("orders", 2)), IsEmpty());
}

TEST_F(ConsumersTest, changes_are_told_to_who_listens) {
  start(kApp);
  int changes = 0;
  consumers_->on_change([&] { ++changes; });
  open(info_of(0), "orders", 1);
  consumers_->keys_in_use();
  EXPECT_EQ(changes, 1);
  open(info_of(0), "orders", 1);
  consumers_->keys_in_use();
  EXPECT_EQ(changes, 1);
}

TEST_F(ConsumersTest, hooks_find_keys_with_their_versions) {
  const std::vector<KeyVersion> keys{{"orders", 3}, {"tls-a", 12}};
  EXPECT_EQ(to_string(std::span<const KeyVersion>(keys)), "orders/3 tls-a/12");
}

}  // namespace
}  // namespace keyfs
