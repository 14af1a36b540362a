// A consumer whose section was removed after it was enrolled: who is left of it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "fs/rotation/consumers_fixture.h"
#include "fs/rotation/refresher.h"

namespace keyfs {
namespace {

using testing::Child;
using testing::ConsumersTest;
using testing::rules_of;
using testing::sleeper;
using What = RefreshOutcome::What;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kApp = "[consumer app]\nmatch = uid:7000\nrefresh = watch\n";
constexpr const char* kOther = "[consumer other]\nmatch = uid:7001\nrefresh = watch\n";

class RemovedSection : public ConsumersTest {
 protected:
  RemovedSection() { begin(std::string(kApp) + kOther); }
  ~RemovedSection() override {
    loop_.shutdown();
    refresher_.reset();
  }

  // As a daemon that is started.
  void begin(const std::string& sections) {
    refresher_.reset();
    start(sections);
    refresher_ = std::make_unique<HostRefresher>(loop_, poller_, arena_, *consumers_,
                                                 HostRefresher::Options());
  }
  RefreshOutcome tell_app() {
    RefreshRequest request;
    request.run = "r7";
    request.host = "h1";
    request.consumer = "app";
    request.keys = {{"orders", 2}};
    request.timeout = std::chrono::seconds(20);
    return loop_.run_task(refresher_->refresh(request));
  }
  static std::string pid_of(const Child& child) { return "pid " + std::to_string(child.pid()); }

  Child app_{sleeper()};
  Child other_{sleeper()};
  std::unique_ptr<HostRefresher> refresher_;
};

TEST_F(RemovedSection, its_own_program_is_named_and_once_it_has_ended_it_is_gone) {
  open(info_of(app_.pid()), "orders", 1, 0, 7000);
  open(info_of(other_.pid()), "orders", 1, 0, 7001);
  ASSERT_EQ(told({{"orders", 2}}), (std::vector<std::string>{"app", "other"}));
  const ConsumerRules left = rules_of(kOther);
  consumers_->set_rules(left);
  RefreshOutcome outcome = tell_app();
  EXPECT_EQ(outcome.what, What::kFailed);
  EXPECT_THAT(outcome.why, HasSubstr(pid_of(app_) + " that opened the keys runs still"));
  app_.end();
  outcome = tell_app();  // while the other's runs
  EXPECT_EQ(outcome.what, What::kGone) << outcome.why;
  EXPECT_THAT(outcome.why, HasSubstr("[consumer app] is not in keyfs.ini of this host any more"));
  consumers_->set_rules(rules_);
}

TEST_F(RemovedSection, a_program_that_another_section_tells_since_is_left_of_it) {
  open(info_of(app_.pid()), "orders", 1, 0, 7000);
  ASSERT_EQ(told({{"orders", 2}}), (std::vector<std::string>{"app"}));
  const ConsumerRules left = rules_of("[consumer all]\nmatch = exe:*\nrefresh = watch\n");
  consumers_->set_rules(left);
  const RefreshOutcome outcome = tell_app();
  EXPECT_EQ(outcome.what, What::kFailed);
  EXPECT_THAT(outcome.why, HasSubstr(pid_of(app_)));
  consumers_->set_rules(rules_);
}

TEST_F(RemovedSection, a_program_that_no_section_ever_told_is_not_of_it) {
  open(info_of(app_.pid()), "orders", 1, 0, 7000);
  open(info_of(other_.pid()), "orders", 1, 0, 7002);
  const ConsumerRules left = rules_of(kOther);
  consumers_->set_rules(left);
  app_.end();
  const RefreshOutcome outcome = tell_app();
  EXPECT_EQ(outcome.what, What::kGone) << outcome.why;
  consumers_->set_rules(rules_);
}

TEST_F(RemovedSection, a_program_of_it_that_was_forgotten_may_run_still) {
  open(info_of(other_.pid()), "orders", 1, 0, 7001);
  const ConsumerRules left = rules_of(kOther);
  consumers_->set_rules(left);
  const RefreshOutcome outcome = tell_app();
  EXPECT_EQ(outcome.what, What::kFailed);
  EXPECT_THAT(outcome.why, HasSubstr("programs may run still that use the keys"));
  EXPECT_THAT(outcome.why, Not(HasSubstr(pid_of(other_))));
  consumers_->set_rules(rules_);
}

}  // namespace
}  // namespace keyfs
