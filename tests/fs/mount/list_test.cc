// Listings that arrive page by page.
#include <dirent.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "fs/mount/mount_fixture.h"

namespace keyfs {
namespace {

using namespace keyfs::testing;  // NOLINT: a test's own fixture
using std::chrono::milliseconds;
using std::chrono::seconds;

class Directory {
 public:
  explicit Directory(const std::string& path) : directory_(::opendir(path.c_str())) {}
  ~Directory() {
    if (directory_ != nullptr) ::closedir(directory_);
  }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;
  DIR* get() const { return directory_; }

  // The next name; nullopt at the end, with errno 0, and where it fails.
  std::optional<std::string> next() {
    errno = 0;
    const dirent* entry = ::readdir(directory_);
    if (entry == nullptr) return std::nullopt;
    return entry->d_name;
  }
  // The names up to the end or failure, without the directory's own.
  std::vector<std::string> names() {
    std::vector<std::string> all;
    while (auto name = next()) {
      if (name->front() != '.') all.push_back(*name);
    }
    return all;
  }

 private:
  DIR* const directory_;
};

class ListTest : public MountTest {
 protected:
  void make_side() override {
    FuseOptions options;
    options.open_deadline = deadline_;
    mount(std::make_unique<FuseSide>(options));
    backend().page_size(10);
  }
  static std::string name(int number) { return "root-" + std::to_string(1000 + number); }
  void add(int count) {
    for (int i = 0; i < count; ++i) backend().add(name(i), "x");
  }
  static std::vector<std::string> expected(int count) {
    std::vector<std::string> all;
    for (int i = 0; i < count; ++i) all.push_back(name(i));
    return all;
  }
  // The errno that ends a listing in a process of its own.
  pid_t list_in_child() {
    return start([&] {
      Directory directory(root_);
      if (directory.get() == nullptr) return 99;
      directory.names();
      return errno;
    });
  }

  static bool ended(pid_t child) {
    siginfo_t info{};
    return ::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid == child;
  }

