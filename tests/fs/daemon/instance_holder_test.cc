#include "fs/daemon/instance_holder.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <string>

#include "support/temporary_directory.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;

// A process that runs until it is told to end.
class Other {
 public:
  Other() : pid_(::fork()) {
    if (pid_ == 0) {
      ::pause();
      ::_exit(0);
    }
  }
  ~Other() { end(); }
  Other(const Other&) = delete;
  Other& operator=(const Other&) = delete;

  void end() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }
  ProcessId id() const { return {pid_, process_stat(pid_)->start}; }

 private:
  pid_t pid_;
};

class InstanceHolderTest : public ::testing::Test {
 protected:
  const testing::TemporaryDirectory dir_;
  const std::string file_ = dir_.file("instance.daemon");
  const std::string epoch_ = process_epoch();
  Other process_;
};

TEST_F(InstanceHolderTest, the_first_daemon_follows_nobody_and_learns_of_the_one_that_follows_it) {
  InstanceHolder first(file_, process_.id(), epoch_);
  EXPECT_FALSE(first.take(0s));
  EXPECT_FALSE(first.successor());
  InstanceHolder second(file_);
  EXPECT_EQ(second.take(0s), process_.id().pid);
  EXPECT_EQ(first.successor(), ::getpid());
  EXPECT_FALSE(second.successor());
}

TEST_F(InstanceHolderTest, one_that_could_not_be_mounted_gives_it_back) {
  InstanceHolder first(file_, process_.id(), epoch_);
  EXPECT_FALSE(first.take(0s));
  InstanceHolder second(file_);
  EXPECT_TRUE(second.take(0s));
  second.give_back();
  EXPECT_FALSE(first.successor());
  // But not what is another's by now.
  second.give_back();
  EXPECT_TRUE(second.take(0s));
  EXPECT_FALSE(first.take(0s) == std::nullopt);
  second.give_back();
  EXPECT_FALSE(first.successor());
}

TEST_F(InstanceHolderTest, a_daemon_that_has_ended_is_not_followed) {
  InstanceHolder first(file_, process_.id(), epoch_);
  EXPECT_FALSE(first.take(0s));
  process_.end();
  EXPECT_FALSE(InstanceHolder(file_).take(0s));
}

TEST_F(InstanceHolderTest, a_process_of_another_boot_or_namespace_is_nobody) {
  InstanceHolder first(file_, process_.id(), "another boot");
  EXPECT_FALSE(first.take(0s));
  InstanceHolder second(file_);
  EXPECT_FALSE(second.take(0s));
  EXPECT_FALSE(first.successor());
}

TEST_F(InstanceHolderTest, a_file_that_says_nothing_is_nobodys_and_is_written_anew) {
  InstanceHolder one(file_);
  for (const char* text : {"", "4711", "x 1 2\n", "1 2\n", "-1 2 3\n"}) {
    std::ofstream(file_) << text;
    EXPECT_FALSE(one.successor()) << text;
    EXPECT_FALSE(one.take(0s)) << text;
  }
  InstanceHolder other(file_, process_.id(), epoch_);
  EXPECT_EQ(other.take(0s), ::getpid());
}

TEST_F(InstanceHolderTest, where_it_cannot_be_written_nobody_is_there) {
  InstanceHolder one(dir_.file("none") + "/instance.daemon");
  EXPECT_FALSE(one.take(0s));
  EXPECT_FALSE(one.successor());
}

}  // namespace
}  // namespace keyfs
