// What an open file tells of its version: ioctl(2) and poll(2).
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>

#include <array>
#include <atomic>
#include <future>
#include <thread>
#include <vector>

#include "fs/mount/keyfs.h"
#include "fs/mount/versions_fixture.h"

namespace keyfs {
namespace {

using namespace keyfs::testing;  // NOLINT: a test's own fixture

class PollsTest : public VersionsTest {
 protected:
  static int open_file(const std::string& path) {
    const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    EXPECT_GE(file, 0) << path << ": " << errno;
    return file;
  }
  // 0: not one of a key.
  static uint32_t version_of(int file) {
    uint32_t version = 0;
    if (::ioctl(file, KEYFS_IOC_VERSION, &version) != 0) {
      EXPECT_EQ(errno, ENOTTY);
      return 0;
    }
    return version;
  }
  static short polled(int file, short events, int milliseconds) {
    pollfd one{file, events, 0};
    return ::poll(&one, 1, milliseconds) < 0 ? short{-1} : one.revents;
  }
  static constexpr int kLong = 20'000;
};

TEST_F(PollsTest, ioctl_tells_the_version_of_every_descriptor_of_a_key) {
  backend().add("root-a", "first");
  const int plain = open_file(path("root-a"));
  const int hex = open_file(path(".keyfs/hex/root-a"));
  rotate("root-a", "second");
  const int later = open_file(path("root-a"));
  const int numbered = open_file(versions("root-a", "1"));
  const int current = open_file(versions("root-a", "current"));
  const int opens = backend().opens;
  EXPECT_EQ(version_of(plain), 1U);
  EXPECT_EQ(version_of(hex), 1U);
  EXPECT_EQ(version_of(later), 2U);
  EXPECT_EQ(version_of(numbered), 1U);
  EXPECT_EQ(version_of(current), 2U);
  EXPECT_EQ(backend().opens, opens);
  for (const std::string other : {".keyfs/version", ".keyfs", ".keyfs/versions/root-a", ""}) {
    const int file = open_file(path(other));
    EXPECT_EQ(version_of(file), 0U) << other;
    ::close(file);
  }
  EXPECT_EQ(::isatty(plain), 0);
  EXPECT_EQ(errno, ENOTTY);
  for (const int file : {plain, hex, later, numbered, current}) ::close(file);
}

TEST_F(PollsTest, a_file_is_always_readable_and_urgent_once_another_version_is_current) {
  backend().add("root-a", "first");
  const int plain = open_file(path("root-a"));
  EXPECT_EQ(polled(plain, POLLIN | POLLPRI, 0), POLLIN);
  EXPECT_EQ(polled(plain, POLLPRI, 0), 0);
  rotate("root-a", "second");
  EXPECT_EQ(polled(plain, POLLIN | POLLPRI, 0), POLLIN | POLLPRI);
  const int later = open_file(path("root-a"));
  EXPECT_EQ(polled(later, POLLIN | POLLPRI, 0), POLLIN);
  const int numbered = open_file(versions("root-a", "1"));
  EXPECT_EQ(polled(numbered, POLLPRI, 0), POLLPRI);
  const int status = open_file(path(".keyfs/status"));
  EXPECT_EQ(polled(status, POLLIN | POLLPRI, 0), POLLIN);
  for (const int file : {plain, later, numbered, status}) ::close(file);
}

// Who waits is in the kernel's queue once the daemon has answered its first poll.
TEST_F(PollsTest, who_only_polls_is_woken_when_another_version_is_served) {
  backend().add("root-a", "first");
  const std::array<int, 4> files = {open_file(path("root-a")), open_file(path("root-a")),
                                    open_file(path(".keyfs/base64/root-a")),
                                    open_file(versions("root-a", "current"))};
  std::vector<std::future<short>> waiting;
  for (const int file : files) {
    waiting.push_back(std::async(std::launch::async, [=] { return polled(file, POLLPRI, kLong); }));
  }
  while (side_->ops.status().polled_files < files.size()) ::usleep(1'000);
  const auto begin = std::chrono::steady_clock::now();
  rotate("root-a", "second");
  for (auto& one : waiting) EXPECT_EQ(one.get(), POLLPRI);
  EXPECT_LT(since(begin), std::chrono::seconds(2));
  for (const int file : files) ::close(file);
}

TEST_F(PollsTest, epoll_reports_it_as_well) {
  backend().add("root-a", "first");
  const int file = open_file(path("root-a"));
  const int set = ::epoll_create1(EPOLL_CLOEXEC);
  epoll_event event{};
  event.events = EPOLLPRI | EPOLLET;
  ASSERT_EQ(::epoll_ctl(set, EPOLL_CTL_ADD, file, &event), 0) << errno;
  EXPECT_EQ(::epoll_wait(set, &event, 1, 0), 0);
  auto waiting =
      std::async(std::launch::async, [&] { return ::epoll_wait(set, &event, 1, kLong); });
  while (side_->ops.status().polled_files < 1) ::usleep(1'000);
  rotate("root-a", "second");
  EXPECT_EQ(waiting.get(), 1);
  EXPECT_EQ(event.events, EPOLLPRI);
  ::close(set);
  ::close(file);
}

TEST_F(PollsTest, polling_again_and_again_and_closed_files_leave_nothing_behind) {
  backend().add("root-a", "first");
  const int kept = open_file(path("root-a"));
  for (int i = 0; i < 50; ++i) {
    EXPECT_EQ(polled(kept, POLLPRI, 1), 0);
    const int file = open_file(path("root-a"));
    EXPECT_EQ(polled(file, POLLPRI, 1), 0);
    ::close(file);
    EXPECT_LE(side_->ops.status().polled_files, 10U);
  }
  auto waiting = std::async(std::launch::async, [&] { return polled(kept, POLLPRI, kLong); });
  for (int i = 0; i < 20; ++i) ::close(open_file(path("root-a")));
  rotate("root-a", "second");
  EXPECT_EQ(waiting.get(), POLLPRI);
  ::close(kept);
  for (int i = 0; i < 500 && side_->ops.status().polled_files > 0; ++i) ::usleep(10'000);
  EXPECT_EQ(side_->ops.status().polled_files, 0U);
}

// Nobody reads the key, and nothing announces the change.
class QuietPollsTest : public PollsTest {
 protected:
  void make_side() override {
    CacheOptions cache;
    cache.fresh_for = std::chrono::milliseconds(400);
    mount(std::make_unique<FuseSide>(FuseOptions(), cache));
  }
};

TEST_F(QuietPollsTest, who_only_polls_has_the_key_checked_and_hears_of_the_change) {
  backend().add("root-a", "first");
  const int file = open_file(path("root-a"));
  auto waiting = std::async(std::launch::async, [&] { return polled(file, POLLPRI, kLong); });
  while (side_->ops.status().polled_files < 1) ::usleep(1'000);
  while (backend().refreshes == 0) ::usleep(1'000);
  const uint32_t version = backend().rotate("root-a", "second");
  const KeyRef entry = side_->cache.acquire("root-a");
  side_->cache.put(*entry, backend().make("root-a", version), side_->loop.now(),
                   side_->cache.epoch());
  EXPECT_EQ(waiting.get(), POLLPRI);
  ::close(file);
}

}  // namespace
}  // namespace keyfs
