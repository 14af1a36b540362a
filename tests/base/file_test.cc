#include "base/file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <iterator>
#include <utility>

#include "support/temporary_directory.h"

namespace keyfs {
namespace {

using ::testing::HasSubstr;

bool is_open(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

TEST(Descriptor, closes_what_it_holds_once_and_leaves_errno_alone) {
  const int fd = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  ASSERT_GE(fd, 0);
  {
    Descriptor first(fd);
    Descriptor second(std::move(first));
    EXPECT_FALSE(first.is_open());
    EXPECT_EQ(second.get(), fd);
    first = std::move(second);
    EXPECT_TRUE(is_open(fd));
    errno = EDOM;
  }
  EXPECT_EQ(errno, EDOM);
  EXPECT_FALSE(is_open(fd));
}

TEST(Descriptor, assigned_another_file_closes_its_own) {
  const int before = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  const int after = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  Descriptor file(before);
  file = Descriptor(after);
  EXPECT_FALSE(is_open(before));
  EXPECT_TRUE(is_open(after));
}

TEST(File, an_error_tells_the_path_and_whether_permission_lacks) {
  for (const int why : {EACCES, EPERM, EROFS}) {
    EXPECT_EQ(os_error("/a/b", "cannot be read", why).code, Code::kDenied);
  }
  const Error full = os_error("/a/b", "cannot be written", ENOSPC);
  EXPECT_EQ(full.code, Code::kUnavailable);
  EXPECT_THAT(full.message, HasSubstr("/a/b: cannot be written: No space left"));
}

TEST(File, all_is_written_or_the_failure_is_told) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
  const Descriptor out(ends[0]);
  const Descriptor in(ends[1]);
  EXPECT_TRUE(write_all(in.get(), "some text"));
  std::string got(64, '\0');
  got.resize(static_cast<size_t>(::read(out.get(), got.data(), got.size())));
  EXPECT_EQ(got, "some text");
  const std::string much(1 << 20, 'x');  // more than a pipe takes
  EXPECT_FALSE(write_all(in.get(), much));
  EXPECT_EQ(errno, EAGAIN);
}

TEST(File, a_directory_is_told_from_a_path) {
  EXPECT_EQ(directory_of("/a/b"), "/a");
  EXPECT_EQ(directory_of("/a"), "/");
  EXPECT_EQ(directory_of("a"), ".");
  EXPECT_TRUE(sync_directory("/tmp"));
  EXPECT_FALSE(sync_directory("/nowhere"));
}

TEST(File, a_whole_file_takes_the_place_of_what_is_there_or_leaves_it_and_no_draft_is_left) {
  const testing::TemporaryDirectory folder;
  const std::string path = folder.file("state");
  const auto text = [&] { return read_to_end(path).value_or("none"); };
  ASSERT_TRUE(write_whole_file(path, "first", false));
  EXPECT_EQ(text(), "first");
  ASSERT_TRUE(write_whole_file(path, "second", false));
  EXPECT_EQ(text(), "first");
  ASSERT_TRUE(write_whole_file(path, "third", true));
  EXPECT_EQ(text(), "third");
  const std::filesystem::directory_iterator files(folder.path());
  EXPECT_EQ(std::distance(begin(files), end(files)), 1);
  EXPECT_EQ(write_whole_file("/nowhere/state", "x", true).error().code, Code::kUnavailable);
}

}  // namespace
}  // namespace keyfs
