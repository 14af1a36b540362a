// .keyfs/versions: each version of a key as a file of its own.
#include <poll.h>
#include <sys/inotify.h>
#include <sys/xattr.h>

#include <algorithm>
#include <thread>

#include "fs/mount/versions_fixture.h"
#include "fs/mount/views.h"

namespace keyfs {
namespace {

using namespace keyfs::testing;  // NOLINT: a test's own fixture

TEST(Views, a_number_is_written_in_one_way_only) {
  EXPECT_EQ(parse_version("1"), 1U);
  EXPECT_EQ(parse_version("10"), 10U);
  EXPECT_EQ(parse_version("4294967295"), 4294967295U);
  for (const char* none : {"", "0", "01", "1x", "x1", "+1", "-1", " 1", "1 ", "4294967296",
                           "99999999999999999999", "1.0", "0x1", "current"}) {
    EXPECT_FALSE(parse_version(none)) << none;
  }
}

TEST_F(VersionsTest, current_leads_to_the_number_whose_bytes_the_descriptor_gives) {
  backend().add("root-a", "first");
  const int first = ::open(versions("root-a", "current").c_str(), O_RDONLY | O_CLOEXEC);
  ASSERT_GE(first, 0) << errno;
  EXPECT_EQ(link_of("/proc/self/fd/" + std::to_string(first)), versions("root-a", "1"));
  EXPECT_EQ(rotate("root-a", "second"), 2U);
  const int second = ::open(versions("root-a", "current").c_str(), O_RDONLY | O_CLOEXEC);
  EXPECT_EQ(link_of("/proc/self/fd/" + std::to_string(second)), versions("root-a", "2"));
  EXPECT_EQ(contents(first), "first");
  EXPECT_EQ(contents(second), "second");
  EXPECT_EQ(contents(versions("root-a", "1")), "first");
  EXPECT_EQ(contents(versions("root-a", "2")), "second");
  EXPECT_EQ(contents(path("root-a")), "second");
  ::close(first);
  ::close(second);
}

TEST_F(VersionsTest, a_descriptor_of_the_plain_name_stays_with_the_version_it_opened) {
  backend().add("root-a", "first");
  const int file = ::open(path("root-a").c_str(), O_RDONLY | O_CLOEXEC);
  rotate("root-a", "second");
  EXPECT_EQ(contents(file), "first");
  EXPECT_EQ(contents(path("root-a")), "second");
  EXPECT_EQ(contents(file), "first");
  ::close(file);
}

TEST_F(VersionsTest, the_link_is_asked_each_time_and_answers_for_its_caller) {
  backend().add("app-a", "first");
  const std::string link = versions("app-a", "current");
  EXPECT_EQ(run(as_user(1001, "readlink " + link)).output, "1\n");
  rotate("app-a", "second");  // nothing is told to the kernel about the link
  EXPECT_EQ(run(as_user(1001, "readlink " + link)).output, "2\n");
  EXPECT_EQ(link_of(link), "errno " + std::to_string(EACCES));
  EXPECT_EQ(run(as_user(1002, "readlink " + link)).status, 1);
  EXPECT_EQ(look(versions("hidden", "current")), ENOENT);
}

TEST_F(VersionsTest, looking_creates_and_unwraps_nothing) {
  const std::string absent = "errno " + std::to_string(ENOENT);
  EXPECT_EQ(link_of(versions("root-new", "current")), absent);
  EXPECT_EQ(open_error(versions("root-new", "current")), ENOENT);
  EXPECT_EQ(open_error(versions("root-new", "1")), ENOENT);
  EXPECT_EQ(run("ls " + versions("root-new")).status, 2);
  EXPECT_FALSE(backend().exists("root-new"));
  backend().add("root-a", "first");
  const int opens = backend().opens;
  EXPECT_EQ(link_of(versions("root-a", "current")), "1");
  run("ls -l " + versions("root-a") + "; stat " + versions("root-a", "1"));
  EXPECT_EQ(backend().opens, opens);
}

TEST_F(VersionsTest, a_directory_lists_the_readable_numbers_for_who_may_read) {
  backend().add("app-a", "first");
  rotate("app-a", "second");
  rotate("app-a", "third");
  backend().retire("app-a", 1);
  const std::string directory = versions("app-a");
  EXPECT_EQ(run(as_user(1001, "ls -a " + directory)).output, ".\n..\n2\n3\ncurrent\n");
  EXPECT_EQ(run(as_user(1001, "stat -c '%A %u' " + directory)).output, "dr-x------ 1001\n");
  EXPECT_EQ(::opendir(directory.c_str()), nullptr);
  EXPECT_EQ(errno, EACCES);
  EXPECT_EQ(::access(directory.c_str(), R_OK), -1);
  EXPECT_EQ(run(as_user(1001, "sh -c 'cd " + directory + " && cat 2'")).output, "second");
  const Ran hidden = run("ls " + versions("hidden"));
  EXPECT_NE(hidden.output.find("No such file"), std::string::npos) << hidden.output;
  for (const std::string own : {"versions", "hex", "base64"}) {
    EXPECT_EQ(run(as_user(1005, "ls -A " + path(".keyfs/" + own))).output, "") << own;
    EXPECT_EQ(run("stat -c %A " + path(".keyfs/" + own)).output, "dr-xr-xr-x\n") << own;
  }
}

TEST_F(VersionsTest, an_error_of_the_store_is_no_empty_directory) {
  backend().add("root-a", "first");
  backend().fail_with(Error(Code::kUnavailable, "out"));
  EXPECT_EQ(::opendir(versions("root-a").c_str()), nullptr);
  EXPECT_EQ(errno, EIO);
  EXPECT_EQ(link_of(versions("root-a", "current")), "errno " + std::to_string(EIO));
}

TEST_F(VersionsTest, numbers_that_are_none_are_not_there) {
  backend().add("root-a", "first");
  for (const std::string name : {"01", "0", "1x", "4294967296", "-1", "+1", "1 ", "currently"}) {
    EXPECT_EQ(look(versions("root-a", name)), ENOENT) << name;
  }
  EXPECT_EQ(look(versions("root-a", std::string(256, '1'))), ENAMETOOLONG);
  EXPECT_EQ(look(versions(".hidden")), ENOENT);
  EXPECT_EQ(look(path(".keyfs/versions/root-a/1/1")), ENOTDIR);
}

TEST_F(VersionsTest, a_version_that_was_never_made_is_absent_and_an_ended_one_revoked) {
  backend().add("root-a", "first");
  rotate("root-a", "second");
  backend().retire("root-a", 1);
  EXPECT_EQ(open_error(versions("root-a", "7")), ENOENT);
  EXPECT_EQ(size_of(versions("root-a", "7")), -ENOENT);
  EXPECT_EQ(open_error(versions("root-a", "4294967295")), ENOENT);
  EXPECT_EQ(open_error(versions("root-a", "1")), EKEYREVOKED);
  EXPECT_EQ(open_error(versions("root-a", "2")), 0);
  EXPECT_EQ(open_error(versions("root-a", "2"), O_RDWR), EROFS);
  EXPECT_EQ(open_error(versions("app-a", "2")), EACCES);
}

TEST_F(VersionsTest, an_id_with_a_number_in_it_is_a_key_of_its_own) {
  backend().add("root-a", "of a");
  backend().add("root-a@1", "of a at 1");
  EXPECT_EQ(contents(path("root-a@1")), "of a at 1");
  EXPECT_EQ(contents(versions("root-a@1", "1")), "of a at 1");
  EXPECT_EQ(contents(versions("root-a", "1")), "of a");
}

TEST_F(VersionsTest, stat_and_readdir_agree_about_inode_numbers) {
  backend().add("root-a", "first");
  rotate("root-a", "second");
  std::set<ino_t> numbers;
  for (const auto& [name, number] : list(versions("root-a"))) {
    struct stat attributes {};
    ASSERT_EQ(::lstat((versions("root-a") + "/" + name).c_str(), &attributes), 0) << name;
    EXPECT_EQ(attributes.st_ino, number) << name;
    EXPECT_TRUE(numbers.insert(number).second) << name;
  }
  EXPECT_EQ(numbers.size(), 5U);
  for (const auto& [name, number] : list(path(".keyfs"))) {
    struct stat attributes {};
    ASSERT_EQ(::lstat((path(".keyfs/") + name).c_str(), &attributes), 0) << name;
    EXPECT_EQ(attributes.st_ino, number) << name;
  }
}

TEST_F(VersionsTest, a_versions_size_is_its_own_and_never_told_too_small) {
  backend().add("root-a", std::string(16, 'a'));
  rotate("root-a", std::string(64, 'b'));
  EXPECT_EQ(size_of(versions("root-a", "1")), 16);
  EXPECT_EQ(size_of(versions("root-a", "2")), 64);
  backend().hang(true);  // nobody can be asked about a new one
  backend().rotate("root-a", std::string(100, 'c'));
  EXPECT_EQ(size_of(versions("root-a", "3")), 4096);
  backend().hang(false);
  EXPECT_EQ(run("cp " + versions("root-a", "3") + " /dev/stdout").output, std::string(100, 'c'));
  EXPECT_EQ(size_of(versions("root-a", "3")), 100);
  EXPECT_EQ(size_of(versions("root-a", "1")), 16);
}

TEST_F(VersionsTest, extended_attributes_are_of_the_version) {
  backend().add("root-a", "first");
  rotate("root-a", "second");
  const auto attribute = [](const std::string& path, const char* name) {
    char buffer[100];
    const ssize_t got = ::getxattr(path.c_str(), name, buffer, sizeof buffer);
    return got < 0 ? "errno " + std::to_string(errno) : std::string(buffer, got);
  };
  EXPECT_EQ(attribute(versions("root-a", "1"), "user.keyfs.version"), "1");
  EXPECT_EQ(attribute(versions("root-a", "1"), "user.keyfs.created"), "2023-11-14T22:13:20Z");
  EXPECT_EQ(attribute(versions("root-a", "2"), "user.keyfs.version"), "2");
  EXPECT_EQ(attribute(versions("root-a", "2"), "user.keyfs.created"), "2023-11-15T22:13:20Z");
  EXPECT_EQ(attribute(path("root-a"), "user.keyfs.version"), "2");
  EXPECT_EQ(attribute(path(".keyfs/hex/root-a"), "user.keyfs.version"), "2");
  const std::string none = "errno " + std::to_string(ENODATA);
  EXPECT_EQ(attribute(versions("root-a", "7"), "user.keyfs.version"), none);
  EXPECT_EQ(attribute(versions("root-a"), "user.keyfs.version"), none);
}

TEST_F(VersionsTest, who_lists_versions_or_follows_the_link_can_be_killed) {
  backend().add("root-a", "first");
  backend().hang(true);
  for (const std::string& command :
       {"ls " + versions("root-a"), "readlink " + versions("root-a", "current")}) {
    const int asked = backend().describes;
    const pid_t child =
        start([&] { return ::execl("/bin/sh", "sh", "-c", ("exec " + command).c_str(), nullptr); });
    while (backend().describes == asked) ::usleep(1'000);
    const auto begin = std::chrono::steady_clock::now();
    ::kill(child, SIGKILL);
    EXPECT_EQ(wait_for(child), 128 + SIGKILL) << command;
    EXPECT_LT(since(begin), std::chrono::seconds(1)) << command;
  }
  backend().hang(false);
}

TEST_F(VersionsTest, pages_of_a_version_are_its_own_and_go_when_the_key_ends) {
  backend().add("root-a", "first");
  rotate("root-a", "second");
  const auto map = [&](const std::string& name) {
    const int file = ::open(name.c_str(), O_RDONLY | O_CLOEXEC);
    void* mapping = ::mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE, file, 0);
    EXPECT_NE(mapping, MAP_FAILED);
    ::close(file);
    return static_cast<const char*>(mapping);
  };
  const auto cached = [](const char* mapping) {
    unsigned char resident = 0;
    EXPECT_EQ(::mincore(const_cast<char*>(mapping), 4096, &resident), 0);
    return (resident & 1) != 0;
  };
  const char* first = map(versions("root-a", "1"));
  const char* second = map(versions("root-a", "2"));
  const char* hex = map(path(".keyfs/hex/root-a"));
  EXPECT_STREQ(first, "first");
  EXPECT_STREQ(second, "second");
  EXPECT_STREQ(hex, "7365636f6e64");
  EXPECT_TRUE(cached(first) && cached(second) && cached(hex));
  const KeyRef entry = side_->cache.find("root-a");
  side_->cache.revoke(*entry, side_->loop.now() + std::chrono::hours(1), 0);
  backend().fail_with(Error(Code::kRevoked, "disabled"));
  side_->ops.key_ended(*entry);
  side_->ops.drain_notifications();
  EXPECT_FALSE(cached(first) || cached(second) || cached(hex));
  for (const char* mapping : {first, second, hex}) ::munmap(const_cast<char*>(mapping), 4096);
}

TEST_F(VersionsTest, a_new_policy_ends_open_files_of_versions_and_hides_their_names) {
  backend().add("root-a", "first");
  backend().add("app-a", "x");
  const int file = ::open(versions("root-a", "1").c_str(), O_RDONLY | O_CLOEXEC);
  const int hex = ::open(path(".keyfs/hex/root-a").c_str(), O_RDONLY | O_CLOEXEC);
  EXPECT_EQ(contents(file), "first");
  side_->policy.replace(policy_of("[keys root-*]\nread = uid:1002\n"));
  side_->ops.policy_changed();
  side_->ops.drain_notifications();
  EXPECT_EQ(contents(file), "errno " + std::to_string(EACCES));
  EXPECT_EQ(contents(hex), "errno " + std::to_string(EACCES));
  EXPECT_EQ(open_error(versions("root-a", "1")), EACCES);
  EXPECT_EQ(run("stat -c %u " + versions("root-a", "1")).output, "1002\n");
  side_->policy.replace(policy_of("[keys app-*]\nread = uid:0\n"));
  side_->ops.policy_changed();
  side_->ops.drain_notifications();
  EXPECT_EQ(look(versions("root-a", "1")), ENOENT);
  EXPECT_EQ(look(versions("root-a")), ENOENT);
  EXPECT_EQ(look(path(".keyfs/hex/root-a")), ENOENT);
  ::close(file);
  ::close(hex);
}

TEST_F(VersionsTest, the_audit_tells_what_was_asked_for_and_what_was_served) {
  backend().add("root-a", "first");
  rotate("root-a", "second");
  contents(path("root-a"));
  contents(versions("root-a", "1"));
  contents(path(".keyfs/hex/root-a"));
  contents(path(".keyfs/base64/root-a"));
  open_error(versions("root-a", "7"));
  run("ls -l " + versions("root-a") + "; readlink " + versions("root-a", "current"));
  const std::string lines = side_->audit_lines();
  EXPECT_EQ(std::count(lines.begin(), lines.end(), '\n'), 5) << lines;
  for (const std::string part :
       {R"("version":2,"asked":null,"view":null)", R"("version":1,"asked":1,"view":null)",
        R"("version":2,"asked":null,"view":"hex")", R"("version":2,"asked":null,"view":"base64")",
        R"("version":null,"asked":7,"view":null)"}) {
    EXPECT_NE(lines.find(part), std::string::npos) << part << "\n" << lines;
  }
}

TEST_F(VersionsTest, programs_that_walk_through_open_no_key) {
  for (const std::string id : {"root-a", "root-b"}) backend().add(id, "needle");
  rotate("root-a", "needle");
  const int opens = backend().opens;
  const auto lines = [&] {
    const std::string text = side_->audit_lines();
    return std::count(text.begin(), text.end(), '\n');
  };
  look(versions("root-a", "1"));
  EXPECT_EQ(run("cd " + path(".keyfs") +
                " && grep -r needle .; find . -type f; find -L .; du -a .; "
                "tar -cf /dev/null .; cp -a . " +
                dir_.path() + "/copy; ls -laR")
                .output.find("needle"),
            std::string::npos);
  EXPECT_EQ(backend().opens, opens);
  EXPECT_EQ(lines(), 0);
  // From the root: each key once.
  EXPECT_EQ(run("cd " + root_ + " && grep -r needle .").output,
            "./root-a:needle\n./root-b:needle\n");
  EXPECT_EQ(lines(), 2);
}

TEST_F(VersionsTest, who_watches_the_link_hears_that_another_version_is_current) {
  backend().add("root-a", "first");
  const std::string link = versions("root-a", "current");
  EXPECT_EQ(link_of(link), "1");
  for (const std::string number : {"2", "3"}) {
    const int watch = ::inotify_init1(IN_CLOEXEC);
    ASSERT_GE(::inotify_add_watch(watch, link.c_str(), IN_DELETE_SELF | IN_DONT_FOLLOW), 0);
    const int file = ::open(versions("root-a", "1").c_str(), O_RDONLY | O_CLOEXEC);
    rotate("root-a", "version " + number);
    pollfd told{watch, POLLIN, 0};
    ASSERT_EQ(::poll(&told, 1, 20'000), 1);
    inotify_event event{};
    ASSERT_EQ(::read(watch, &event, sizeof event), static_cast<ssize_t>(sizeof event));
    EXPECT_EQ(event.mask, static_cast<uint32_t>(IN_DELETE_SELF));
    EXPECT_EQ(link_of(link), number);
    EXPECT_EQ(contents(link), "version " + number);
    EXPECT_EQ(link_of("/proc/self/fd/" + std::to_string(file)), versions("root-a", "1"));
    ::close(file);
    ::close(watch);
  }
}

class LoneVersionsTest : public VersionsTest {
 protected:
  static constexpr size_t kMost = 100;
  void make_side() override {
    FuseOptions options;
    options.lone_names = kMost;
    mount(std::make_unique<FuseSide>(options));
  }
  size_t known() const { return side_->ops.status().known_keys; }
  bool known_soon(size_t most) const {
    for (int i = 0; i < 1'000 && known() > most; ++i) ::usleep(10'000);
    return known() <= most;
  }
};

TEST_F(LoneVersionsTest, who_asks_for_numbers_fills_no_memory) {
  for (int i = 1; i <= 5'000; ++i) {
    const std::string number = std::to_string(4'294'000'000U + static_cast<unsigned>(i));
    const int error = look(versions("app-a", number));
    ASSERT_TRUE(error == 0 || error == EAGAIN) << error;
    if (i % 10 == 0) look(path(".keyfs/hex/app-" + std::to_string(i)));
  }
  EXPECT_TRUE(known_soon(kMost)) << known();
}

TEST_F(LoneVersionsTest, versions_that_were_opened_stay_known) {
  backend().add("root-a", "first");
  const int file = ::open(versions("root-a", "1").c_str(), O_RDONLY | O_CLOEXEC);
  ASSERT_GE(file, 0);
  struct stat before {};
  ASSERT_EQ(::fstat(file, &before), 0);
  for (int i = 1; i <= 1'000; ++i) look(versions("app-a", std::to_string(i)));
  EXPECT_TRUE(known_soon(kMost + 2)) << known();
  EXPECT_EQ(contents(file), "first");
  const int again = ::open(versions("root-a", "1").c_str(), O_RDONLY | O_CLOEXEC);
  struct stat after {};
  EXPECT_EQ(::fstat(again, &after), 0);
  EXPECT_EQ(before.st_ino, after.st_ino);
  EXPECT_EQ(contents(again), "first");
  ::close(again);
  ::close(file);
}

TEST_F(LoneVersionsTest, a_name_that_is_being_opened_is_not_forgotten_and_one_in_vain_is) {
  backend().add("root-a", "first");
  backend().hang(true);
  const std::string one = versions("root-a", "1");
  const std::string three = versions("root-a", "3");
  std::string path_of_it;
  std::thread opening([&] {
    const int file = ::open(one.c_str(), O_RDONLY | O_CLOEXEC);
    path_of_it = link_of("/proc/self/fd/" + std::to_string(file));
    ::close(file);
  });
  std::thread in_vain([&] { open_error(three); });
  backend().await_waiting(2);
  for (int i = 1; i <= 1'000; ++i) look(versions("app-a", std::to_string(i)));
  backend().hang(false);
  opening.join();
  in_vain.join();
  EXPECT_EQ(path_of_it, one);
  for (int i = 1; i <= 1'000; ++i) look(versions("app-a", std::to_string(i)));
  EXPECT_TRUE(known_soon(kMost + 2)) << known();  // that directory, and the version in it
}

TEST_F(LoneVersionsTest, a_forgotten_version_is_there_again_when_it_is_asked_for) {
  backend().add("root-a", "first");
  EXPECT_EQ(look(versions("root-a", "1")), 0);
  for (int i = 1; i <= 1'000; ++i) look(versions("app-a", std::to_string(i)));
  EXPECT_TRUE(known_soon(kMost));
  EXPECT_EQ(contents(versions("root-a", "1")), "first");
  EXPECT_EQ(link_of(versions("root-a", "current")), "1");
}

}  // namespace
}  // namespace keyfs
