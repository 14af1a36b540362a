// The files in .keyfs/, built from real parts.
#include "fs/mount/virtual_files.h"

#include <unistd.h>

#include <limits>
#include <nlohmann/json.hpp>

#include "base/encoding.h"
#include "fs/keys/keyring_fixture.h"

namespace keyfs {
namespace {

using nlohmann::json;
using testing::Daemon;
using testing::KeyringTest;
using namespace std::chrono_literals;

struct VirtualFilesTest : KeyringTest {
  VirtualFilesTest() {
    add_virtual_files(
        files, metrics,
        StatusParts{"1.2.3", "/mnt/keys", "sqlite", world.time.clock, daemon.arena, daemon.cache,
                    policy, *daemon.keyring, *daemon.regions, nullptr, daemon.no_memory, healer,
                    audit, world.log.log(), [this] { return mount; }});
  }
  static std::unique_ptr<const Policy> make_policy() {
    auto file = ConfigFile::parse("[keys a*]\nread = any\n[keys b*]\nread = uid:1\n", "test.ini");
    SystemNames names;
    return std::move(*Policy::load(*file, names));
  }
  std::string render(std::string_view name) { return files.at(files.find(name)).render(); }
  json status() { return json::parse(render("status"), nullptr, false); }
  // The value of a series without labels, or with these.
  double metric(const std::string& series) {
    const std::string text = "\n" + render("metrics");
    const size_t at = text.find("\n" + series + " ");
    if (at == std::string::npos) return std::numeric_limits<double>::quiet_NaN();
    return std::stod(text.substr(at + series.size() + 2));
  }

