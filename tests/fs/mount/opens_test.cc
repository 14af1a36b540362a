// Who is told of the keys that were handed out.
#include <mutex>
#include <string>
#include <vector>

#include "fs/audit/open_listener.h"
#include "fs/mount/mount_fixture.h"

namespace keyfs {
namespace {

using namespace keyfs::testing;  // NOLINT: a test's own fixture

class Heard final : public OpenListener {
 public:
  struct Opening {
    std::string id;
    uint32_t version;
    uint32_t asked;
    uid_t uid;
    pid_t pid;
    std::string executable;
  };
  void opened(const KeyRef& key, uint32_t version, uint32_t asked, uid_t uid,
              const std::shared_ptr<const ProcessInfo>& process, Times) override {
    std::lock_guard lock(mutex_);
    all_.push_back(
        {std::string(key->id()), version, asked, uid, process->pid, process->executable});
  }
  // The replies come before.
  std::vector<Opening> await(size_t count) {
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    for (;;) {
      {
        std::lock_guard lock(mutex_);
        if (all_.size() >= count || std::chrono::steady_clock::now() > give_up) return all_;
      }
      ::usleep(1000);
    }
  }

 private:
  std::mutex mutex_;
  std::vector<Opening> all_;
};

class OpensTest : public MountTest, public ::testing::WithParamInterface<bool> {
 protected:
  ~OpensTest() override { side_.reset(); }
  void make_side() override {
    mount(std::make_unique<FuseSide>(FuseOptions(), CacheOptions(), &heard_, GetParam()));
  }
  Heard heard_;
};

TEST_P(OpensTest, a_listener_is_told_who_opened_what_with_and_without_an_audit) {
  backend().add("shared-a", "secret");
  EXPECT_EQ(run(as_user(1001, "cat " + path("shared-a"))).output, "secret");
  EXPECT_EQ(run(as_user(1002, "head -c 100 " + path("shared-a"))).output, "secret");
  const auto all = heard_.await(2);
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].id, "shared-a");
  EXPECT_EQ(all[0].uid, 1001u);
  EXPECT_EQ(all[1].uid, 1002u);
  EXPECT_GT(all[0].version, 0u);
  EXPECT_EQ(all[0].asked, 0u);
  EXPECT_NE(all[0].pid, all[1].pid);
  EXPECT_NE(all[0].executable.find("cat"), std::string::npos) << all[0].executable;
  EXPECT_NE(all[1].executable.find("head"), std::string::npos) << all[1].executable;
}

TEST_P(OpensTest, what_was_refused_or_only_looked_at_is_not_told) {
  backend().add("shared-a", "secret");
  EXPECT_EQ(open_error(path("shared-a")), EACCES);  // root is not listed
  EXPECT_EQ(run(as_user(1001, "stat " + path("shared-a"))).status, 0);
  EXPECT_EQ(run(as_user(1001, "cat " + path("shared-none"))).status, 1);
  EXPECT_EQ(run(as_user(1001, "cat " + path("shared-a"))).output, "secret");
  EXPECT_EQ(heard_.await(1).size(), 1u);
}

INSTANTIATE_TEST_SUITE_P(Audit, OpensTest, ::testing::Bool());

}  // namespace
}  // namespace keyfs
