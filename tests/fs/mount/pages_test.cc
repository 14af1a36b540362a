// Readers through the page cache (mmap, sendfile, splice) while nobody can be asked about the key.
#include <sys/mman.h>
#include <sys/sendfile.h>

#include <cerrno>
#include <csignal>
#include <initializer_list>

#include "fs/mount/mount_fixture.h"

namespace keyfs {
namespace {

using namespace keyfs::testing;  // NOLINT: a test's own fixture

// Keys that are soon too old to be served unasked, and a backend that hangs.
class MountOfOldKeysTest : public MountTest {
 public:
  static constexpr int kFirst = 100;

 protected:
  static constexpr std::chrono::milliseconds kDeadline{1500};
  // The kernel reads a page ahead, and again when that failed; neither may wait anew.
  static constexpr std::chrono::milliseconds kBound =
      kDeadline * 2 - std::chrono::milliseconds(250);

  void make_side() override {
    FuseOptions options;
    options.open_deadline = kDeadline;
    CacheOptions cache;
    cache.fresh_for = std::chrono::milliseconds(100);
    cache.serve_stale_for = std::chrono::milliseconds(300);
    mount(std::make_unique<FuseSide>(options, cache));
    backend().add("root-a", "0123456789");
  }
  // A descriptor of a key about which the store must be asked, and is not to be had.
  int open_and_hang() {
    const int file = ::open(path("root-a").c_str(), O_RDONLY | O_CLOEXEC);
    backend().hang(true);
    const auto entry = side_->cache.find("root-a");
    while (side_->cache.peek(*entry, side_->loop.now()).what != KeyCache::Peek::kAsk) {
      ::usleep(10'000);
    }
    return file;
  }
  // `read` gives an errno, in a process that has kFirst and following for descriptors.
  template <class Read>
  pid_t start_with(std::initializer_list<int> descriptors, Read read) {
    const pid_t child = ::fork();
    if (child == 0) {
      int next = kFirst;
      for (const int descriptor : descriptors) ::dup2(descriptor, next++);
      ::close_range(3, kFirst - 1, 0);  // see start()
      ::close_range(static_cast<unsigned>(next), ~0U, 0);
      ::_exit(read());
    }
    return child;
  }
  template <class Read>
  void expect_soon(std::initializer_list<int> descriptors, Read read) {
    const auto begin = std::chrono::steady_clock::now();
    const pid_t child = start_with(descriptors, read);
    EXPECT_EQ(wait_for(child), ETIMEDOUT);
    EXPECT_GE(since(begin), kDeadline);
    EXPECT_LT(since(begin), kBound);
    backend().hang(false);
    EXPECT_EQ(run("cat " + path("root-a")).output, "0123456789");
  }
};

int sendfile_error() {
  return ::sendfile(MountOfOldKeysTest::kFirst + 1, MountOfOldKeysTest::kFirst, nullptr, 4096) < 0
             ? errno
             : 0;
}

TEST_F(MountOfOldKeysTest, sendfile_fails_within_its_deadline_when_nobody_can_be_asked) {
  const int file = open_and_hang();
  const int copy = ::open((dir_.path() + "/copy").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  expect_soon({file, copy}, sendfile_error);
  ::close(copy);
  ::close(file);
}

TEST_F(MountOfOldKeysTest, splice_fails_within_its_deadline_when_nobody_can_be_asked) {
  const int file = open_and_hang();
  std::array<int, 2> pipe{};
  ASSERT_EQ(::pipe2(pipe.data(), O_CLOEXEC), 0);
  expect_soon({file, pipe[1]}, [] {
    return ::splice(kFirst, nullptr, kFirst + 1, nullptr, 4096, 0) < 0 ? errno : 0;
  });
  for (const int descriptor : {pipe[0], pipe[1], file}) ::close(descriptor);
}

TEST_F(MountOfOldKeysTest, a_mapping_faults_within_its_deadline_when_nobody_can_be_asked) {
  const int file = open_and_hang();
  void* mapping = ::mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE, file, 0);
  ASSERT_NE(mapping, MAP_FAILED);
  expect_soon({}, [&] {
    ::signal(SIGBUS, [](int) { ::_exit(ETIMEDOUT); });
    return *static_cast<const volatile char*>(mapping) == '0' ? 0 : EIO;
  });
  ::munmap(mapping, 4096);
  ::close(file);
}

TEST_F(MountOfOldKeysTest, sendfile_that_waits_dies_of_SIGKILL) {
  const int file = open_and_hang();
  const int copy = ::open((dir_.path() + "/copy").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  expect_deadly({SIGKILL}, [&] { return start_with({file, copy}, sendfile_error); });
  ::close(copy);
  ::close(file);
}

}  // namespace
}  // namespace keyfs
