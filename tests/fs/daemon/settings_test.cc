#include "fs/daemon/settings.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <map>
#include <regex>

namespace keyfs {
namespace {

using namespace std::chrono_literals;

Result<Settings> read(const std::string& text, size_t regions = 3) {
  auto file = ConfigFile::parse(text, "k.ini");
  if (!file) return fail(file.error());
  return read_settings(*file, regions);
}

TEST(Settings, defaults_are_those_of_the_manual) {
  const auto settings = read("[store]\ntype = sqlite\n");
  ASSERT_TRUE(settings) << settings.error().message;
  EXPECT_EQ(settings->key_bytes, 32u);
  EXPECT_EQ(settings->fresh_for, 5min);
  EXPECT_EQ(settings->serve_stale_for, 24h);
  EXPECT_EQ(settings->open_deadline, 10s);
  EXPECT_EQ(settings->create_min_regions, 2u);
  EXPECT_EQ(settings->audit_to, AuditTo::kJournal);
}

// The number settings of the manual's [keyfs], each with the text of its entry.
std::map<std::string, std::string> numbers_of_the_manual() {
  std::ifstream file(KEYFS_INI_MANUAL);
  std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  text = text.substr(0, text.find("\n.Ss [store]"));
  std::map<std::string, std::string> found;
  const std::string begin = "\n.It Cm ";
  for (size_t at = text.find(begin); at != text.npos;) {
    const size_t next = text.find(begin, at + 1);
    const std::string entry = text.substr(at + begin.size(), next - at - begin.size());
    std::smatch parts;
    if (std::regex_search(entry, parts, std::regex("^([a-z_]+) No = [0-9]"))) {
      found[parts[1]] = entry;
    }
    at = next;
  }
  return found;
}

// A number or a duration, by so much more in its smallest unit; below zero is no setting.
std::string plus(const std::string& value, int64_t more) {
  static const std::map<std::string, int64_t> units = {
      {"", 1}, {"ms", 1}, {"s", 1000}, {"m", 60'000}, {"h", 3'600'000}, {"d", 86'400'000}};
  size_t digits = 0;
  const int64_t number = std::stoll(value, &digits);
  const std::string unit = value.substr(digits);
  return std::to_string(number * units.at(unit) + more) + (unit.empty() ? "" : "ms");
}

TEST(Settings, bounds_are_those_of_the_manual) {
  const auto numbers = numbers_of_the_manual();
  EXPECT_EQ(numbers.size(), 10u) << "a setting came or went: look whether its bounds are told";
  for (const auto& [name, entry] : numbers) {
    std::smatch bounds;
    ASSERT_TRUE(std::regex_search(entry, bounds, std::regex("\\b([0-9]+[a-z]*) to ([0-9]+[a-z]*)")))
        << entry;
    const auto takes = [&name = name](const std::string& value) {
      const std::string fresh = name == "serve_stale_for" ? "fresh_for = 0s\n" : "";
      return read("[keyfs]\n" + fresh + name + " = " + value + "\n", 100).has_value();
    };
    EXPECT_TRUE(takes(bounds[1])) << name;
    EXPECT_TRUE(takes(bounds[2])) << name;
    EXPECT_FALSE(takes(plus(bounds[1], -1))) << name;
    EXPECT_FALSE(takes(plus(bounds[2], 1))) << name;
  }
}

TEST(Settings, one_region_needs_no_second_one_by_default) {
  EXPECT_EQ(read("[store]\ntype = x\n", 1)->create_min_regions, 1u);
}

TEST(Settings, every_key_is_read) {
  const auto settings = read(
      "[keyfs]\nstate_dir = /s\nkey_bytes = 64\nfresh_for = 1s\nserve_stale_for = 1m\n"
      "open_deadline = 2s\ncreate_min_regions = 3\naudit = /a/b.jsonl\n"
      "audit_group_readable = yes\naudit_required = yes\ncache_keys = 10\nwaiting_opens = "
      "20\ncreates_per_second = 5\nlist_cache_for = 3s\n"
      "background_calls_per_second = 7\nlog_level = debug\nlog_format = json\n");
  ASSERT_TRUE(settings) << settings.error().message;
  EXPECT_EQ(settings->state_dir, "/s");
  EXPECT_EQ(settings->key_bytes, 64u);
  EXPECT_EQ(settings->fresh_for, 1s);
  EXPECT_EQ(settings->serve_stale_for, 1min);
  EXPECT_EQ(settings->open_deadline, 2s);
  EXPECT_EQ(settings->create_min_regions, 3u);
  EXPECT_EQ(settings->audit_to, AuditTo::kFile);
  EXPECT_EQ(settings->audit_path, "/a/b.jsonl");
  EXPECT_TRUE(settings->audit_group_readable);
  EXPECT_TRUE(settings->audit_required);
  EXPECT_EQ(settings->cache_keys, 10u);
  EXPECT_EQ(settings->waiting_opens, 20u);
  EXPECT_EQ(settings->creates_per_second, 5u);
  EXPECT_EQ(settings->list_cache_for, 3s);
  EXPECT_EQ(settings->background_calls_per_second, 7u);
  EXPECT_EQ(settings->log_level, LogLevel::kDebug);
  EXPECT_EQ(settings->log_format, LogFormat::kJson);
}

TEST(Settings, the_old_name_of_the_background_pace_is_accepted_alone) {
  const auto settings = read("[keyfs]\nheal_calls_per_second = 7\n");
  ASSERT_TRUE(settings) << settings.error().message;
  EXPECT_EQ(settings->background_calls_per_second, 7u);
  EXPECT_EQ(read("[store]\ntype = x\n")->background_calls_per_second, 5u);
  const auto both = read("[keyfs]\nheal_calls_per_second = 7\nbackground_calls_per_second = 7\n");
  ASSERT_FALSE(both);
  EXPECT_NE(both.error().message.find("old name"), std::string::npos) << both.error().message;
}

TEST(Settings, a_mistake_is_one_line_with_file_and_line) {
  const auto said = [](const std::string& text) {
    const auto settings = read(text);
    return settings ? std::string("no mistake") : settings.error().message;
  };
  EXPECT_EQ(said("[keyfs]\n\nfresh_four = 5m\n"),
            "k.ini:3: [keyfs] fresh_four: unknown key (did you mean fresh_for?)");
  EXPECT_EQ(said("[keyfs]\naudit = a.log\n"),
            "k.ini:2: [keyfs] audit: \"a.log\" is neither an absolute path, nor journal, nor off");
  EXPECT_EQ(said("[keyfs]\ncreate_min_regions = 4\n"),
            "k.ini:2: [keyfs] create_min_regions: asks for 4 regions, but only 3 are configured");
  EXPECT_EQ(said("[keyfs]\nfresh_for = 10m\nserve_stale_for = 5m\n"),
            "k.ini:3: [keyfs] serve_stale_for: serve_stale_for must not be shorter than fresh_for");
  EXPECT_EQ(said("[keyfs]\nstate_dir = here\n"),
            "k.ini:2: [keyfs] state_dir: \"here\" is not an absolute path");
  EXPECT_EQ(said("[keyfs]\naudit = off\naudit_group_readable = yes\n"),
            "k.ini:3: [keyfs] audit_group_readable: is only for an audit that goes to a file");
  EXPECT_EQ(said("[keyfs]\naudit = off\naudit_required = yes\n"),
            "k.ini:3: [keyfs] audit_required: the audit is off, so no key could be handed out");
}

TEST(Settings, the_embedded_configuration_is_a_good_one) {
  const auto text = embedded_config("/home/me/my keys", 1000);
  ASSERT_TRUE(text) << text.error().message;
  const auto file = ConfigFile::parse(*text, "--embedded");
  ASSERT_TRUE(file) << file.error().message;
  ASSERT_TRUE(check_sections(*file));
  EXPECT_EQ(file->all("region").size(), 3u);
  const auto settings = read_settings(*file, 3);
  ASSERT_TRUE(settings) << settings.error().message;
  EXPECT_EQ(settings->state_dir, "/home/me/my keys/state");
}

TEST(Settings, a_directory_that_a_configuration_cannot_name_is_refused) {
  EXPECT_FALSE(embedded_config("relative", 0));
  EXPECT_FALSE(embedded_config("/a\nb", 0));
  EXPECT_FALSE(embedded_config("/a ; b", 0));
  EXPECT_FALSE(embedded_config("/" + std::string(200, 'd'), 0));
  const auto longest = embedded_config("/" + std::string(164, 'd'), 0);
  ASSERT_TRUE(longest) << longest.error().message;
  EXPECT_TRUE(ConfigFile::parse(*longest, "--embedded"));
}

}  // namespace
}  // namespace keyfs
