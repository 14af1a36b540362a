// What is known of consumers after a daemon was killed, whose last list is a moment old.
#include "fs/rotation/consumer_news.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <string>

#include "fs/rotation/consumers_fixture.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;
using testing::Child;
using testing::comes_true;
using testing::ConsumersTest;
using testing::contents;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::sleeper;
using testing::write_text;

constexpr auto kApp = "[consumer app]\nmatch = uid:0\nrefresh = watch\n";
// A list that is never written.
constexpr auto kNowhere = "no/such/consumers.json";

class ConsumerNewsTest : public ConsumersTest {
 protected:
  std::string news() const { return folder_.file("consumers.new"); }
  std::string older_news() const { return folder_.file("consumers.new.1"); }

  void pause() {
    const auto sleep = [](Loop& loop) -> Task<bool> {
      co_await loop.sleep_for(5ms);
      co_return true;
    };
    loop_.run_task(sleep(loop_));
  }
  // From now on the list can't be written: what is noted stays.
  void block_list() {
    std::error_code none;
    std::filesystem::create_directory(folder_.file("killed"));
    std::filesystem::rename(file(), folder_.file("killed/consumers.json"), none);
    std::filesystem::create_directory(file());
  }
  std::string noted() const { return contents(older_news()) + contents(news()); }
  void expect_noted(const std::string& text) {
    EXPECT_TRUE(comes_true([&] {
      pause();
      return noted().find(text) != std::string::npos;
    })) << text;
  }
  // After a kill, with the list as it was when it was blocked. The loop's tasks have ended.
  void start_after_the_kill() {
    loop_.shutdown();
    consumers_.reset();
    for (const char* name : {"consumers.new", "consumers.new.1"}) {
      std::error_code none;
      std::filesystem::copy(folder_.file(name), folder_.file(std::string("killed/") + name), none);
    }
    consumers_ = Consumers::open(loop_, log_.log(), rules_, folder_.file("killed/consumers.json"));
  }
  void start_and_keep() {
    start(kApp);
    loop_.spawn(consumers_->keep());
    pause();
  }
};

Who root(std::string executable) { return Who{"", "/", std::move(executable), 0}; }

ConsumerTable::Program known_program(std::string executable, const std::string& id,
                                     uint32_t version) {
  ConsumerTable::Program program;
  program.who = root(std::move(executable));
  program.keys[id].version = version;
  program.unfollowed = true;
  return program;
}

TEST_F(ConsumerNewsTest, a_program_that_opens_a_key_is_noted_before_the_list_has_it) {
  start(kApp);
  Child child(sleeper());
  open(info_of(child.pid()), "before", 1);
  ASSERT_TRUE(save());
  block_list();
  loop_.spawn(consumers_->keep());
  open(info_of(child.pid()), "orders", 3);
  expect_noted("orders");
  start_after_the_kill();
  EXPECT_THAT(consumers_->keys_known(), ElementsAre("before", "orders"));
  EXPECT_THAT(consumers_->keys_in_use(), ElementsAre("before", "orders"));
  EXPECT_THAT(told(key("orders", 4)), ElementsAre("app"));
  const auto running = consumers_->running("app", key("orders", 4));
  ASSERT_EQ(running.size(), 1u);
  EXPECT_EQ(running[0].process.pid, child.pid());
}

TEST_F(ConsumerNewsTest, what_is_noted_is_ours_alone) {
  start_and_keep();
  block_list();
  open(info_of(0), "orders", 1);
  expect_noted("orders");
  size_t files = 0;
  for (const std::string& path : {news(), older_news()}) {
    struct stat about {};
    if (::stat(path.c_str(), &about) != 0) continue;
    ++files;
    EXPECT_EQ(about.st_mode & 07777, 0600u);
    EXPECT_EQ(about.st_uid, ::geteuid());
  }
  EXPECT_GE(files, 1u);
}

TEST_F(ConsumerNewsTest, what_is_known_is_not_noted_again) {
  start_and_keep();
  block_list();
  Child child(sleeper());
  open(info_of(child.pid()), "orders", 1);
  EXPECT_TRUE(comes_true([&] {  // it stays there, since the list is not written
    pause();
    return contents(older_news()).find("orders") != std::string::npos;
  }));
  const auto size = noted().size();
  consumers_->look_closely();
  open(info_of(child.pid()), "orders", 1);
  consumers_->list();
  for (int i = 0; i < 5; ++i) pause();
  EXPECT_EQ(noted().size(), size);
}

TEST_F(ConsumerNewsTest, another_process_and_another_version_are_noted) {
  start_and_keep();
  block_list();
  Child first(sleeper());
  Child second(sleeper());
  open(info_of(first.pid()), "orders", 1);
  expect_noted("[" + std::to_string(first.pid()) + ",");
  open(info_of(second.pid()), "orders", 1);
  expect_noted("[" + std::to_string(second.pid()) + ",");
  open(info_of(second.pid()), "orders", 2);
  expect_noted("\"orders\":2");
}

