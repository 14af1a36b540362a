// What programs see of a mounted keyfs.
#include <grp.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <sys/xattr.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "fs/mount/mount_fixture.h"

namespace keyfs {
namespace {

using namespace keyfs::testing;  // NOLINT: a test's own fixture

TEST_F(MountTest, cat_of_a_new_id_makes_the_key_and_reads_it_again) {
  EXPECT_EQ(run(as_user(1001, "cat " + path("app-a"))).output, "created-app-a");
  EXPECT_EQ(run(as_user(1001, "cat " + path("app-a"))).output, "created-app-a");
  EXPECT_EQ(backend().opens, 1);  // the second one came from the cache
}

TEST_F(MountTest, a_caller_without_read_gets_EACCES_also_while_a_permitted_one_has_it_open) {
  backend().add("app-a", "secret");
  const pid_t reader = start([&] {
    if (::setgroups(0, nullptr) != 0 || ::setgid(1001) != 0 || ::setuid(1001) != 0) return 1;
    const int file = ::open(path("app-a").c_str(), O_RDONLY);
    if (file < 0) return 2;
    // Drops to somebody else: what is open stays readable, nothing new can be opened.
    char byte = 0;
    return ::read(file, &byte, 1) == 1 && byte == 's' ? 0 : 3;
  });
  EXPECT_EQ(wait_for(reader), 0);
  for (const int uid : {0, 1002, 1003}) {
    const Ran ran = run(as_user(uid, "cat " + path("app-a")));
    EXPECT_NE(ran.output.find("Permission denied"), std::string::npos) << uid;
    EXPECT_EQ(ran.output.find("secret"), std::string::npos);
  }
}

TEST_F(MountTest, supplementary_groups_count) {
  backend().add("team-a", "secret");
  EXPECT_EQ(run(as_user(1003, "cat " + path("team-a"), "3000,2000")).output, "secret");
  EXPECT_NE(run(as_user(1003, "cat " + path("team-a"), "3000")).status, 0);
}

TEST_F(MountTest, names_that_cannot_be_do_not_exist) {
  EXPECT_EQ(open_error(path("unlisted")), ENOENT);
  EXPECT_EQ(open_error(path("-dash")), ENOENT);
  EXPECT_EQ(open_error(path(".git")), ENOENT);
  EXPECT_EQ(open_error(path("root-a b")), ENOENT);
  EXPECT_EQ(open_error(path("root-" + std::string(250, 'x'))), 0);
  EXPECT_EQ(open_error(path("root-" + std::string(251, 'x'))), ENAMETOOLONG);
}

TEST_F(MountTest, absent_without_create_is_ENOENT) {
  EXPECT_EQ(run(as_user(1002, "cat " + path("shared-a"))).status, 1);
  EXPECT_FALSE(backend().exists("shared-a"));
  backend().add("shared-a", "x");
  EXPECT_EQ(run(as_user(1002, "cat " + path("shared-a"))).output, "x");
}

TEST_F(MountTest, browsing_makes_nothing_and_reads_nothing) {
  backend().add("root-old", "x");
  run("cd " + root_ +
      " && ls -la; find .; stat root-new; test -e root-new; test -r root-new; "
      "stat -f .; df .; ls root-*; du -a .; git status; make");
  EXPECT_FALSE(backend().exists("root-new"));
  EXPECT_FALSE(backend().exists("HEAD"));
  EXPECT_FALSE(backend().exists("Makefile"));
}

TEST_F(MountTest, a_probed_name_that_exists_reads_like_any_other) {
  EXPECT_EQ(open_error(path("HEAD")), ENOENT);
  backend().add("HEAD", "x");
  EXPECT_EQ(run("cat " + path("HEAD")).output, "x");
}

TEST_F(MountTest, ls_shows_the_keys_that_the_caller_may_read) {
  backend().add("app-a", "x");
  backend().add("shared-a", "x");
  backend().add("team-a", "x");
  EXPECT_EQ(run(as_user(1001, "ls " + root_)).output, "app-a\nshared-a\n");
  EXPECT_EQ(run(as_user(1002, "ls " + root_)).output, "shared-a\n");
  EXPECT_EQ(run(as_user(1003, "ls " + root_, "2000")).output, "team-a\n");
  EXPECT_EQ(run("ls -A " + root_).output, ".keyfs\n");
  EXPECT_EQ(run(as_user(1003, "ls -A " + root_)).output, "");
  EXPECT_EQ(backend().opens, 0);
}

TEST_F(MountTest, a_long_listing_is_whole) {
  for (int i = 0; i < 5'000; ++i) backend().add("shared-" + std::to_string(i), "x");
  EXPECT_EQ(run(as_user(1002, "ls -U " + root_ + " | wc -l")).output, "5000\n");
}

TEST_F(MountTest, attributes_are_those_of_a_private_file) {
  backend().add("app-a", std::string(48, 'x'));
  backend().add("team-a", "x");
  EXPECT_EQ(run("stat -c '%a %u %g %h %F' " + path("app-a")).output, "400 1001 0 1 regular file\n");
  EXPECT_EQ(run("stat -c '%a %u %g' " + path("team-a")).output, "440 0 2000\n");
  // Nothing is known yet, and root may not cause a read of the store: at least as large as any key.
  EXPECT_EQ(run("stat -c '%s' " + path("app-a")).output, "4096\n");
  run(as_user(1001, "cat " + path("app-a")));
  EXPECT_EQ(run("stat -c '%s' " + path("app-a")).output, "48\n");
  EXPECT_EQ(run("stat -f -c '%l' " + root_).output, "255\n");
  // readdir and stat give the same number.
  EXPECT_EQ(run(as_user(1001, "ls -i " + root_)).output,
            run(as_user(1001, "stat -c '%i app-a' " + path("app-a"))).output);
}

TEST_F(MountTest, two_keys_whose_names_have_one_hash_are_two_files) {
  const auto [one, other] = names_of_one_number("root-");
  backend().add(one, "0123456789");
  backend().add(other, "9876543210");
  EXPECT_EQ(run("cmp " + path(one) + " " + path(other)).status, 1);
  EXPECT_EQ(run("diff -q " + path(one) + " " + path(other)).status, 1);
  EXPECT_EQ(run("test " + path(one) + " -ef " + path(other)).status, 1);
}

TEST_F(MountTest, fstat_after_open_tells_the_true_size) {
  backend().add("root-a", std::string(100, 'x'));
  struct stat attributes {};
  ASSERT_EQ(::stat(path("root-a").c_str(), &attributes), 0);
  EXPECT_EQ(attributes.st_size, 100);  // who may read has the store asked
  EXPECT_EQ(backend().opens, 0);
  const int file = ::open(path("root-a").c_str(), O_RDONLY);
  ASSERT_EQ(::fstat(file, &attributes), 0);
  EXPECT_EQ(attributes.st_size, 100);
  ::close(file);
}

TEST_F(MountTest, common_programs_copy_a_key_whole) {
  const std::string text = "0123456789abcdef0123456789abcdef0123456789abcdef!";
  backend().add("root-a", text);
  const std::string copy = dir_.path() + "/copy";
  EXPECT_EQ(run("cp " + path("root-a") + " " + copy + " && cat " + copy).output, text);
  EXPECT_EQ(run("tail -c 3 " + path("root-a")).output, "ef!");
  EXPECT_EQ(run("wc -c < " + path("root-a")).output, std::to_string(text.size()) + "\n");
  EXPECT_EQ(run("tar -C " + root_ + " -cf - root-a | tar -xOf -").output, text);
  EXPECT_EQ(run("dd status=none bs=5 skip=2 if=" + path("root-a")).output, text.substr(10));
  EXPECT_EQ(run("busybox cat " + path("root-a")).output, text);
  EXPECT_EQ(run("head -c 4 " + path("root-a")).output, "0123");
}

TEST_F(MountTest, a_key_longer_than_a_read_is_read_whole) {
  std::string text;
  for (int i = 0; text.size() < 10'000; ++i) text += std::to_string(i) + ",";
  backend().add("root-a", text);
  EXPECT_EQ(run("cat " + path("root-a")).output, text);
  EXPECT_EQ(run("tail -c 5000 " + path("root-a")).output, text.substr(text.size() - 5'000));
}

TEST_F(MountTest, everything_that_writes_is_refused) {
  backend().add("root-a", "x");
  EXPECT_EQ(open_error(path("root-a"), O_WRONLY), EROFS);
  EXPECT_EQ(open_error(path("root-a"), O_RDWR), EROFS);
  EXPECT_EQ(open_error(path("root-a"), O_RDONLY | O_TRUNC), EROFS);
  EXPECT_EQ(open_error(path("unlisted"), O_RDWR | O_CREAT), EROFS);
  for (const std::string command :
       {"rm -f root-a", "mkdir unlisted", "mv root-a root-b", "ln root-a unlisted",
        "ln -s x unlisted", "chmod 600 root-a", "chown 1 root-a", "touch root-a",
        "truncate -s 0 root-a", "echo y > root-a", "setfattr -n user.x -v y root-a"}) {
    const Ran ran = run("cd " + root_ + " && sh -c '" + command + "'");
    EXPECT_NE(ran.status, 0) << command;
    EXPECT_NE(ran.output.find("Read-only file system"), std::string::npos) << ran.output;
  }
  EXPECT_EQ(run("cat " + path("root-a")).output, "x");
}

TEST_F(MountTest, access_is_answered_for_each_caller) {
  run(as_user(1001, "test -r " + path("app-a")));
  EXPECT_EQ(run(as_user(1001, "test -r " + path("app-a"))).status, 0);
  EXPECT_NE(run(as_user(1002, "test -r " + path("app-a"))).status, 0);
  EXPECT_NE(run("test -r " + path("app-a")).status, 0);  // root, too
  EXPECT_NE(run(as_user(1001, "test -w " + path("app-a"))).status, 0);
  EXPECT_NE(run(as_user(1001, "test -x " + path("app-a"))).status, 0);
  EXPECT_EQ(backend().opens, 0);
}

struct Failure {
  Code code;
  int error;
};
class MountFailureTest : public MountTest, public ::testing::WithParamInterface<Failure> {};

TEST_P(MountFailureTest, has_its_errno) {
  backend().fail_with(Error(GetParam().code, "because"));
  EXPECT_EQ(open_error(path("root-a")), GetParam().error);
  // The keyring reports a damaged record once for all its waiters.
  EXPECT_EQ(side_->log.has("could not open a key"), GetParam().code != Code::kCorrupt);
  backend().fail_with(std::nullopt);
  EXPECT_EQ(open_error(path("root-a")), 0);
}

INSTANTIATE_TEST_SUITE_P(
    Table, MountFailureTest,
    ::testing::Values(Failure{Code::kRevoked, EKEYREVOKED}, Failure{Code::kTimeout, ETIMEDOUT},
                      Failure{Code::kThrottled, EAGAIN}, Failure{Code::kDenied, EACCES},
                      Failure{Code::kCorrupt, EBADMSG}, Failure{Code::kUnavailable, EIO},
                      Failure{Code::kUnauthenticated, EIO}),
    [](const auto& info) { return std::string(to_string(info.param.code)); });

// Checks whether the first page of a file is in the page cache. Opening or mapping a file drops its
// pages, so both are done beforehand.
class PageWatch {
 public:
  explicit PageWatch(const std::string& path) : file_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    mapping_ = ::mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE, file_, 0);
    EXPECT_NE(mapping_, MAP_FAILED);
  }
  ~PageWatch() {
    ::munmap(mapping_, 4096);
    ::close(file_);
  }
  PageWatch(const PageWatch&) = delete;
  PageWatch& operator=(const PageWatch&) = delete;
  bool cached() const {
    unsigned char resident = 0;
    EXPECT_EQ(::mincore(mapping_, 4096, &resident), 0);
    return (resident & 1) != 0;
  }
  // The RELEASE of another descriptor arrives after its close(2) has returned.
  bool gone_soon() const {
    for (int i = 0; i < 500 && cached(); ++i) ::usleep(10'000);
    return !cached();
  }

 private:
  const int file_;
  void* mapping_;
};

TEST_F(MountTest, mmap_reads_the_key_and_leaves_no_page_behind) {
  backend().add("root-a", "0123456789");
  const PageWatch watch(path("root-a"));
  const int file = ::open(path("root-a").c_str(), O_RDONLY | O_CLOEXEC);
  char* mapping = static_cast<char*>(::mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE, file, 0));
  ASSERT_NE(mapping, MAP_FAILED);
  EXPECT_FALSE(watch.cached());
  EXPECT_EQ(std::string(mapping, 10), "0123456789");
  EXPECT_TRUE(watch.cached());
  ::munmap(mapping, 4096);
  ::close(file);
  EXPECT_TRUE(watch.gone_soon());
}

TEST_F(MountTest, sendfile_reads_the_key_and_leaves_no_page_behind) {
  backend().add("root-a", "0123456789");
  const PageWatch watch(path("root-a"));
  const int file = ::open(path("root-a").c_str(), O_RDONLY | O_CLOEXEC);
  const int copy = ::open((dir_.path() + "/copy").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  EXPECT_EQ(::sendfile(copy, file, nullptr, 4096), 10);
  EXPECT_TRUE(watch.cached());
  ::close(copy);
  ::close(file);
  EXPECT_TRUE(watch.gone_soon());
}

TEST_F(MountTest, plain_reads_leave_no_page_behind) {
  backend().add("root-a", "0123456789");
  const PageWatch watch(path("root-a"));
  const int file = ::open(path("root-a").c_str(), O_RDONLY | O_CLOEXEC);
  char buffer[100];
  EXPECT_EQ(::read(file, buffer, sizeof buffer), 10);
  EXPECT_FALSE(watch.cached());
  EXPECT_EQ(::pread(file, buffer, sizeof buffer, 10), 0);
  EXPECT_EQ(::pread(file, buffer, sizeof buffer, 7), 3);
  EXPECT_FALSE(watch.cached());
  ::close(file);
}

bool kernel_knows_shared_mappings() {
  utsname system{};
  int major = 0;
  int minor = 0;
  return ::uname(&system) == 0 && std::sscanf(system.release, "%d.%d", &major, &minor) == 2 &&
         std::pair(major, minor) >= std::pair(6, 6);
}

TEST_F(MountTest, a_shared_mapping_is_given_where_kernel_and_libfuse_can_and_leaves_no_page) {
  backend().add("root-a", "0123456789");
  const PageWatch watch(path("root-a"));
  const int file = ::open(path("root-a").c_str(), O_RDONLY | O_CLOEXEC);
  void* mapping = ::mmap(nullptr, 4096, PROT_READ, MAP_SHARED, file, 0);
  if (kLibfuseKnowsSharedMappings && kernel_knows_shared_mappings()) {
    ASSERT_NE(mapping, MAP_FAILED) << errno;
    EXPECT_EQ(std::string(static_cast<char*>(mapping), 10), "0123456789");
    EXPECT_TRUE(watch.cached());
    ::munmap(mapping, 4096);
  } else {
    EXPECT_EQ(mapping, MAP_FAILED);
    EXPECT_EQ(errno, ENODEV);
  }
  EXPECT_EQ(::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0), MAP_FAILED);
  ::close(file);
  EXPECT_TRUE(watch.gone_soon());
}

std::string attribute(const std::string& path, const char* name, int* error = nullptr) {
  std::array<char, 200> value{};
  const ssize_t size = ::getxattr(path.c_str(), name, value.data(), value.size());
  if (error != nullptr) *error = size < 0 ? errno : 0;
  return size < 0 ? "" : std::string(value.data(), static_cast<size_t>(size));
}

TEST_F(MountTest, extended_attributes_tell_of_a_key_without_unwrapping_it) {
  backend().add("root-a", "x");
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(attribute(path("root-a"), "user.keyfs.version"), "1");
    EXPECT_EQ(attribute(path("root-a"), "user.keyfs.state"), "enabled");
    EXPECT_EQ(attribute(path("root-a"), "user.keyfs.created"), "2023-11-14T22:13:20Z");
    EXPECT_EQ(attribute(path("root-a"), "user.keyfs.regions"), "alpha,beta");
    EXPECT_EQ(backend().opens, round);
    EXPECT_EQ(backend().describes, 4);
    EXPECT_EQ(open_error(path("root-a")), 0);  // from now on known from the cache
  }
  std::array<char, 200> names{};
  EXPECT_EQ(::listxattr(path("root-a").c_str(), names.data(), names.size()), 74);
}

TEST_F(MountTest, extended_attributes_are_for_those_who_may_read) {
  backend().add("app-a", "x");
  int error = 0;
  attribute(path("app-a"), "user.keyfs.version", &error);
  EXPECT_EQ(error, EACCES);
  EXPECT_EQ(::listxattr(path("app-a").c_str(), nullptr, 0), 0);
  attribute(path("root-absent"), "user.keyfs.version", &error);
  EXPECT_EQ(error, ENODATA);
  attribute(path("root-absent"), "security.selinux", &error);
  EXPECT_EQ(error, ENODATA);
  attribute(path("root-absent"), "system.posix_acl_access", &error);
  EXPECT_EQ(error, EOPNOTSUPP);
  EXPECT_EQ(backend().describes, 1);
}

TEST_F(MountTest, own_files_are_for_admins) {
  EXPECT_EQ(run("cat " + path(".keyfs/version")).output, "keyfs test\n");
  EXPECT_EQ(run("stat -c %s " + path(".keyfs/version")).output, "11\n");
  EXPECT_EQ(run("ls -U " + path(".keyfs")).output, "version\nstatus\nversions\nhex\nbase64\n");
  EXPECT_EQ(run("tar -C " + root_ + " -cf - .keyfs/status | tar -xOf -").output, "{}\n");
  const Ran ran = run(as_user(1001, "cat " + path(".keyfs/version")));
  EXPECT_NE(ran.output.find("Permission denied"), std::string::npos) << ran.output;
  EXPECT_EQ(run(as_user(1001, "ls -U " + path(".keyfs"))).output, "versions\nhex\nbase64\n");
  EXPECT_EQ(run("stat -c '%A %u %h' " + path(".keyfs")).output, "dr-xr-xr-x 0 5\n");
  EXPECT_EQ(open_error(path(".keyfs/nothing")), ENOENT);
  EXPECT_EQ(open_error(path(".keyfs/version"), O_WRONLY), EROFS);
}

TEST_F(MountTest, the_mount_is_of_our_type_and_restricted) {
  const std::string line = run("grep ' " + root_ + " ' /proc/self/mounts").output;
  EXPECT_EQ(line.rfind("keyfs " + root_ + " fuse.keyfs ", 0), 0U) << line;
  for (const std::string option :
       {"ro,", "nosuid", "nodev", "noexec", "max_read=4096", "allow_other"}) {
    EXPECT_NE(line.find(option), std::string::npos) << option;
  }
  EXPECT_EQ(line.find("default_permissions"), std::string::npos);
}

TEST_F(MountTest, a_new_policy_hides_names_and_changes_owners_at_once) {
  backend().add("root-a", "x");
  backend().add("app-a", "x");
  EXPECT_EQ(run("stat -c %u " + path("app-a")).output, "1001\n");
  EXPECT_EQ(open_error(path("root-a")), 0);
  side_->policy.replace(policy_of("[keys app-*]\nread = uid:1002\n"));
  side_->ops.policy_changed();
  side_->ops.drain_notifications();
  EXPECT_EQ(run("stat -c %u " + path("app-a")).output, "1002\n");
  EXPECT_EQ(open_error(path("root-a")), ENOENT);
  struct stat attributes {};
  EXPECT_NE(::stat(path("root-a").c_str(), &attributes), 0);
  EXPECT_NE(run("cat " + path(".keyfs/version")).status, 0);
}

TEST_F(MountTest, every_open_of_a_key_is_audited) {
  backend().add("app-a", "x");
  open_error(path("app-a"));
  open_error(path("root-a"));
  open_error(path("root-a"));
  run(as_user(1002, "cat " + path("shared-none")));
  backend().fail_with(Error(Code::kCorrupt, "because"));
  open_error(path("root-b"));
  const std::string lines = side_->audit_lines();
  EXPECT_EQ(std::count(lines.begin(), lines.end(), '\n'), 5) << lines;
  for (const std::string part :
       {R"("id":"app-a")", R"("verdict":"denied")", R"("source":"region","region":"alpha")",
        R"("created":true)", R"("source":"cache")", R"("verdict":"absent")",
        R"("verdict":"failed")", R"("uid":1002)"}) {
    EXPECT_NE(lines.find(part), std::string::npos) << part << "\n" << lines;
  }
}

TEST_F(MountTest, a_revoked_key_ends_for_files_that_are_open) {
  backend().add("root-a", "0123");
  const int file = ::open(path("root-a").c_str(), O_RDONLY);
  char byte = 0;
  EXPECT_EQ(::pread(file, &byte, 1, 0), 1);
  side_->loop.post([this] {
    const KeyRef entry = side_->cache.find("root-a");
    side_->cache.revoke(*entry, side_->loop.now() + std::chrono::hours(1), 0);
  });
  backend().fail_with(Error(Code::kRevoked, "disabled"));
  int error = 0;
  for (int i = 0; i < 500 && error == 0; ++i) {
    error = ::pread(file, &byte, 1, 0) < 0 ? errno : 0;
    if (error == 0) ::usleep(10'000);
  }
  EXPECT_EQ(error, EKEYREVOKED);
  ::close(file);
}

}  // namespace
}  // namespace keyfs
