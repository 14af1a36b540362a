// Whether a process finds that a running one had another file as this host's memory.
#include "fs/keys/replica_mark.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "support/fake_random.h"
#include "support/temporary_directory.h"

namespace keyfs {
namespace {

namespace files = std::filesystem;

struct ReplicaMarkTest : ::testing::Test {
  ReplicaMarkTest() {
    for (const char* place : {"old", "new"}) {
      files::create_directories(dir.file(place) + "/state");
      std::ofstream(dir.file(place) + "/state/replica.db") << place;
    }
  }
  ReplicaMark mark(const std::string& path) {
    auto made = ReplicaMark::make(dir.file(path), random);
    EXPECT_TRUE(made) << made.error().message;
    return std::move(*made);
  }
  void link(const std::string& name, const std::string& target) {
    files::remove(dir.file(name));
    files::create_symlink(target, dir.file(name));
  }
  bool is_the_one(const std::string& path) {
    const auto checked = check_replica_is_the_one(dir.file(path));
    if (!checked) {
      EXPECT_EQ(checked.error().code, Code::kUnavailable);
    }
    return bool(checked);
  }

  FakeRandom random;
  const testing::TemporaryDirectory dir;
};

TEST_F(ReplicaMarkTest, a_link_that_was_led_elsewhere_leads_to_another_file) {
  link("state", dir.file("old/state"));
  {
    const ReplicaMark held = mark("state/replica.db");
    EXPECT_TRUE(is_the_one("state/replica.db"));
    EXPECT_TRUE(is_the_one("old/state/replica.db"));
    link("state", dir.file("new/state"));
    EXPECT_FALSE(is_the_one("state/replica.db"));
    EXPECT_FALSE(is_the_one("./old/..//state/./replica.db"));
    EXPECT_TRUE(is_the_one("old/state/replica.db"));
    EXPECT_TRUE(is_the_one("new/state/replica.db")) << "another path: another memory";
    files::remove(dir.file("state"));
    EXPECT_FALSE(is_the_one("state/replica.db")) << "a link to nowhere";
    link("state", "old/state");
    EXPECT_TRUE(is_the_one("state/replica.db")) << "back, and relative";
    link("state", "new/state");
  }
  EXPECT_TRUE(is_the_one("state/replica.db")) << "nobody has the old one any more";
}

TEST_F(ReplicaMarkTest, so_does_any_link_on_the_way_however_the_path_is_spelled) {
  link("inner", "old");
  link("outer", "new/../inner");
  const ReplicaMark held = mark("outer/state/replica.db");
  for (const char* path : {"outer/state/replica.db", "inner/state/replica.db",
                           "old/state/replica.db", "inner/state/../state/replica.db"}) {
    EXPECT_TRUE(is_the_one(path)) << path;
  }
  link("inner", "new");
  for (const char* path : {"outer/state/replica.db", "inner/state/replica.db",
                           "new/../inner/state/replica.db", "old/../outer/state/replica.db"}) {
    EXPECT_FALSE(is_the_one(path)) << path;
  }
  link("another", "inner");
  EXPECT_FALSE(is_the_one("another/state/replica.db"));
}

TEST_F(ReplicaMarkTest, links_in_a_circle_end) {
  link("a", "b");
  link("b", "a");
  EXPECT_TRUE(is_the_one("a/state/replica.db"));
}

}  // namespace
}  // namespace keyfs