TEST_F(ConsumerNewsTest, the_list_takes_the_place_of_what_was_noted) {
  start_and_keep();
  open(info_of(0), "orders", 1);
  EXPECT_TRUE(comes_true([&] {
    pause();
    return contents(file()).find("orders") != std::string::npos &&
           !std::filesystem::exists(older_news());
  }));
  EXPECT_EQ(contents(news()).find("orders"), std::string::npos);
}

TEST_F(ConsumerNewsTest, what_is_noted_while_the_list_is_written_stays) {
  ConsumerNews files(file());
  ASSERT_TRUE(files.append(news_header("e", true), news_line(known_program("/a", "orders", 1))));
  ASSERT_EQ(*files.turn(), true);
  ASSERT_TRUE(files.append(news_header("e", true), news_line(known_program("/b", "bills", 1))));
  // The list could not be written: nothing older is lost by the next try, nor by what follows.
  EXPECT_EQ(*files.turn(), false);
  EXPECT_NE(contents(older_news()).find("orders"), std::string::npos);
  ASSERT_TRUE(files.drop());
  EXPECT_EQ(contents(older_news()), "");
  EXPECT_NE(contents(news()).find("bills"), std::string::npos);
  EXPECT_EQ(*files.turn(), true);
  ASSERT_TRUE(files.drop());
  EXPECT_FALSE(std::filesystem::exists(news()));
}

TEST_F(ConsumerNewsTest, is_read_oldest_first_and_then_kept_in_the_list) {
  const std::string header = news_header("another boot", false);
  write_text(older_news(), header + news_line(known_program("/a", "orders", 1)));
  write_text(news(), header + news_line(known_program("/a", "orders", 2)));
  start(kApp);
  const auto all = consumers_->list();
  ASSERT_EQ(all.size(), 1u);
  EXPECT_THAT(all[0].keys, ElementsAre(KeyVersion{"orders", 2}));
  ASSERT_TRUE(save());  // the older one
  ASSERT_TRUE(save());
  EXPECT_FALSE(std::filesystem::exists(older_news()));
  EXPECT_FALSE(std::filesystem::exists(news()));
  start(kApp);
  EXPECT_THAT(consumers_->keys_known(), ElementsAre("orders"));
}

TEST_F(ConsumerNewsTest, processes_of_another_boot_are_not_believed) {
  Child child(sleeper());
  ConsumerTable::Program program = known_program("/bin/sleep", "orders", 1);
  program.processes.push_back({*process_as_of(child.pid(), clock_.now()), program.keys});
  EXPECT_EQ(
      parse_news(news_header("e", true) + news_line(program), "e")->programs[0].processes.size(),
      1u);
  const auto other = parse_news(news_header("e", true) + news_line(program), "f");
  EXPECT_THAT(other->programs[0].processes, IsEmpty());
  EXPECT_FALSE(other->programs[0].unfollowed);
}

TEST_F(ConsumerNewsTest, a_last_line_that_a_power_failure_cut_short_is_left_out_and_cut_off) {
  const std::string whole = news_header("e", false) + news_line(known_program("/a", "orders", 1));
  const std::string zeros(100, '\0');
  for (const std::string& rest : {std::string("{\"uid\":0,\"ke"), zeros, "{\"uid\"" + zeros}) {
    write_text(news(), whole + rest);
    start(kApp);
    EXPECT_THAT(consumers_->keys_known(), ElementsAre("orders"));
    EXPECT_EQ(contents(news()), whole);
    EXPECT_FALSE(log_.has("may not be known"));
  }
  EXPECT_EQ(log_.count("level=debug msg=\"a line about a new consumer was cut short"), 3u);
}

TEST_F(ConsumerNewsTest, a_file_of_zeros_is_of_a_power_failure) {
  write_text(news(), std::string(100, '\0'));
  start(kApp);
  EXPECT_EQ(contents(news()), "");
  EXPECT_FALSE(log_.has("may not be known"));
}

