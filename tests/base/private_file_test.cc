#include "base/private_file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>

#include "support/temporary_directory.h"

namespace keyfs {
namespace {

using ::testing::HasSubstr;

class PrivateFile : public ::testing::Test {
 protected:
  // "": it may be used.
  std::string refusal(Guard guard, const std::string& file) {
    const auto opened = open_private_file(file, O_RDONLY, guard);
    return opened ? "" : opened.error().message;
  }
  std::string make(mode_t mode, uid_t owner = ::geteuid()) {
    const std::string path = folder_.path() + "/file";
    std::ofstream(path) << "text";
    EXPECT_EQ(::chmod(path.c_str(), mode), 0);
    EXPECT_EQ(::chown(path.c_str(), owner, static_cast<gid_t>(-1)), 0) << "needs root";
    return path;
  }
  testing::TemporaryDirectory folder_;
};

TEST_F(PrivateFile, what_others_can_write_is_refused) {
  for (const mode_t mode : {0620, 0602, 0666}) {
    for (const Guard guard : {Guard::kSecret, Guard::kOurs, Guard::kTrusted}) {
      EXPECT_NE(refusal(guard, make(mode)), "") << std::oct << mode;
    }
  }
  EXPECT_THAT(refusal(Guard::kOurs, make(0664)),
              HasSubstr("others can write it (mode 0664); run: chmod go-w /"));
}

TEST_F(PrivateFile, what_others_can_read_is_refused_only_where_it_is_a_secret) {
  EXPECT_EQ(refusal(Guard::kOurs, make(0644)), "");
  EXPECT_EQ(refusal(Guard::kTrusted, make(0644)), "");
  EXPECT_THAT(refusal(Guard::kSecret, make(0640)), HasSubstr("run: chmod 600 /"));
  EXPECT_EQ(refusal(Guard::kSecret, make(0600)), "");
}

TEST_F(PrivateFile, what_another_user_owns_is_refused) {
  for (const Guard guard : {Guard::kSecret, Guard::kOurs, Guard::kTrusted}) {
    EXPECT_THAT(refusal(guard, make(0600, 12345)), HasSubstr("is owned by uid 12345"));
  }
}

TEST_F(PrivateFile, roots_own_is_trusted_as_configuration_and_nowhere_else) {
  struct stat about {};
  about.st_uid = 0;
  about.st_mode = S_IFREG | 0644;
  ASSERT_EQ(::seteuid(12345), 0) << "needs root";
  EXPECT_TRUE(check_guard("/f", about, Guard::kTrusted));
  EXPECT_FALSE(check_guard("/f", about, Guard::kOurs));
  ASSERT_EQ(::seteuid(0), 0);
}

TEST_F(PrivateFile, a_symbolic_link_is_refused_also_for_writing_and_nothing_is_made_behind_it) {
  const std::string link = folder_.path() + "/link";
  const std::string target = folder_.path() + "/target";
  ASSERT_EQ(::symlink(target.c_str(), link.c_str()), 0);
  const auto opened = open_private_file(link, O_WRONLY | O_CREAT | O_APPEND, Guard::kOurs);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, Code::kDenied);
  EXPECT_THAT(opened.error().message, HasSubstr("is a symbolic link"));
  EXPECT_NE(::access(target.c_str(), F_OK), 0);
}

TEST_F(PrivateFile, a_fifo_is_refused_without_waiting_for_its_other_end) {
  const std::string fifo = folder_.path() + "/fifo";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  EXPECT_THAT(refusal(Guard::kOurs, fifo), HasSubstr("is not a regular file"));
}

TEST_F(PrivateFile, a_directory_where_others_can_replace_the_file_is_refused_unless_it_is_sticky) {
  const std::string dir = folder_.path() + "/place";
  const std::string file = dir + "/file";
  ASSERT_EQ(::mkdir(dir.c_str(), 0755), 0);
  const auto refused = [&](mode_t mode, uid_t owner) {
    EXPECT_EQ(::chown(dir.c_str(), owner, static_cast<gid_t>(-1)), 0) << "needs root";
    EXPECT_EQ(::chmod(dir.c_str(), mode), 0);
    const auto checked = check_place(file);
    return checked ? std::string() : checked.error().message;
  };
  EXPECT_EQ(refused(0755, ::geteuid()), "");
  EXPECT_EQ(refused(01777, ::geteuid()), "");
  for (const mode_t mode : {0777, 0775, 0757}) {
    EXPECT_THAT(refused(mode, ::geteuid()),
                HasSubstr("can be replaced by others: its directory " + dir + " has mode 0"));
  }
  EXPECT_THAT(refused(0757, ::geteuid()), HasSubstr("run: chmod go-w " + dir));
  // Its owner can, sticky or not.
  EXPECT_THAT(refused(0755, 12345), HasSubstr("is owned by uid 12345"));
  EXPECT_THAT(refused(01777, 12345), HasSubstr("is owned by uid 12345"));
  EXPECT_TRUE(check_place(folder_.path() + "/none/file"));
  EXPECT_TRUE(check_place("/file"));
}

TEST_F(PrivateFile, a_directory_is_judged_by_the_same_rule_and_may_be_behind_a_link) {
  const std::string dir = folder_.path() + "/state";
  ASSERT_EQ(::mkdir(dir.c_str(), 0755), 0);
  EXPECT_TRUE(check_private_directory(dir));
  const std::string link = folder_.path() + "/state.link";
  ASSERT_EQ(::symlink(dir.c_str(), link.c_str()), 0);
  EXPECT_TRUE(check_private_directory(link));
  ASSERT_EQ(::chmod(dir.c_str(), 01777), 0);
  EXPECT_FALSE(check_private_directory(dir));
  ASSERT_EQ(::chmod(dir.c_str(), 0755), 0);
  ASSERT_EQ(::chown(dir.c_str(), 12345, 0), 0) << "needs root";
  EXPECT_FALSE(check_private_directory(link));
  EXPECT_FALSE(check_private_directory(make(0600)));
}

}  // namespace
}  // namespace keyfs
