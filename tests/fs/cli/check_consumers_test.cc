#include "fs/cli/check_consumers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "support/temporary_directory.h"

namespace keyfs {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class CheckConsumers : public ::testing::Test {
 protected:
  std::string file(const std::string& name, mode_t mode) {
    const std::string path = folder_.path() + "/" + name;
    std::ofstream(path) << "#!/bin/sh\n";
    ::chmod(path.c_str(), mode);
    return path;
  }
  std::vector<CheckItem> check(const std::string& refresh) {
    SystemNames names;
    const auto file =
        ConfigFile::parse("[consumer a]\nmatch = uid:7\nrefresh = " + refresh + "\n", "keyfs.ini");
    EXPECT_TRUE(file);
    auto rules = ConsumerRules::load(*file, names);
    EXPECT_TRUE(rules) << (rules ? "" : rules.error().message);
    return check_consumers(*rules, places_);
  }
  CheckItem only(const std::string& refresh) {
    const auto items = check(refresh);
    EXPECT_EQ(items.size(), 1u);
    return items.empty() ? CheckItem{} : items.front();
  }

  testing::TemporaryDirectory folder_;
  HookPlaces places_;
};

TEST_F(CheckConsumers, without_sections_there_is_nothing_to_tell) {
  EXPECT_TRUE(check_consumers(ConsumerRules()).empty());
}

TEST_F(CheckConsumers, a_program_that_others_may_write_is_told_before_any_rotation) {
  const CheckItem good = only("exec:" + file("reload", 0700));
  EXPECT_TRUE(good.ok) << good.detail;
  const CheckItem bad = only("exec:" + file("open-to-all", 0777));
  EXPECT_FALSE(bad.ok);
  EXPECT_FALSE(bad.essential);
  EXPECT_EQ(bad.what, "consumer a");
  EXPECT_THAT(bad.detail, HasSubstr("open-to-all"));
  EXPECT_FALSE(only("exec:" + folder_.path() + "/missing").ok);
  EXPECT_FALSE(only("exec:" + file("not-executable", 0600)).ok);
}

TEST_F(CheckConsumers, systemctl_must_be_there_and_systemd_run) {
  places_.systemctl = file("systemctl", 0700);
  places_.systemd = folder_.path();
  EXPECT_TRUE(only("systemd:reload nginx.service").ok);
  places_.systemd = folder_.path() + "/none";
  EXPECT_THAT(only("systemd:reload nginx.service").detail, HasSubstr("systemd does not run here"));
  places_.systemctl = folder_.path() + "/none";
  const CheckItem bad = only("systemd:restart nginx.service");
  EXPECT_FALSE(bad.ok);
  EXPECT_FALSE(bad.essential);
  EXPECT_THAT(bad.detail, HasSubstr("cannot be run"));
}

TEST_F(CheckConsumers, what_cannot_be_tried_is_listed_all_the_same) {
  for (const char* refresh : {"signal:HUP", "watch"}) {
    const CheckItem item = only(refresh);
    EXPECT_TRUE(item.ok);
    EXPECT_EQ(item.detail, refresh);
  }
  const CheckItem item = only("http:POST http://127.0.0.1:8080/reload?token=hunter2");
  EXPECT_TRUE(item.ok);
  EXPECT_THAT(item.detail, HasSubstr("127.0.0.1"));
  EXPECT_THAT(item.detail, Not(HasSubstr("hunter2")));
}

}  // namespace
}  // namespace keyfs