// A process that is killed does not leave half a line.
TEST_F(ConsumerNewsTest, a_last_line_that_is_cut_short_in_the_same_boot_is_a_list_that_was_lost) {
  const std::string epoch = process_epoch();
  ASSERT_NE(epoch, "");
  const std::string line = news_line(known_program("/a", "orders", 1));
  const std::string whole = news_header("e", false) + line + news_header(epoch, false) + line;
  const std::string zeros(100, '\0');
  for (const std::string& damaged :
       {whole + "{\"uid\":0,\"ke", whole + zeros, whole.substr(0, whole.size() - 1),
        news_header(epoch, false).substr(0, 30)}) {
    start(kApp);
    open(info_of(0), "bills", 1);
    ASSERT_TRUE(save());
    write_text(news(), damaged);
    start(kApp);
    EXPECT_EQ(contents(news() + ".damaged"), damaged);
    EXPECT_FALSE(std::filesystem::exists(news()));
    // No key's programs are taken to be all known; those that are, are told.
    EXPECT_THAT(consumers_->keys_known(), IsEmpty());
    EXPECT_TRUE(consumers_->keys_in_use().contains("bills"));
    EXPECT_EQ(consumers_->keys_in_use().contains("orders"), damaged.size() >= whole.size() - 1);
    std::filesystem::remove(file());
  }
  EXPECT_EQ(log_.count("the machine was not started since"), 4u);
}

TEST_F(ConsumerNewsTest, of_another_pid_namespace_of_this_boot_it_is_damage_as_well) {
  const std::string text =
      news_header("boot pid:[1]", false) + news_line(known_program("/a", "orders", 1)) + "{";
  EXPECT_NE(parse_news(text, "boot pid:[2]")->damage, "");
  EXPECT_NE(parse_news(text, "")->damage, "");  // who knows
  const auto other = parse_news(text, "another pid:[1]");
  EXPECT_EQ(other->damage, "");
  EXPECT_EQ(other->cut, 1u);
}

TEST_F(ConsumerNewsTest, other_damage_is_a_list_that_was_lost) {
  start(kApp);
  open(info_of(0), "orders", 1);
  ASSERT_TRUE(save());
  const std::string damaged =
      news_header("e", true) + "{\"uid\n" + news_line(known_program("/a", "bills", 1));
  write_text(news(), damaged);
  start(kApp);
  EXPECT_TRUE(log_.has("may not be known"));
  EXPECT_EQ(contents(news() + ".damaged"), damaged);
  // No key's programs are taken to be all known; those that are, are told.
  EXPECT_THAT(consumers_->keys_known(), IsEmpty());
  EXPECT_THAT(consumers_->keys_in_use(), ElementsAre("orders"));
}

TEST_F(ConsumerNewsTest, a_list_that_is_missing_is_not_replaced_by_what_is_newer) {
  write_text(news(), news_header("e", true) + news_line(known_program("/a", "orders", 1)));
  start(kApp);
  EXPECT_TRUE(log_.has("consumers.json: is missing"));
  EXPECT_THAT(consumers_->keys_known(), IsEmpty());
  EXPECT_THAT(told(key("orders", 2)), ElementsAre("app"));
}

TEST_F(ConsumerNewsTest, a_first_life_that_is_killed_before_its_list_has_lost_nothing) {
  write_text(news(), news_header("e", false) + news_line(known_program("/a", "orders", 1)));
  start(kApp);
  EXPECT_FALSE(log_.has("level=warn"));
  EXPECT_THAT(consumers_->keys_known(), ElementsAre("orders"));
}

TEST_F(ConsumerNewsTest, a_file_that_others_may_write_is_not_believed) {
  write_text(news(), news_header("e", false) + news_line(known_program("/a", "orders", 1)));
  ::chmod(news().c_str(), 0666);
  start(kApp);
  EXPECT_TRUE(log_.has("chmod go-w"));
  EXPECT_THAT(consumers_->keys_in_use(), IsEmpty());
}

TEST_F(ConsumerNewsTest, a_disk_that_takes_nothing_delays_nobody_and_is_told_once) {
  rules_ = testing::rules_of(kApp);
  consumers_ = Consumers::open(loop_, log_.log(), rules_, folder_.file(kNowhere));
  loop_.spawn(consumers_->keep());
  open(info_of(0), "orders", 1);
  EXPECT_TRUE(comes_true([&] {
    pause();
    return log_.has("could not note at once");
  }));
  open(info_of(0), "bills", 1);
  for (int i = 0; i < 5; ++i) pause();
  EXPECT_EQ(log_.count("could not note at once"), 1u);
  EXPECT_THAT(told(key("bills", 2)), ElementsAre("app"));
}

TEST_F(ConsumerNewsTest, the_file_has_a_limit) {
  ConsumerNews files(file());
  const std::string header = news_header("e", true);
  const std::string line = news_line(known_program("/a", "orders", 1));
  std::string many;
  while (many.size() < (size_t{1} << 20)) many += line;
  size_t appended = 0;
  while (appended < 100 && files.append(header, many)) ++appended;
  EXPECT_LT(appended, 9u);
  EXPECT_LE(contents(news()).size(), kMaxConsumerNews);
  ASSERT_TRUE(files.turn());  // there is room again
  EXPECT_TRUE(files.append(header, line));
  EXPECT_TRUE(parse_news(contents(news()), "e"));
}

}  // namespace
}  // namespace keyfs
