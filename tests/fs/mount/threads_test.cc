// The threads that take requests, on the test's own operations, over a socket.
#include "fs/mount/threads.h"

#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>
#include <gtest/gtest.h>
#include <linux/fuse.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <future>
#include <memory>
#include <vector>

namespace keyfs {
namespace {

class FuseThreadsTest : public ::testing::Test {
 protected:
  static constexpr fuse_ino_t kSlow = 7;  // waits for a signal
  static constexpr fuse_ino_t kBusy = 8;  // computes for a while

  void SetUp() override {
    std::array<int, 2> ends{};
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()), 0);
    kernel_ = ends[0];
    const timeval patience{30, 0};
    ASSERT_EQ(::setsockopt(kernel_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
    fuse_lowlevel_ops operations{};
    operations.getattr = [](fuse_req_t req, fuse_ino_t node, fuse_file_info*) {
      if (node == kSlow) static_cast<FuseThreadsTest*>(fuse_req_userdata(req))->go_on_.wait();
      const auto until = std::chrono::steady_clock::now() + std::chrono::microseconds(100);
      while (node == kBusy && std::chrono::steady_clock::now() < until) {
      }
      fuse_reply_err(req, ENOENT);
    };
    char program[] = "test";
    std::array<char*, 2> words = {program, nullptr};
    fuse_args arguments = FUSE_ARGS_INIT(1, words.data());
    session_ = fuse_session_new(&arguments, &operations, sizeof operations, this);
    fuse_opt_free_args(&arguments);
    ASSERT_NE(session_, nullptr);
    fuse_custom_io io{};
    io.read = [](int socket, void* buffer, size_t size, void*) {
      const ssize_t got = ::read(socket, buffer, size);
      if (got > 1) return got;
      if (got >= 0) errno = got == 1 ? EIO : ENODEV;  // a single byte stands for a broken device
      return ssize_t{-1};
    };
    io.writev = [](int socket, iovec* parts, int count, void*) {
      msghdr message{};
      message.msg_iov = parts;
      message.msg_iovlen = static_cast<size_t>(count);
      return ::sendmsg(socket, &message, MSG_NOSIGNAL);
    };
    ASSERT_EQ(fuse_session_custom_io(session_, &io, ends[1]), 0);
  }
  void TearDown() override {
    threads_.reset();
    fuse_session_destroy(session_);
    if (kernel_ >= 0) ::close(kernel_);
  }

  void serve() {
    auto made = FuseThreads::make(session_, [this] {
      if (!ended_told_.exchange(true)) ended_.set_value();
    });
    ASSERT_TRUE(made) << made.error().message;
    threads_ = std::move(*made);
    threads_->serve();
    fuse_init_in init{};
    init.major = FUSE_KERNEL_VERSION;
    init.minor = 31;
    send(FUSE_INIT, 1, &init, sizeof init);
    ASSERT_NE(receive(), 0U);
  }
  uint64_t send(uint32_t opcode, uint64_t node, const void* body, size_t size) {
    fuse_in_header header{};
    header.len = static_cast<uint32_t>(sizeof header + size);
    header.opcode = opcode;
    header.unique = next_ += 2;
    header.nodeid = node;
    std::vector<char> message(header.len);
    std::memcpy(message.data(), &header, sizeof header);
    std::memcpy(message.data() + sizeof header, body, size);
    EXPECT_EQ(::send(kernel_, message.data(), message.size(), 0),
              static_cast<ssize_t>(message.size()));
    return header.unique;
  }
  uint64_t ask(uint64_t node) {
    ++asked_;
    const fuse_getattr_in request{};
    return send(FUSE_GETATTR, node, &request, sizeof request);
  }
  // Which request the next answer is for; 0 if none comes.
  uint64_t receive() {
    std::array<char, 4096> message{};
    fuse_out_header header{};
    if (::recv(kernel_, message.data(), message.size(), 0) < static_cast<ssize_t>(sizeof header)) {
      return 0;
    }
    std::memcpy(&header, message.data(), sizeof header);
    ++answers_;
    return header.unique;
  }
  bool ended() {
    return ended_.get_future().wait_for(std::chrono::seconds(30)) == std::future_status::ready;
  }

  std::promise<void> slow_may_go_on_;
  std::shared_future<void> go_on_ = slow_may_go_on_.get_future().share();
  std::promise<void> ended_;
  std::atomic<bool> ended_told_{false};
  fuse_session* session_ = nullptr;
  int kernel_ = -1;
  uint64_t next_ = 0;
  uint64_t asked_ = 0;
  uint64_t answers_ = 0;  // counts the one to INIT, too
  std::unique_ptr<FuseThreads> threads_;
};

TEST_F(FuseThreadsTest, one_slow_answer_does_not_hold_up_the_rest) {
  serve();
  const uint64_t slow = ask(kSlow);
  for (uint64_t node = 20; node < 40; ++node) {
    const uint64_t quick = ask(node);
    EXPECT_EQ(receive(), quick);
  }
  slow_may_go_on_.set_value();
  EXPECT_EQ(receive(), slow);
}

TEST_F(FuseThreadsTest, stop_ends_those_that_wait_for_a_request_and_answers_what_was_taken) {
  serve();
  const uint64_t slow = ask(kSlow);
  const uint64_t quick = ask(20);
  EXPECT_EQ(receive(), quick);  // so that the slow one was taken, too
  std::thread later([this] { slow_may_go_on_.set_value(); });
  EXPECT_EQ(threads_->stop(), 0);
  later.join();
  EXPECT_EQ(receive(), slow);
}

TEST_F(FuseThreadsTest, all_of_them_are_there_before_any_serves_and_can_be_let_go) {
  auto made = FuseThreads::make(session_, [] {});
  ASSERT_TRUE(made) << made.error().message;
  threads_ = std::move(*made);
  size_t named = 0;
  for (const auto& thread : std::filesystem::directory_iterator("/proc/self/task")) {
    std::ifstream in(thread.path() / "comm");
    std::string name;
    in >> name;
    if (name == "keyfs-fuse") ++named;
  }
  EXPECT_EQ(named, 4U);
  EXPECT_EQ(threads_->stop(), 0);
}

TEST_F(FuseThreadsTest, no_threads_to_be_had_is_an_error) {
  // RLIMIT_NPROC does not bind root.
  const pid_t child = ::fork();
  if (child == 0) {
    const rlimit few{1, 1};
    if (::setrlimit(RLIMIT_NPROC, &few) != 0 || ::setuid(64'123) != 0) ::_exit(2);
    const auto made = FuseThreads::make(session_, [] {});
    ::_exit(!made && made.error().message.find("could not start a thread") == 0 ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST_F(FuseThreadsTest, tells_when_the_file_system_was_unmounted) {
  serve();
  ::close(std::exchange(kernel_, -1));
  EXPECT_TRUE(ended());
  EXPECT_EQ(threads_->stop(), 0);
}

TEST_F(FuseThreadsTest, tells_when_the_device_fails_and_with_which_errno) {
  serve();
  EXPECT_EQ(::send(kernel_, "x", 1, 0), 1);
  EXPECT_TRUE(ended());
  EXPECT_EQ(threads_->stop(), -EIO);
}

TEST_F(FuseThreadsTest, helpers_join_while_requests_queue_up_and_leave_when_they_do_not) {
  serve();
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  std::atomic<uint64_t> last{0};
  std::thread reader([&] {  // or the answers would have to wait
    while (receive() != 0 && answers_ != last) {
    }
  });
  while (threads_->active() < 4 && std::chrono::steady_clock::now() < end) ask(kBusy);
  EXPECT_EQ(threads_->active(), 4U);
  last = asked_ + 2;  // this one, and INIT's
  ask(20);
  reader.join();

  // One at a time: the thread that takes it has waited for it.
  while (threads_->active() > 2 && std::chrono::steady_clock::now() < end) {
    ask(20);
    ASSERT_NE(receive(), 0U);
  }
  EXPECT_EQ(threads_->active(), 2U);
}

}  // namespace
}  // namespace keyfs