  Daemon daemon{world};
  PolicyHolder policy{make_policy()};
  Healer healer{world.time.loop, daemon.store, *daemon.regions, world.log.log(), HealOptions()};
  Audit audit{nullptr, world.log.log(), world.time.clock};
  Metrics metrics;
  MountStatus mount{7, 3};
  VirtualFiles files;
};

TEST_F(VirtualFilesTest, there_are_three_and_no_others) {
  EXPECT_EQ(files.size(), 3u);
  for (const char* name : {"version", "status", "metrics"}) {
    EXPECT_EQ(files.at(files.find(name)).name(), name);
  }
  EXPECT_EQ(files.find("stat"), files.size());
  EXPECT_EQ(render("version"), "keyfs 1.2.3\n");
}

TEST_F(VirtualFilesTest, status_tells_what_is_configured_and_what_is_held) {
  daemon.read("a-1");
  daemon.read("a-2");
  wait(90s);
  const json told = status();
  ASSERT_TRUE(told.is_object());
  EXPECT_EQ(told["version"], "1.2.3");
  EXPECT_EQ(told["pid"], ::getpid());
  EXPECT_EQ(told["uptime_seconds"], 90);
  EXPECT_EQ(told["mountpoint"], "/mnt/keys");
  EXPECT_EQ(told["store"], "sqlite");
  EXPECT_EQ(told["create_min_regions"], 2);
  EXPECT_EQ(told["policy"]["sections"], 2);
  EXPECT_EQ(told["mount"], json({{"known_keys", 7}, {"waiting_requests", 3}}));
  EXPECT_EQ(told["cache"]["keys"], 2);
  EXPECT_EQ(told["cache"]["watching"], false);
  EXPECT_GT(told["memory"]["locked_bytes"], 0);
  EXPECT_EQ(told["replica"], nullptr);
  EXPECT_EQ(told["audit"]["on"], false);
  EXPECT_EQ(told["healer"]["last_scan"], nullptr);
  EXPECT_EQ(told["healer"]["scans"], true);
}

TEST_F(VirtualFilesTest, status_shows_a_region_that_fails_and_why) {
  daemon.read("a-1");
  daemon.region[1]->fail_with(Code::kUnavailable, "the \"cable\" is cut");
  for (int i = 0; i < 10; ++i) daemon.read("b-" + std::to_string(i));
  bool seen = false;
  const json told = status();
  for (const json& region : told["regions"]) {
    if (region["name"] != "b") {
      EXPECT_EQ(region["state"], "closed") << region;
      EXPECT_EQ(region["last_error"], nullptr);
      continue;
    }
    seen = true;
    EXPECT_NE(region["state"], "closed");
    EXPECT_GT(region["failures"], 0);
    EXPECT_NE(region["last_error"].get<std::string>().find("the \"cable\" is cut"),
              std::string::npos);
    EXPECT_TRUE(region["last_error_at"].is_string());
  }
  EXPECT_TRUE(seen);
}

TEST_F(VirtualFilesTest, status_tells_of_rotation_what_an_operator_must_see) {
  EXPECT_TRUE(status()["rotation"].is_null());  // of a daemon that takes no part in it
  VirtualFiles others;
  RotationBrief brief;
  bool sampled = false;
  StatusParts parts{
      "1.2.3",          "/mnt/keys", "sqlite",        world.time.clock, daemon.arena,
      daemon.cache,     policy,      *daemon.keyring, *daemon.regions,  nullptr,
      daemon.no_memory, healer,      audit,           world.log.log(),  [this] { return mount; }};
  parts.rotation = [&] { return brief; };
  parts.sample = [&] { sampled = true; };
  add_virtual_files(others, metrics, parts);
  const auto told = [&] {
    return json::parse(others.at(others.find("status")).render(), nullptr, false)["rotation"];
  };
  EXPECT_TRUE(told()["overdue"].is_null());  // not known
  brief.board = "there";
  brief.holder = "web-1";
  brief.overdue = 2;
  brief.overdue_keys = {"orders", "tls-a"};
  brief.overdue_reason = "wrapped in 1 of 2 required regions";
  brief.troubles = {"a copy"};
  EXPECT_EQ(told(), json({{"board", "there"},
                          {"board_reason", nullptr},
                          {"board_damaged", nlohmann::json::array()},
                          {"holder", "web-1"},
                          {"is_holder", false},
                          {"run", nullptr},
                          {"overdue", 2},
                          {"overdue_keys", {"orders", "tls-a"}},
                          {"overdue_reason", "wrapped in 1 of 2 required regions"},
                          {"troubles", json::array({"a copy"})}}));
  EXPECT_FALSE(sampled);
  others.at(others.find("metrics")).render();
  EXPECT_TRUE(sampled);
}

TEST_F(VirtualFilesTest, gauges_are_set_when_they_are_looked_at) {
  EXPECT_EQ(metric("keyfs_cache_keys"), 0);
  daemon.read("a-1");
  EXPECT_EQ(metric("keyfs_cache_keys"), 1);
  EXPECT_EQ(metric("keyfs_known_keys"), 7);
  mount.waiting_requests = 5;
  EXPECT_EQ(metric("keyfs_waiting_requests"), 5);
  healer.note_degraded("a-1");
  EXPECT_EQ(metric("keyfs_degraded_keys"), 1);
  EXPECT_GT(metric("keyfs_locked_bytes"), 0);
}

// A key of readable text besides the random one: bytes that are not UTF-8 would be replaced in
// JSON, and never found.
TEST_F(VirtualFilesTest, neither_holds_a_byte_of_a_key_in_any_notation) {
  const std::string text = "opensesame-opensesame-opensesame";
  auto readable = std::make_shared<DataKey>();
  readable->key = std::move(*daemon.arena.allocate(text.size()));
  std::copy(text.begin(), text.end(), readable->key.reveal_mutable().begin());
  readable->version = 1;
  const KeyRef entry = daemon.cache.acquire("a-2");
  daemon.cache.put(*entry, readable, world.time.clock.now(), daemon.cache.epoch());
  for (const std::string& key : {daemon.read("a-1"), daemon.read("a-2")}) {
    ASSERT_EQ(key.size(), 32u);
    const std::vector<uint8_t> bytes(key.begin(), key.end());
    for (const std::string& notation : {key, base64_encode(bytes), hex_encode(bytes)}) {
      const std::string part = notation.substr(0, 8);
      EXPECT_EQ(render("status").find(part), std::string::npos) << part;
      EXPECT_EQ(render("metrics").find(part), std::string::npos) << part;
    }
  }
  EXPECT_EQ(daemon.read("a-2"), text);
  EXPECT_NE(render("status").find("\"keys\""), std::string::npos);  // it does tell of the cache
}

}  // namespace
}  // namespace keyfs
