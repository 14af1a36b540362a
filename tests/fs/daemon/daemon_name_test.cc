#include "fs/daemon/daemon_name.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "fs/daemon/instance_file.h"
#include "fs/rotation/documents.h"
#include "support/fake_random.h"
#include "support/log_capture.h"
#include "support/temporary_directory.h"

namespace keyfs {
namespace {

constexpr const char* kDefault = "/var/lib/keyfs";

TEST(DaemonName, is_the_hosts_own_where_there_is_one_daemon) {
  EXPECT_EQ(daemon_name("web-1", kDefault, "9b01"), "web-1");
  EXPECT_EQ(daemon_name("web-1.example.com", kDefault, ""), "web-1.example.com");
}

TEST(DaemonName, differs_between_daemons_of_one_host_and_stays_the_same) {
  const std::string payments = daemon_name("web-1", "/srv/payments/state", "9b01");
  EXPECT_TRUE(payments.starts_with("web-1~payments-")) << payments;
  EXPECT_EQ(payments, daemon_name("web-1", "/srv/payments/state", "9b01"));
  EXPECT_NE(payments, daemon_name("web-1", "/opt/payments/state", "9b01"));
  const std::string other = daemon_name("web-1", kDefault, "9b01", "/mnt/keys2");
  EXPECT_TRUE(other.starts_with("web-1~keys2-")) << other;
  EXPECT_NE(other, daemon_name("web-1", "/srv/payments/state", "9b01", "/mnt/keys2"));
}

TEST(DaemonName, of_hosts_whose_name_says_nothing_is_told_apart_by_their_machine) {
  const std::string one = daemon_name("localhost", kDefault, "9b01");
  EXPECT_TRUE(one.starts_with("localhost~")) << one;
  EXPECT_NE(one, daemon_name("localhost", kDefault, "77aa"));
  EXPECT_NE(daemon_name("localhost", "/srv/state", "9b01"),
            daemon_name("localhost", "/srv/state", "77aa"));
  EXPECT_EQ(daemon_name("localhost", kDefault, ""), "localhost");
}

TEST(DaemonName, is_fit_for_the_board_whatever_the_host_and_the_paths_are_called) {
  const std::string longest(255, 'w');
  for (const std::string& host :
       {std::string(), std::string("-_."), std::string("b\xc3\xbcro 1/\"x\""), longest}) {
    for (const std::string& dir : {std::string(kDefault), std::string("/"), std::string("/a b/\n"),
                                   "/" + longest, std::string("/srv/keys/")}) {
      const std::string name = daemon_name(host, dir, "9b01");
      EXPECT_TRUE(is_host_name(name)) << name;
    }
  }
  EXPECT_NE(daemon_name(longest + "1", kDefault, ""), daemon_name(longest + "2", kDefault, ""))
      << "what is cut off counts";
}

TEST(DaemonName, the_first_mount_of_a_state_dir_stays_the_first) {
  const testing::TemporaryDirectory dir;
  EXPECT_TRUE(is_first_mount(dir.path(), "/keys"));
  EXPECT_FALSE(is_first_mount(dir.path(), "/keys2"));
  EXPECT_TRUE(is_first_mount(dir.path(), "/keys"));
  EXPECT_TRUE(is_first_mount(dir.file("nowhere"), "/keys")) << "it cannot be written";
}

TEST(Instance, of_a_state_dir_is_random_and_stays_the_same) {
  const testing::TemporaryDirectory dir;
  LogCapture log;
  FakeRandom random;
  const auto first = take_identity(dir.file("instance"), random, log.log());
  ASSERT_TRUE(first);
  EXPECT_FALSE(first->instance.empty());
  EXPECT_EQ(*take_identity(dir.file("instance"), random, log.log()), *first);
  EXPECT_NE(*take_identity(dir.file("another"), random, log.log()), *first);
  HostIdentity marked = *first;
  marked.marked = true;
  ASSERT_TRUE(keep_identity(dir.file("instance"), marked));
  EXPECT_EQ(*take_identity(dir.file("instance"), random, log.log()), marked);
  EXPECT_EQ(log.count("which instance this daemon is"), 0u);
}

TEST(Instance, is_made_anew_where_the_file_is_damaged_and_told_where_it_cannot_be_kept) {
  const testing::TemporaryDirectory dir;
  LogCapture log;
  FakeRandom random;
  std::ofstream(dir.file("instance")) << "\x01";
  const auto fresh = take_identity(dir.file("instance"), random, log.log());
  ASSERT_TRUE(fresh);
  EXPECT_FALSE(fresh->instance.empty());
  EXPECT_EQ(*take_identity(dir.file("instance"), random, log.log()), *fresh);
  EXPECT_TRUE(take_identity(dir.file("no/such/place"), random, log.log()));
  EXPECT_EQ(log.count("which instance this daemon is"), 1u);
}

TEST(DaemonName, a_machine_id_is_the_first_line_of_its_file) {
  const testing::TemporaryDirectory dir;
  std::ofstream(dir.file("id")) << "9b01\n";
  EXPECT_EQ(machine_id(dir.file("id")), "9b01");
  EXPECT_EQ(machine_id(dir.file("none")), "");
}

}  // namespace
}  // namespace keyfs