  Duration deadline_ = seconds(60);
};

TEST_F(ListTest, a_directory_waits_for_its_next_page_and_gives_each_name_once) {
  add(45);
  backend().hang_from_page(1);
  const pid_t first_page = start([&] {
    Directory directory(root_);
    for (int i = 0; i < 3; ++i) directory.next();  // ., .. and .keyfs
    for (const auto& name : expected(10)) {
      if (directory.next() != name) return 1;
    }
    return 0;
  });
  EXPECT_EQ(wait_for(first_page), 0);
  const pid_t all = start([&] { return Directory(root_).names() == expected(45) ? 0 : 1; });
  backend().await_waiting(1);
  backend().hang_from_page(SIZE_MAX);
  EXPECT_EQ(wait_for(all), 0);
}

TEST_F(ListTest, pages_that_somebody_else_has_read_are_not_waited_for) {
  add(45);
  backend().know_pages(true);
  Directory directory(root_);
  EXPECT_EQ(directory.names(), expected(45));
  EXPECT_EQ(backend().pages, 1);
}

TEST_F(ListTest, a_long_list_that_is_known_leaves_others_their_turn) {
  add(4'500);
  backend().know_pages(true);
  Directory directory(root_);
  EXPECT_EQ(directory.names(), expected(4'500));
  EXPECT_EQ(backend().pages, 3);
}

TEST_F(ListTest, programs_see_all_pages) {
  add(45);
  const std::string own = run("ls -a " + root_).output;
  EXPECT_EQ(std::count(own.begin(), own.end(), '\n'), 45 + 3);
  EXPECT_EQ(run("find " + root_ + " -name 'root-*' -type f | wc -l").output, "45\n");
}

TEST_F(ListTest, a_list_that_ends_with_a_page_ends) {
  add(20);
  EXPECT_EQ(Directory(root_).names(), expected(20));
}

// This alone is not the end of the directory, though there is nothing to return.
TEST_F(ListTest, pages_of_which_the_reader_may_see_nothing_are_passed_by) {
  add(45);
  backend().add("shared-a", "x");  // behind all others
  EXPECT_EQ(run(as_user(1002, "ls -A " + root_)).output, "shared-a\n");
  EXPECT_EQ(run(as_user(1003, "ls -A " + root_)).output, "");
}

TEST_F(ListTest, groups_count_in_later_pages_too) {
  add(45);
  backend().add("team-a", "x");
  EXPECT_EQ(run(as_user(1003, "ls -A " + root_, "2000")).output, "team-a\n");
  EXPECT_EQ(run(as_user(1003, "ls -A " + root_, "2001")).output, "");
}

TEST_F(ListTest, a_store_that_breaks_off_is_told_and_is_not_the_end) {
  add(45);
  backend().fail_from_page(2, Error(Code::kUnavailable, "refuses connections"));
  Directory directory(root_);
  auto names = directory.names();
  EXPECT_EQ(errno, EIO);
  EXPECT_EQ(names.size(), 20U);
  const Ran ls = run("ls " + root_);
  EXPECT_NE(ls.status, 0);
  EXPECT_NE(ls.output.find("Input/output error"), std::string::npos) << ls.output;
  // Another call gets the error again, and the rest once it is available.
  EXPECT_EQ(directory.next(), std::nullopt);
  EXPECT_EQ(errno, EIO);
  backend().fail_from_page(0, std::nullopt);
  for (const auto& name : directory.names()) names.push_back(name);
  EXPECT_EQ(errno, 0);
  EXPECT_EQ(names, expected(45));
}

TEST_F(ListTest, places_in_a_directory_can_be_sought) {
  add(45);
  Directory directory(root_);
  std::vector<std::string> names;
  std::vector<long> places;
  for (;;) {
    places.push_back(::telldir(directory.get()));
    const auto name = directory.next();
    if (!name) break;
    names.push_back(*name);
  }
  ASSERT_EQ(names.size(), 45U + 3);
  for (const size_t at : {size_t{40}, size_t{2}, size_t{25}, size_t{12}, size_t{13}, size_t{0}}) {
    ::seekdir(directory.get(), places[at]);
    EXPECT_EQ(directory.next(), names[at]);
  }
  ::rewinddir(directory.get());
  EXPECT_EQ(directory.names(), expected(45));
  ::seekdir(directory.get(), places.back());
  EXPECT_EQ(directory.next(), std::nullopt);
  EXPECT_EQ(errno, 0);
}

TEST_F(ListTest, a_place_that_is_not_reached_yet_is_waited_for) {
  add(45);
  Directory whole(root_), directory(root_);
  long place = 0;
  for (auto name = whole.next(); name != expected(45)[30]; name = whole.next()) {
    place = ::telldir(whole.get());
  }
  ::seekdir(directory.get(), place);
  EXPECT_EQ(directory.next(), expected(45)[30]);
}

TEST_F(ListTest, later_pages_are_shown_by_the_policy_of_their_time) {
  add(45);
  Directory directory(root_);
  for (int i = 0; i < 3; ++i) directory.next();
  side_->policy.replace(policy_of("[keys *]\nread = uid:1001\n"));
  EXPECT_EQ(directory.names(), expected(10));
}

TEST_F(ListTest, a_directory_that_was_passed_on_shows_what_its_opener_may_see) {
  add(45);
  const pid_t child = start([&] {
    Directory directory(root_);
    if (::setgid(1001) != 0 || ::setuid(1001) != 0) return 99;
    return directory.names() == expected(45) ? 0 : 1;
  });
  EXPECT_EQ(wait_for(child), 0);
}

TEST_F(ListTest, a_waiting_reader_dies_of_SIGKILL_and_of_interrupt) {
  add(45);
  backend().hang_from_page(1);
  expect_deadly({SIGKILL, SIGINT, SIGTERM}, [&] { return list_in_child(); });
}

// They wait for a lock that the kernel holds for whoever reads the directory, and can't be killed.
TEST_F(ListTest, a_waiting_reader_holds_up_neither_look_ups_nor_a_mkdir) {
  add(45);
  backend().hang_from_page(1);
  const pid_t reader = list_in_child();
  backend().await_waiting(1);
  const auto begin = std::chrono::steady_clock::now();
  std::vector<pid_t> others = {
      start([&] { return ::mkdir(path("root-new").c_str(), 0755) == 0 ? 0 : errno; })};
  for (int i = 0; i < 10; ++i) {
    others.push_back(start([&] {
      struct stat attributes {};
      return ::stat(path("root-cold-" + std::to_string(i)).c_str(), &attributes) == 0 ? 0 : errno;
    }));
  }
  while (!std::all_of(others.begin(), others.end(), ended) && since(begin) < seconds(5)) {
    ::usleep(1'000);
  }
  EXPECT_LT(since(begin), seconds(5));
  EXPECT_FALSE(ended(reader));
  backend().hang_from_page(SIZE_MAX);
  EXPECT_EQ(wait_for(others[0]), EEXIST);
  for (size_t i = 1; i < others.size(); ++i) EXPECT_EQ(wait_for(others[i]), 0);
  EXPECT_EQ(wait_for(reader), 0);
}

TEST_F(ListTest, who_waits_long_gets_each_name_once_and_no_other) {
  add(45);
  backend().hang_from_page(1);
  const pid_t reader = start([&] {
    Directory directory(root_);
    std::vector<std::string> names;
    while (auto name = directory.next()) names.push_back(*name);
    if (errno != 0) return errno;
    // See fs/mount/ops_dir.cc.
    std::erase_if(names, [](const std::string& name) { return name == "."; });
    auto wanted = expected(45);
    wanted.insert(wanted.begin(), {"..", ".keyfs"});
    return names == wanted ? 0 : 200;
  });
  while (backend().pages < 5) ::usleep(5'000);  // it was answered, and came back
  backend().hang_from_page(SIZE_MAX);
  EXPECT_EQ(wait_for(reader), 0);
}

TEST_F(ListTest, the_end_of_the_mount_lets_waiting_readers_go) {
  add(45);
  backend().hang_from_page(1);
  const pid_t child = list_in_child();
  backend().await_waiting(1);
  const auto begin = std::chrono::steady_clock::now();
  side_->end_session();
  EXPECT_LT(since(begin), seconds(5));
  EXPECT_EQ(wait_for(child), ENOTCONN);
}

TEST_F(ListTest, a_listing_goes_with_the_last_directory_that_shows_it) {
  add(45);
  const auto none_is_left = [&] {
    for (int i = 0; i < 5'000 && backend().open_lists != 0; ++i) ::usleep(1'000);
    return backend().open_lists == 0;
  };
  {
    const Directory first(root_);
    const Directory second(root_);
    EXPECT_EQ(backend().open_lists, 2);
  }
  EXPECT_TRUE(none_is_left());
  // To its end, it isn't needed any more: the names are in the directory.
  Directory whole(root_);
  whole.names();
  EXPECT_TRUE(none_is_left());
  ::rewinddir(whole.get());
  EXPECT_EQ(whole.names(), expected(45));
  // What nobody closed ends with the mount.
  const Directory left(root_);
  EXPECT_EQ(backend().open_lists, 1);
  side_->end_session();
  EXPECT_TRUE(none_is_left());
}

TEST_F(ListTest, readers_of_one_directory_share_it) {
  add(2000);
  std::vector<std::thread> readers;
  for (int i = 0; i < 4; ++i) {
    readers.emplace_back([&] {
      for (int turn = 0; turn < 3; ++turn) EXPECT_EQ(Directory(root_).names(), expected(2000));
    });
  }
  for (auto& reader : readers) reader.join();
}

class ListDeadlineTest : public ListTest {
 protected:
  ListDeadlineTest() { deadline_ = milliseconds(600); }
};

TEST_F(ListDeadlineTest, a_page_that_does_not_come_is_ETIMEDOUT) {
  add(45);
  backend().hang_from_page(2);
  const auto begin = std::chrono::steady_clock::now();
  const pid_t child = start([&] {
    Directory directory(root_);
    const size_t names = directory.names().size();
    return names == 20 ? errno : 200;
  });
  while (!ended(child) && since(begin) < seconds(5)) ::usleep(1'000);
  EXPECT_GE(since(begin), deadline_);
  EXPECT_LT(since(begin), seconds(5));
  backend().hang_from_page(SIZE_MAX);
  EXPECT_EQ(wait_for(child), ETIMEDOUT);
  EXPECT_TRUE(side_->log.has(
      "could not list the keys\" reason=\"could not list the keys: timed out after 600ms"));
}

}  // namespace
}  // namespace keyfs
