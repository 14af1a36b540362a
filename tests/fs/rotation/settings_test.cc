#include "fs/rotation/settings.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <map>
#include <regex>

namespace keyfs {
namespace {

using namespace std::chrono_literals;

Result<RotationSettings> read(const std::string& text) {
  auto file = ConfigFile::parse(text, "k.ini");
  if (!file) return fail(file.error());
  return read_rotation_settings(*file);
}

TEST(RotationSettings, defaults_are_those_of_the_manual) {
  const auto settings = read("[store]\ntype = sqlite\n");
  ASSERT_TRUE(settings) << settings.error().message;
  EXPECT_TRUE(settings->run);
  EXPECT_EQ(settings->settle, 30s);
  EXPECT_EQ(settings->poll_every, 30s);
  EXPECT_EQ(settings->pulse_shards, 1u);
  EXPECT_EQ(settings->parallel, 1u);
  EXPECT_EQ(settings->stop_after_percent, 20u);
  EXPECT_EQ(settings->webhook_file, "");
}

TEST(RotationSettings, every_key_is_read_and_told_back) {
  const std::string text =
      "[rotation]\nrun = no\nsettle = 5s\npoll_every = 10s\npulse_shards = 3\nparallel = "
      "8\nstop_after = 50%\n"
      "webhook_file = /etc/keyfs/webhook\n";
  const auto settings = read(text);
  ASSERT_TRUE(settings) << settings.error().message;
  EXPECT_FALSE(settings->run);
  EXPECT_EQ(settings->settle, 5s);
  EXPECT_EQ(settings->poll_every, 10s);
  EXPECT_EQ(settings->pulse_shards, 3u);
  EXPECT_EQ(settings->parallel, 8u);
  EXPECT_EQ(settings->stop_after_percent, 50u);
  EXPECT_EQ(settings->webhook_file, "/etc/keyfs/webhook");
  EXPECT_EQ(rotation_settings_text(*settings), text);
}

TEST(RotationSettings, the_text_with_defaults_reads_back_as_the_same) {
  for (const char* text : {"", "[rotation]\nstop_after = off\nsettle = 1500ms\n"}) {
    const auto settings = read(text);
    ASSERT_TRUE(settings) << settings.error().message;
    const auto again = read(rotation_settings_text(*settings));
    ASSERT_TRUE(again) << again.error().message;
    EXPECT_EQ(rotation_settings_text(*again), rotation_settings_text(*settings));
  }
}

TEST(RotationSettings, a_mistake_is_one_line_with_file_and_line) {
  const auto said = [](const std::string& text) {
    const auto settings = read("[rotation]\n" + text);
    return settings ? std::string("no mistake") : settings.error().message;
  };
  EXPECT_EQ(said("setle = 5s\n"), "k.ini:2: [rotation] setle: unknown key (did you mean settle?)");
  for (const char* value : {"20", "0%", "101%", "%", "20 %", "-1%", "20%%", "no", "5"}) {
    EXPECT_EQ(said("stop_after = " + std::string(value) + "\n"),
              "k.ini:2: [rotation] stop_after: must be a part of the consumers, 1% to 100%, or off")
        << value;
  }
}

TEST(RotationSettings, a_url_in_place_of_its_file_is_not_told) {
  const auto settings = read("[rotation]\nwebhook_file = https://hooks.example/secret-token\n");
  ASSERT_FALSE(settings);
  EXPECT_EQ(settings.error().message.find("secret-token"), std::string::npos)
      << settings.error().message;
}

// The number settings of the manual's [rotation], each with the text of its entry.
std::map<std::string, std::string> numbers_of_the_manual() {
  std::ifstream file(KEYFS_INI_MANUAL);
  std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const size_t section = text.find("\n.Ss [rotation]");
  EXPECT_NE(section, text.npos);
  if (section == text.npos) return {};
  text = text.substr(section, text.find("\n.Ss ", section + 1) - section);
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

// A number, a part or a duration, by so much more in its smallest unit.
std::string plus(const std::string& value, int64_t more) {
  static const std::map<std::string, int64_t> units = {
      {"", 1}, {"%", 1}, {"ms", 1}, {"s", 1000}, {"m", 60'000}, {"h", 3'600'000}};
  size_t digits = 0;
  const int64_t number = std::stoll(value, &digits);
  const std::string unit = value.substr(digits);
  return std::to_string(number * units.at(unit) + more) +
         (unit.empty() || unit == "%" ? unit : "ms");
}

TEST(RotationSettings, bounds_are_those_of_the_manual) {
  const auto numbers = numbers_of_the_manual();
  EXPECT_EQ(numbers.size(), 5u) << "a setting came or went: look whether its bounds are told";
  for (const auto& [name, entry] : numbers) {
    std::smatch bounds;
    ASSERT_TRUE(
        std::regex_search(entry, bounds, std::regex("\\b([0-9]+[a-z%]*) to ([0-9]+[a-z%]*)")))
        << entry;
    const auto takes = [&name = name](const std::string& value) {
      return read("[rotation]\n" + name + " = " + value + "\n").has_value();
    };
    EXPECT_TRUE(takes(bounds[1])) << name;
    EXPECT_TRUE(takes(bounds[2])) << name;
    EXPECT_FALSE(takes(plus(bounds[1], -1))) << name;
    EXPECT_FALSE(takes(plus(bounds[2], 1))) << name;
  }
}

}  // namespace
}  // namespace keyfs
