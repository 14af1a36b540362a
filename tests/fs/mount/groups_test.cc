// When supplementary groups count.
#include <fcntl.h>
#include <grp.h>
#include <linux/io_uring.h>
#include <sys/fsuid.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include "fs/mount/mount_fixture.h"
#include "fs/mount/request_groups.h"

namespace keyfs {
namespace {

using namespace keyfs::testing;  // NOLINT: a test's own fixture

// A fake /proc with one thread in it.
class FakeProc {
 public:
  explicit FakeProc(const std::string& flags = "4194560", const std::string& uid = "1003",
                    const std::string& gid = "1003", const std::string& groups = "2000 3000 ") {
    const std::string folder = dir_.path() + "/77";
    std::filesystem::create_directory(folder);
    std::ofstream(folder + "/stat") << "77 (a ) b (x) 1 16) S 1 2 3 4 5 " << flags << " 7 8 9\n";
    std::ofstream(folder + "/status")
        << "Name:\ta\nUmask:\t0022\nUid:\t0\t0\t0\t" << uid << "\nGid:\t0\t0\t0\t" << gid
        << "\nFDSize:\t64\nGroups:\t" << groups << "\nSigPnd:\t0000000000000000\n";
  }
  std::optional<std::vector<gid_t>> groups(pid_t thread = 77) const {
    return groups_of_thread(dir_.path(), thread, {1003, 1003});
  }

 private:
  const TemporaryDirectory dir_;
};

TEST(GroupsOfThread, are_those_of_a_thread_that_is_what_the_request_says) {
  EXPECT_EQ(FakeProc().groups(), (std::vector<gid_t>{2000, 3000}));
  EXPECT_EQ(FakeProc("0", "1003", "1003", "").groups(), std::vector<gid_t>());
}

TEST(GroupsOfThread, of_another_user_are_unknown) {
  EXPECT_EQ(FakeProc("0", "1004", "1003").groups(), std::nullopt);
  EXPECT_EQ(FakeProc("0", "1003", "1004").groups(), std::nullopt);
}

TEST(GroupsOfThread, of_a_worker_of_io_uring_are_unknown) {
  EXPECT_EQ(FakeProc("16").groups(), std::nullopt);
  EXPECT_EQ(FakeProc("4194320").groups(), std::nullopt);
}

TEST(GroupsOfThread, that_cannot_be_read_are_unknown) {
  EXPECT_EQ(FakeProc().groups(78), std::nullopt);
  EXPECT_EQ(FakeProc().groups(0), std::nullopt);
}

TEST(GroupsOfThread, are_read_to_the_last_of_them) {
  std::string many;
  std::vector<gid_t> expected;
  for (gid_t group = 4'294'960'000; group < 4'294'961'000; ++group) {
    many += std::to_string(group) + " ";
    expected.push_back(group);
  }
  EXPECT_EQ(FakeProc("0", "1003", "1003", many).groups(), expected);
}

// The least that io_uring needs.
class Ring {
 public:
  Ring() {
    io_uring_params params{};
    fd_ = static_cast<int>(::syscall(__NR_io_uring_setup, 4, &params));
    if (fd_ < 0) return;
    const auto map = [this](size_t size, off_t offset) {
      return static_cast<char*>(
          ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd_, offset));
    };
    char* sq = map(params.sq_off.array + params.sq_entries * sizeof(unsigned), IORING_OFF_SQ_RING);
    cq_ = map(params.cq_off.cqes + params.cq_entries * sizeof(io_uring_cqe), IORING_OFF_CQ_RING);
    entries_ = reinterpret_cast<io_uring_sqe*>(
        map(params.sq_entries * sizeof(io_uring_sqe), IORING_OFF_SQES));
    tail_ = reinterpret_cast<unsigned*>(sq + params.sq_off.tail);
    head_ = reinterpret_cast<unsigned*>(cq_ + params.cq_off.head);
    array_ = reinterpret_cast<unsigned*>(sq + params.sq_off.array);
    results_ = reinterpret_cast<io_uring_cqe*>(cq_ + params.cq_off.cqes);
    mask_ = params.cq_entries - 1;
  }
  bool works() const { return fd_ >= 0; }

  // open(2) by a worker: a descriptor, or -errno.
  int open(const std::string& path) {
    io_uring_sqe& entry = entries_[done_ % 4];
    std::memset(&entry, 0, sizeof entry);
    entry.opcode = IORING_OP_OPENAT;
    entry.flags = IOSQE_ASYNC;
    entry.fd = AT_FDCWD;
    entry.addr = reinterpret_cast<uintptr_t>(path.c_str());
    entry.open_flags = O_RDONLY;
    array_[done_ % 4] = done_ % 4;
    __atomic_store_n(tail_, done_ + 1, __ATOMIC_RELEASE);
    if (::syscall(__NR_io_uring_enter, fd_, 1, 1, IORING_ENTER_GETEVENTS, nullptr, 0) != 1) {
      return -errno;
    }
    const int result = results_[done_ & mask_].res;
    __atomic_store_n(head_, ++done_, __ATOMIC_RELEASE);
    return result;
  }

 private:
  int fd_ = -1;
  char* cq_ = nullptr;
  io_uring_sqe* entries_ = nullptr;
  unsigned* tail_ = nullptr;
  unsigned* head_ = nullptr;
  unsigned* array_ = nullptr;
  io_uring_cqe* results_ = nullptr;
  unsigned mask_ = 0;
  unsigned done_ = 0;
};

TEST_F(MountTest, a_worker_of_io_uring_does_not_bring_back_a_group_that_was_dropped) {
  backend().add("team-a", "secret");
  const pid_t child = start([&] {
    const gid_t team = 2000;
    if (::setgroups(1, &team) != 0) return 1;
    ::setfsgid(1003);
    ::setfsuid(1003);
    Ring ring;
    if (!ring.works()) return 77;
    const int before = ::open(path("team-a").c_str(), O_RDONLY);
    if (before < 0) return 2;
    if (ring.open("/dev/null") < 0) return 3;  // now there is a worker, with that group
    if (::setgroups(0, nullptr) != 0) return 4;
    if (::open(path("team-a").c_str(), O_RDONLY) >= 0 || errno != EACCES) return 5;
    return ring.open(path("team-a")) == -EACCES ? 0 : 6;
  });
  const int outcome = wait_for(child);
  if (outcome == 77) GTEST_SKIP() << "io_uring is not to be had on this machine";
  EXPECT_EQ(outcome, 0);
}

TEST_F(MountTest, an_interrupt_is_heeded_in_a_process_of_many_groups) {
  backend().hang(true);
  const pid_t child = start([&] {
    std::vector<gid_t> many;
    for (gid_t i = 0; i < 600; ++i) many.push_back(4'000'000'000U + i);
    if (::setgroups(many.size(), many.data()) != 0) return 1;
    ::open(path("root-a").c_str(), O_RDONLY);
    return 2;
  });
  backend().await_waiting(1);
  const auto begin = std::chrono::steady_clock::now();
  ::kill(child, SIGTERM);
  EXPECT_EQ(wait_for(child), 128 + SIGTERM);
  // A caller whose signals cannot be read is released after kBlindGrace.
  EXPECT_LT(since(begin), PendingReply::kBlindGrace);
}

}  // namespace
}  // namespace keyfs
