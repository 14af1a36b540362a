// The operations as the kernel's side of the protocol sees them (linux/fuse.h), over a socket: runs
// without /dev/fuse, and sends things that a kernel rarely sends.
#include <fcntl.h>
#include <linux/fuse.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <thread>
#include <vector>

#include "fs/mount/fixture.h"

namespace keyfs {
namespace {

using namespace keyfs::testing;  // NOLINT: a test's own fixture

struct Reply {
  int error = 0;
  uint64_t unique = 0;
  std::vector<char> body;
  template <class T>
  T as() const {
    T value{};
    EXPECT_GE(body.size(), sizeof value);
    std::memcpy(&value, body.data(), std::min(body.size(), sizeof value));
    return value;
  }
  std::string text() const { return {body.begin(), body.end()}; }
};

class SocketTest : public ::testing::Test {
 protected:
  // Newer than Debian 12's linux/fuse.h.
  static constexpr uint64_t kSharedMappings = uint64_t{1} << 36;  // FUSE_DIRECT_IO_ALLOW_MMAP
  static constexpr uint64_t kIdmappedMounts = uint64_t{1} << 40;  // FUSE_ALLOW_IDMAP

  void SetUp() override { connect({}); }
  void connect(FuseOptions options) {
    side_ = std::make_unique<FuseSide>(std::move(options));
    std::array<int, 2> ends{};
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()), 0);
    kernel_ = ends[0];
    daemons_ = ::fcntl(ends[1], F_DUPFD_CLOEXEC, 0);
    const timeval patience{30, 0};
    ASSERT_EQ(::setsockopt(kernel_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
    auto session = FuseSession::over_socket(ends[1], side_->ops, side_->log.log());
    ASSERT_TRUE(session) << session.error().message;
    side_->serve(std::move(*session));
    fuse_init_in init{};
    init.major = FUSE_KERNEL_VERSION;
    init.minor = 31;
    init.max_readahead = 131'072;
    init.flags = FUSE_INIT_EXT | FUSE_PARALLEL_DIROPS;
    init.flags2 = static_cast<uint32_t>((kSharedMappings | kIdmappedMounts) >> 32);
    const Reply reply = call(FUSE_INIT, 0, &init, sizeof init);
    EXPECT_EQ(reply.error, 0);
    const auto taken = reply.as<fuse_init_out>();
    taken_ = taken.flags | static_cast<uint64_t>(taken.flags2) << 32;
  }
  void TearDown() override {
    side_.reset();
    ::close(kernel_);
    ::close(daemons_);
  }

  uint64_t send(uint32_t opcode, uint64_t node, const void* body, size_t size, uint32_t uid = 0,
                uint32_t pid = 0) {
    fuse_in_header header{};
    header.len = static_cast<uint32_t>(sizeof header + size);
    header.opcode = opcode;
    header.unique = next_ += 2;
    header.nodeid = node;
    header.uid = header.gid = uid;
    header.pid = pid;
    std::vector<char> message(header.len);
    std::memcpy(message.data(), &header, sizeof header);
    if (size > 0) std::memcpy(message.data() + sizeof header, body, size);
    EXPECT_EQ(::send(kernel_, message.data(), message.size(), 0),
              static_cast<ssize_t>(message.size()));
    return header.unique;
  }
  // The next answer. Notifications that come before it are kept.
  Reply receive() {
    for (;;) {
      Reply message = receive_any();
      if (message.unique != 0 || message.body.empty()) return message;
      notices_.push_back(std::move(message));
    }
  }
  Reply receive_any() {
    std::vector<char> message(200'000);
    const ssize_t got = ::recv(kernel_, message.data(), message.size(), 0);
    Reply reply;
    fuse_out_header header{};
    EXPECT_GE(got, static_cast<ssize_t>(sizeof header));
    if (got < static_cast<ssize_t>(sizeof header)) return reply;
    std::memcpy(&header, message.data(), sizeof header);
    EXPECT_EQ(header.len, static_cast<uint32_t>(got));
    reply.error = -header.error;
    reply.unique = header.unique;
    reply.body.assign(message.begin() + sizeof header, message.begin() + got);
    return reply;
  }
  Reply call(uint32_t opcode, uint64_t node, const void* body, size_t size, uint32_t uid = 0) {
    const uint64_t unique = send(opcode, node, body, size, uid);
    Reply reply = receive();
    EXPECT_EQ(reply.unique, unique);
    return reply;
  }
  Reply lookup(const std::string& name, uint64_t parent = 1) {
    return call(FUSE_LOOKUP, parent, name.c_str(), name.size() + 1);
  }
  uint64_t node_of(const std::string& name) { return lookup(name).as<fuse_entry_out>().nodeid; }
  Reply open(uint64_t node, uint32_t uid, uint32_t flags = O_RDONLY) {
    fuse_open_in request{};
    request.flags = flags;
    return call(FUSE_OPEN, node, &request, sizeof request, uid);
  }
  Reply read(uint64_t node, uint64_t handle, uint64_t offset, uint32_t size) {
    fuse_read_in request{};
    request.fh = handle;
    request.offset = offset;
    request.size = size;
    request.read_flags = FUSE_READ_LOCKOWNER;
    request.lock_owner = 42;
    return call(FUSE_READ, node, &request, sizeof request, 0);
  }
  // From now on no answer comes through until clear() was called.
  void clog() {
    const char byte = 0;
    while (::send(daemons_, &byte, 1, MSG_DONTWAIT) == 1) ++junk_;
  }
  void clear() {
    std::array<char, 4096> message{};
    for (; junk_ > 0; --junk_) ::recv(kernel_, message.data(), message.size(), 0);
  }
  bool silent() {
    char byte = 0;
    return ::recv(kernel_, &byte, 1, MSG_DONTWAIT | MSG_PEEK) < 0;
  }

  std::unique_ptr<FuseSide> side_;
  int kernel_ = -1;
  int daemons_ = -1;  // the daemon's end, once more
  size_t junk_ = 0;
  uint64_t next_ = 0;
  uint64_t taken_ = 0;  // of what the kernel offered
  std::vector<Reply> notices_;
};

TEST_F(SocketTest, lookup_goes_by_grammar_and_policy_alone) {
  const auto entry = lookup("app-a").as<fuse_entry_out>();
  EXPECT_GE(entry.nodeid, uint64_t{1} << InodeIds::kBits);
  EXPECT_GE(entry.entry_valid, 3'600U);
  EXPECT_EQ(entry.attr_valid, 0U);  // of a size that is not known
  EXPECT_EQ(entry.attr.size, 4096U);
  EXPECT_EQ(lookup("nobody").error, ENOENT);
  EXPECT_EQ(lookup(".hidden").error, ENOENT);
  EXPECT_EQ(lookup("app-a/b").error, ENOENT);
  EXPECT_EQ(lookup("app-" + std::string(252, 'x')).error, ENAMETOOLONG);
  EXPECT_EQ(lookup("app-b", 12'345).error, ENOTDIR);
  EXPECT_EQ(side_->backend.opens + side_->backend.describes + side_->backend.lists, 0);
}

TEST_F(SocketTest, names_that_the_policy_hides_leave_nothing_behind) {
  for (int i = 0; i < 100; ++i) lookup("nobody-" + std::to_string(i));
  EXPECT_EQ(side_->cache.usage().entries, 0U);
  EXPECT_EQ(side_->ops.status().known_keys, 0U);
}

TEST_F(SocketTest, a_forgotten_name_comes_back_under_another_id) {
  const uint64_t first = node_of("app-a");
  EXPECT_EQ(node_of("app-a"), first);
  fuse_forget_in forget{};
  forget.nlookup = 2;
  send(FUSE_FORGET, first, &forget, sizeof forget);
  // It has no reply, and another thread may read the next request.
  while (side_->ops.status().known_keys != 0) std::this_thread::yield();
  EXPECT_NE(node_of("app-a"), first);
  EXPECT_EQ(side_->ops.status().known_keys, 1U);
}

TEST_F(SocketTest, a_handle_says_the_version_and_who_opened_it) {
  const uint64_t node = node_of("app-a");
  const uint64_t first = open(node, 1001).as<fuse_open_out>().fh;
  EXPECT_EQ(first & 0xffffffff, 1U);
  const auto again = open(node, 1001).as<fuse_open_out>();
  EXPECT_EQ(again.fh, first);
  EXPECT_NE(again.open_flags & FOPEN_DIRECT_IO, 0U);
  EXPECT_EQ(again.open_flags & FOPEN_KEEP_CACHE, 0U);
}

TEST_F(SocketTest, reads_are_exact_at_every_offset) {
  side_->backend.add("app-a", "0123456789");
  const uint64_t node = node_of("app-a");
  const uint64_t handle = open(node, 1001).as<fuse_open_out>().fh;
  EXPECT_EQ(read(node, handle, 0, 4096).text(), "0123456789");
  EXPECT_EQ(read(node, handle, 3, 4).text(), "3456");
  EXPECT_EQ(read(node, handle, 9, 100).text(), "9");
  EXPECT_EQ(read(node, handle, 10, 100).text(), "");
  EXPECT_EQ(read(node, handle, uint64_t{1} << 62, 100).text(), "");
  EXPECT_EQ(read(node, handle, 0, 0).text(), "");
}

// Else a thread that loses the processor once its caller has the answer keeps a key in memory that
// may be revoked by then.
TEST_F(SocketTest, an_answer_on_its_way_keeps_no_key_in_memory) {
  const uint64_t node = node_of("app-a");
  const uint64_t handle = open(node, 1001).as<fuse_open_out>().fh;
  const KeyRef entry = side_->cache.find("app-a");
  const Counter& answered = side_->metrics.counter(
      "keyfs_opens_total", "Opens of keys, by outcome.", {{"outcome", "cache"}});
  const uint64_t before = answered.value();
  const auto mine = side_->cache.held(*entry);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  clog();
  fuse_open_in request{};
  const uint64_t unique = send(FUSE_OPEN, node, &request, sizeof request, 1001);
  const auto settled = [&] { return answered.value() > before && mine.use_count() == 3; };
  while (!settled() && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
  EXPECT_GT(answered.value(), before);
  EXPECT_EQ(mine.use_count(), 3) << "the cache's, the backend's and this test's";
  clear();
  const Reply reply = receive();
  EXPECT_EQ(reply.unique, unique);
  EXPECT_EQ(reply.as<fuse_open_out>().fh, handle);
}

TEST_F(SocketTest, open_refuses_before_anything_is_fetched) {
  const uint64_t node = node_of("app-a");
  EXPECT_EQ(open(node, 1002).error, EACCES);
  EXPECT_EQ(open(node, 0).error, EACCES);
  EXPECT_EQ(open(node, 1001, O_RDWR).error, EROFS);
  EXPECT_EQ(open(node, 1001, O_RDONLY | O_TRUNC).error, EROFS);
  EXPECT_EQ(open(999'999, 1001).error, ENOENT);
  EXPECT_EQ(side_->backend.opens, 0);
}

TEST_F(SocketTest, groups_that_cannot_be_read_permit_nothing) {
  side_->backend.add("team-a", "x");
  EXPECT_EQ(open(node_of("team-a"), 1001).error, EACCES);  // pid 0: of another PID namespace
  EXPECT_TRUE(side_->log.has("supplementary groups cannot be read"));
}

TEST_F(SocketTest, a_waiting_open_holds_up_nothing_and_is_answered_once) {
  side_->backend.hang(true);
  const uint64_t node = node_of("app-a");
  fuse_open_in request{};
  std::set<uint64_t> waiting;
  for (int i = 0; i < 50; ++i) {
    waiting.insert(send(FUSE_OPEN, node, &request, sizeof request, 1001));
  }
  side_->backend.await_waiting(50);
  EXPECT_EQ(side_->ops.status().waiting_requests, 50U);
  EXPECT_EQ(lookup("app-b").error, 0);
  side_->backend.hang(false);
  while (!waiting.empty()) {
    const Reply reply = receive();
    EXPECT_EQ(reply.error, 0);
    EXPECT_EQ(waiting.erase(reply.unique), 1U);
  }
  EXPECT_EQ(lookup("app-c").error, 0);  // nothing else came in between
  EXPECT_TRUE(silent());
}

TEST_F(SocketTest, an_interrupted_open_whose_caller_cannot_be_seen_ends_soon) {
  side_->backend.hang(true);
  fuse_open_in request{};
  const uint64_t unique = send(FUSE_OPEN, node_of("app-a"), &request, sizeof request, 1001);
  side_->backend.await_waiting(1);
  fuse_interrupt_in interrupt{};
  interrupt.unique = unique;
  send(FUSE_INTERRUPT, 0, &interrupt, sizeof interrupt);
  const Reply reply = receive();
  EXPECT_EQ(reply.unique, unique);
  EXPECT_EQ(reply.error, EINTR);
  side_->backend.await_waiting(0);  // the last waiter has left the fetch
}

TEST_F(SocketTest, an_interrupt_that_overtakes_its_request_is_heeded) {
  side_->backend.hang(true);
  const uint64_t node = node_of("app-a");
  fuse_interrupt_in interrupt{};
  interrupt.unique = next_ + 4;  // of the request after this one
  send(FUSE_INTERRUPT, 0, &interrupt, sizeof interrupt);
  fuse_open_in request{};
  const uint64_t unique = send(FUSE_OPEN, node, &request, sizeof request, 1001);
  EXPECT_EQ(unique, interrupt.unique);
  // libfuse answers an interrupt for an unknown request with EAGAIN, or keeps it.
  Reply reply = receive();
  if (reply.unique != unique) {
    EXPECT_EQ(reply.error, EAGAIN);
    send(FUSE_INTERRUPT, 0, &interrupt, sizeof interrupt);
    reply = receive();
  }
  EXPECT_EQ(reply.unique, unique);
  EXPECT_EQ(reply.error, EINTR);
}

TEST_F(SocketTest, the_end_of_the_session_answers_those_who_wait) {
  side_->backend.hang(true);
  fuse_open_in request{};
  const uint64_t unique = send(FUSE_OPEN, node_of("app-a"), &request, sizeof request, 1001);
  side_->backend.await_waiting(1);
  side_->end_session();
  const Reply reply = receive();
  EXPECT_EQ(reply.unique, unique);
  EXPECT_EQ(reply.error, ENOTCONN);
}

TEST_F(SocketTest, a_key_that_ends_while_it_is_mapped_is_dropped_though_nobody_asks_for_it) {
  const uint64_t node = node_of("app-a");
  ASSERT_EQ(open(node, 1001).error, 0);
  side_->ops.key_ended(*side_->cache.find("app-a"));
  for (;;) {
    const Reply notice = receive_any();
    ASSERT_EQ(notice.unique, 0U);
    const auto what = notice.as<fuse_notify_inval_inode_out>();
    if (notice.error == -FUSE_NOTIFY_INVAL_INODE && what.ino == node && what.off == 0) break;
  }
}

TEST_F(SocketTest, a_read_into_the_page_cache_leads_to_an_invalidation_after_release) {
  const uint64_t node = node_of("app-a");
  const uint64_t handle = open(node, 1001).as<fuse_open_out>().fh;
  fuse_read_in request{};
  request.fh = handle;
  request.size = 4096;
  EXPECT_EQ(call(FUSE_READ, node, &request, sizeof request).text(), "created-app-a");
  fuse_release_in release{};
  release.fh = handle;
  EXPECT_EQ(call(FUSE_RELEASE, node, &release, sizeof release).error, 0);
  // A separate thread tells the kernel, some time before or after that answer; sizes were told too.
  const auto pages_dropped = [&] {
    for (const Reply& notice : notices_) {
      const auto what = notice.as<fuse_notify_inval_inode_out>();
      if (notice.error == -FUSE_NOTIFY_INVAL_INODE && what.ino == node && what.off == 0)
        return true;
    }
    return false;
  };
  while (!pages_dropped()) {
    Reply notice = receive_any();
    ASSERT_EQ(notice.unique, 0U);
    ASSERT_FALSE(notice.body.empty());
    notices_.push_back(std::move(notice));
  }
}

TEST_F(SocketTest, a_learned_size_is_told_before_open_is_answered) {
  side_->backend.add("app-a", std::string(100, 'x'));
  const uint64_t node = node_of("app-a");
  fuse_open_in request{};
  EXPECT_EQ(call(FUSE_OPEN, node, &request, sizeof request, 1001).error, 0);
  ASSERT_EQ(notices_.size(), 1U);
  EXPECT_EQ(notices_[0].error, -FUSE_NOTIFY_INVAL_INODE);
  EXPECT_EQ(notices_[0].as<fuse_notify_inval_inode_out>().off, -1);
  fuse_getattr_in ask{};
  EXPECT_EQ(call(FUSE_GETATTR, node, &ask, sizeof ask).as<fuse_attr_out>().attr.size, 100U);
  // Known now: the next open has nothing to tell.
  EXPECT_EQ(open(node, 1001).error, 0);
  EXPECT_EQ(notices_.size(), 1U);
}

TEST_F(SocketTest, an_open_that_finds_the_kernel_with_a_smaller_size_has_it_look_again) {
  const uint64_t node = node_of("app-a");
  fuse_getattr_in ask{};
  const auto absent = call(FUSE_GETATTR, node, &ask, sizeof ask, 1001).as<fuse_attr_out>();
  EXPECT_EQ(absent.attr.size, 32U);
  EXPECT_EQ(absent.attr_valid, 0U);
  side_->backend.add("app-a", std::string(64, 'x'));  // by another host
  EXPECT_EQ(open(node, 1001).error, ESTALE);
  EXPECT_EQ(lookup("app-a").as<fuse_entry_out>().attr.size, 64U);
  EXPECT_EQ(open(node, 1001).error, 0);
  EXPECT_EQ(side_->backend.opens, 1);
  const std::string lines = side_->audit_lines();
  EXPECT_EQ(std::count(lines.begin(), lines.end(), '\n'), 1) << lines;
}

TEST_F(SocketTest, one_that_is_opened_without_a_look_is_refused_once_at_most) {
  const uint64_t node = node_of("app-a");
  fuse_getattr_in ask{};
  call(FUSE_GETATTR, node, &ask, sizeof ask, 1001);
  side_->backend.add("app-a", std::string(64, 'x'));
  EXPECT_EQ(open(node, 1001).error, ESTALE);
  const Reply again = open(node, 1001);
  EXPECT_EQ(again.error, 0);
  EXPECT_EQ(read(node, again.as<fuse_open_out>().fh, 0, 4096).text().size(), 64U);
}

TEST_F(SocketTest, attributes_are_kept_once_the_size_is_known) {
  side_->backend.add("app-a", std::string(64, 'x'));
  const uint64_t node = node_of("app-a");
  fuse_getattr_in ask{};
  const auto told = call(FUSE_GETATTR, node, &ask, sizeof ask, 1001).as<fuse_attr_out>();
  EXPECT_EQ(told.attr.size, 64U);
  EXPECT_GE(told.attr_valid, 3'600U);
  const auto entry = lookup("app-a").as<fuse_entry_out>();
  EXPECT_EQ(entry.attr.size, 64U);
  EXPECT_GE(entry.attr_valid, 3'600U);
  EXPECT_EQ(side_->backend.describes, 1);
}

TEST_F(SocketTest, of_what_the_kernel_offers_all_is_taken_that_libfuse_knows_but_idmapped_mounts) {
  // libfuse 3.14 knows these, and keeps it to itself that they are wanted.
  const bool passed_on = ::fuse_version() >= FUSE_MAKE_VERSION(3, 17);
  EXPECT_TRUE((taken_ & FUSE_PARALLEL_DIROPS) || !passed_on);
  EXPECT_EQ((taken_ & kSharedMappings) != 0, kLibfuseKnowsSharedMappings);
  EXPECT_FALSE(taken_ & kIdmappedMounts)
      << "the kernel ends a mount that wants it without default_permissions";
}

TEST_F(SocketTest, there_is_no_flush) {
  const uint64_t node = node_of("app-a");
  fuse_flush_in flush{};
  EXPECT_EQ(call(FUSE_FLUSH, node, &flush, sizeof flush).error, ENOSYS);
}

TEST_F(SocketTest, what_would_write_is_refused_by_whatever_kernel_asks) {
  const uint64_t node = node_of("app-a");
  fuse_setattr_in attributes{};
  EXPECT_EQ(call(FUSE_SETATTR, node, &attributes, sizeof attributes).error, EROFS);
  const std::string name("new\0", 4);
  EXPECT_EQ(call(FUSE_UNLINK, 1, name.data(), name.size()).error, EROFS);
  std::vector<char> mkdir(sizeof(fuse_mkdir_in) + name.size());
  std::memcpy(mkdir.data() + sizeof(fuse_mkdir_in), name.data(), name.size());
  EXPECT_EQ(call(FUSE_MKDIR, 1, mkdir.data(), mkdir.size()).error, EROFS);
}

}  // namespace
}  // namespace keyfs
