#include "base/config.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

#include "base/config_reader.h"

namespace keyfs {
namespace {

using std::chrono::milliseconds;

ConfigFile good(std::string_view text) {
  auto file = ConfigFile::parse(text, "f.ini");
  EXPECT_TRUE(file) << file.error().message;
  return file ? std::move(*file) : ConfigFile();
}

std::string mistake(std::string_view text) {
  const auto file = ConfigFile::parse(text, "f.ini");
  if (file) return "(no mistake)";
  EXPECT_EQ(file.error().code, Code::kInvalid);
  EXPECT_EQ(file.error().message.find('\n'), std::string::npos) << file.error().message;
  return file.error().message;
}

TEST(Config, sections_come_in_file_order_split_into_kind_and_argument) {
  const auto file = good(
      "; the file\n"
      "[store]\n"
      "type = sqlite   ; embedded\n"
      "\n"
      "[region us-east-1] ; first\n"
      "key=alias/keyfs\n"
      "[keys a[0-9]*]\n"
      "[keys with two words]\n");
  ASSERT_EQ(file.sections().size(), 4u);
  EXPECT_EQ(file.sections()[0].title(), "[store]");
  EXPECT_EQ(file.sections()[0].find("type")->value, "sqlite");
  EXPECT_EQ(file.sections()[0].find("type")->line, 3);
  EXPECT_EQ(file.sections()[1].kind(), "region");
  EXPECT_EQ(file.sections()[1].argument(), "us-east-1");
  EXPECT_EQ(file.sections()[1].line(), 5);
  EXPECT_EQ(file.sections()[1].find("key")->value, "alias/keyfs");
  EXPECT_EQ(file.sections()[2].argument(), "a[0-9]*");
  EXPECT_TRUE(file.sections()[2].entries().empty());  // matches, and permits nobody
  EXPECT_EQ(file.sections()[3].argument(), "with two words");
  EXPECT_EQ(file.find("region"), &file.sections()[1]);
  EXPECT_EQ(file.find("audit"), nullptr);
  EXPECT_EQ(file.all("keys").size(), 2u);
}

TEST(Config, a_semicolon_within_a_word_is_part_of_the_value) {
  const auto file = good("[a]\nx = b;c\ny = b ;c\nz = a=b:c[d]\n");
  EXPECT_EQ(file.sections()[0].find("x")->value, "b;c");
  EXPECT_EQ(file.sections()[0].find("y")->value, "b");
  EXPECT_EQ(file.sections()[0].find("z")->value, "a=b:c[d]");
}

TEST(Config, line_ends_of_other_systems_and_a_byte_order_mark_are_taken) {
  const auto file = good("\xef\xbb\xbf[a]\r\nx = 1\r\n  2\r\ny = 3");
  EXPECT_EQ(file.sections()[0].find("x")->value, "1 2");
  EXPECT_EQ(file.sections()[0].find("y")->value, "3");
  EXPECT_EQ(file.sections()[0].find("y")->line, 4);
}

TEST(Config, an_indented_line_goes_on_with_the_value) {
  const auto file = good(
      "[keys a]\n"
      "read = user:app, ; the service\n"
      "  ; and its friends\n"
      "\n"
      "\tgid:2000,\n"
      "       gid:2001\n"
      "create =\n"
      "  user:app\n");
  EXPECT_EQ(file.sections()[0].find("read")->value, "user:app, gid:2000, gid:2001");
  EXPECT_EQ(file.sections()[0].find("read")->line, 2);
  EXPECT_EQ(file.sections()[0].find("create")->value, "user:app");
}

TEST(Config, an_indented_line_that_looks_like_a_key_is_not_swallowed_by_the_one_before) {
  EXPECT_EQ(mistake("[keys a]\nread = any\n  create = user:app\n"),
            "f.ini:3: an indented line continues the value of read (line 2); a key or section "
            "starts at the first column");
  EXPECT_EQ(mistake("[keys a]\nread = any\n  [keys b]\n").substr(0, 9), "f.ini:3: ");
  EXPECT_EQ(mistake("[keys a]\n  read = any\n").substr(0, 9), "f.ini:2: ");
  EXPECT_EQ(mistake("[a]\nx = 1\n[b]\n  2\n").substr(0, 9), "f.ini:4: ");
  EXPECT_EQ(mistake("  x = 1\n").substr(0, 9), "f.ini:1: ");
}

TEST(Config, a_password_in_a_line_that_is_none_is_not_told) {
  for (const char* line : {"http:POST http://hook:t0psecret@h/?a=b", "http://u:t0psecret=1@h/",
                           "[http://u:t0psecret@h/", "http://u:t0psecret@h/"}) {
    const std::string text = mistake(std::string("[keys a]\n") + line + "\n");
    EXPECT_EQ(text.substr(0, 9), "f.ini:2: ") << line;
    EXPECT_EQ(text.find("t0psecret"), text.npos) << text;
  }
}

TEST(Config, what_stands_twice_is_an_error_that_names_both_lines) {
  EXPECT_EQ(mistake("[a]\nx = 1\n\nx = 2\n"), "f.ini:4: [a] x is in line 2 already");
  EXPECT_EQ(mistake("[keys p-*]\n[b]\n[keys   p-*]\n"),
            "f.ini:3: section [keys p-*] is in line 1 already");
}

TEST(Config, what_inih_would_take_quietly_is_an_error) {
  EXPECT_EQ(mistake("[store] type = sqlite\n"),
            "f.ini:1: a section ends with \"]\"; nothing may follow");
  EXPECT_EQ(mistake("[store\n"), "f.ini:1: a section ends with \"]\"; nothing may follow");
  EXPECT_EQ(mistake("[]\n"),
            "f.ini:1: \"[]\" is not a section; expected [kind] or [kind argument]");
  EXPECT_EQ(mistake("[a]\nread: any\n"), "f.ini:2: expected \"key = value\"");
  EXPECT_EQ(mistake("[a]\nread\n"), "f.ini:2: expected \"key = value\"");
  EXPECT_EQ(mistake("[a]\nread ; = any\n"), "f.ini:2: expected \"key = value\"");
  EXPECT_EQ(mistake("[a]\nread ; = any\nx = 1\n"), "f.ini:2: expected \"key = value\"");
  EXPECT_EQ(mistake("[a]\n= any\n"), "f.ini:2: \"\" is not a key: keys consist of a-z, 0-9 and _");
  EXPECT_EQ(mistake("[a]\nRead = any\n"),
            "f.ini:2: \"Read\" is not a key: keys consist of a-z, 0-9 and _");
  EXPECT_EQ(mistake("x = 1\n[a]\n"), "f.ini:1: there is a key before the first [section]");
  EXPECT_EQ(mistake("[a]\nx = 1 # one\n"),
            "f.ini:2: a comment at the end of a line starts with \";\", not \"#\"");
  EXPECT_EQ(mistake("[a]\nx = \"1\"\n"),
            "f.ini:2: [a] x: values are not quoted: remove the quotes");
  EXPECT_EQ(mistake("[a]\nx =\ny = 1\n"),
            "f.ini:2: [a] x: has no value; remove the line to use the default");
  EXPECT_EQ(mistake("[a]\nx = ; nothing\n"),
            "f.ini:2: [a] x: has no value; remove the line to use the default");
  EXPECT_EQ(mistake(std::string_view("[a]\nx = a\0b\n", 12)),
            "f.ini:2: has a control character; is this a text file?");
  EXPECT_EQ(mistake("[a]\rx = 1\n").substr(0, 9), "f.ini:1: ");
}

TEST(Config, nothing_is_cut_short) {
  // inih cuts sections and keys at 50 bytes and lines at 200.
  const std::string name(255, 'n');
  EXPECT_EQ(good("[keys " + name + "]\n").sections()[0].argument(), name);
  const std::string longest = "x = " + std::string(ConfigFile::kMaxLine - 4, 'v');
  EXPECT_EQ(good("[a]\n" + longest + "\r\ny = 1\n").sections()[0].find("x")->value,
            longest.substr(4));
  EXPECT_EQ(mistake("[a]\n" + longest + "v\n"),
            "f.ini:2: is longer than 197 bytes; continue the value on the next line, indented");
  EXPECT_EQ(mistake("[a]\n" + std::string(50, 'k') + " = 1\n").substr(0, 9), "f.ini:2: ");
  EXPECT_EQ(good("[a]\n; " + std::string(5000, 'c') + "\nx = 1\n").sections()[0].find("x")->line,
            3);
  EXPECT_NE(mistake(std::string(ConfigFile::kMaxBytes + 1, '\n')), "(no mistake)");
}

TEST(Config, an_unknown_section_is_an_error_with_the_nearest_name) {
  const std::vector<ConfigFile::Kind> kinds = {{"store", false}, {"region", true}, {"keys", true}};
  EXPECT_EQ(good("[store]\n[stor]\n").check_kinds(kinds).error().message,
            "f.ini:2: [stor] unknown section (did you mean [store]?)");
  EXPECT_EQ(good("[nonsense]\n").check_kinds(kinds).error().message,
            "f.ini:1: [nonsense] unknown section");
  EXPECT_EQ(good("[region]\n").check_kinds(kinds).error().message,
            "f.ini:1: [region] needs a name: [region NAME]");
  EXPECT_EQ(good("[store x]\n").check_kinds(kinds).error().message,
            "f.ini:1: [store x] takes no name: write [store]");
  EXPECT_TRUE(good("[store]\n[keys *]\n").check_kinds(kinds));
}

TEST(Config, a_file_that_cannot_be_read_is_named) {
  const auto file = ConfigFile::read("/nonexistent/keyfs.ini");
  ASSERT_FALSE(file);
  EXPECT_EQ(file.error().code, Code::kInvalid);
  EXPECT_EQ(file.error().message,
            "could not read the configuration /nonexistent/keyfs.ini: No such file or directory");
  EXPECT_EQ(ConfigFile::read("/").error().message,
            "could not read the configuration /: Is a directory");
}

TEST(Config, a_fifo_is_refused_and_not_waited_for) {
  const std::string path = ::testing::TempDir() + "config_test.fifo";
  std::filesystem::remove(path);
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  const auto file = ConfigFile::read(path);
  ASSERT_FALSE(file);
  EXPECT_EQ(file.error().code, Code::kInvalid);
  EXPECT_EQ(file.error().message,
            "could not read the configuration " + path + ": is not a regular file");
  std::filesystem::remove(path);
}

TEST(Config, a_file_is_read_whole) {
  const auto path = std::filesystem::path(::testing::TempDir()) / "config_test.ini";
  std::string text = "[a]\n";
  for (int i = 0; i < 5000; ++i) text += "k" + std::to_string(i) + " = v\n";
  std::ofstream(path) << text;
  const auto file = ConfigFile::read(path.string());
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ(file->sections()[0].entries().size(), 5000u);
  EXPECT_EQ(file->sections()[0].find("k4999")->line, 5001);
  std::filesystem::remove(path);
}

// The result of reading "[store]\n" + text with `read`.
template <class Read>
std::string reading(const std::string& text, Read read) {
  const auto file = good("[store]\n" + text);
  if (file.sections().empty()) return "(does not parse)";
  ConfigReader in(file.sections()[0]);
  read(in);
  const auto done = in.finish();
  return done ? "" : done.error().message;
}

TEST(ConfigReader, values_come_with_their_types) {
  const auto file = good(
      "[s]\ntext = a b\nwait = 250ms\nage = 7d\ncount = -3\nbytes = 64k\nwanted = on\n"
      "items = a, b ,c\ntype = etcd\n");
  ConfigReader in(file.sections()[0]);
  EXPECT_EQ(in.string("text"), "a b");
  EXPECT_EQ(in.string("missing"), std::nullopt);
  EXPECT_EQ(in.string("missing", "x"), "x");
  EXPECT_EQ(in.required("text"), "a b");
  EXPECT_EQ(in.duration("wait", milliseconds(1), milliseconds(0), milliseconds(1000)),
            milliseconds(250));
  EXPECT_EQ(in.duration("age", milliseconds(0), std::chrono::hours(1000)), std::chrono::hours(168));
  EXPECT_EQ(in.duration("missing", milliseconds(5), milliseconds(0), milliseconds(9)),
            milliseconds(5));
  EXPECT_EQ(in.integer("count", 0, -5, 5), -3);
  EXPECT_EQ(in.size("bytes", 0), 65536u);
  EXPECT_TRUE(in.boolean("wanted", false));
  EXPECT_TRUE(in.boolean("missing", true));
  EXPECT_EQ(in.list("items"), (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_TRUE(in.list("missing").empty());
  EXPECT_EQ(in.choice("type", {"sqlite", "etcd"}), "etcd");
  EXPECT_EQ(in.choice("missing", {"sqlite", "etcd"}, "sqlite"), "sqlite");
  EXPECT_TRUE(in.finish());
}

TEST(ConfigReader, a_key_nobody_asked_for_is_unknown) {
  EXPECT_EQ(reading("path = x\ntyp = sqlite\n",
                    [](ConfigReader& in) {
                      in.required("path");
                      in.string("type");
                    }),
            "f.ini:3: [store] typ: unknown key (did you mean type?)");
  EXPECT_EQ(reading("frobnicate = 1\n", [](ConfigReader& in) { in.string("type"); }),
            "f.ini:2: [store] frobnicate: unknown key");
}

TEST(ConfigReader, of_several_mistakes_the_first_by_line_is_told) {
  EXPECT_EQ(reading("wait = soon\nunknown = 1\ncount = x\n",
                    [](ConfigReader& in) {
                      in.integer("count", 0, 9);
                      in.duration("wait", milliseconds(0), milliseconds(9));
                    }),
            "f.ini:2: [store] wait: \"soon\" is not a duration: write 250ms, 10s, 5m, 24h or 7d");
}

TEST(ConfigReader, a_missing_key_is_told_with_the_sections_line) {
  EXPECT_EQ(reading("x = 1\n", [](ConfigReader& in) { in.required("path"), in.string("x"); }),
            "f.ini:1: [store] path: is missing");
  EXPECT_EQ(reading("",
                    [](ConfigReader& in) {
                      in.choice("type", {"a", "b", "c"});
                    }),
            "f.ini:1: [store] type: is missing: a, b or c");
}

TEST(ConfigReader, numbers_out_of_bounds_or_of_another_form_are_refused) {
  const auto duration = [](const std::string& value) {
    return reading("x = " + value + "\n", [](ConfigReader& in) {
      in.duration("x", milliseconds(500), std::chrono::hours(48));
    });
  };
  EXPECT_EQ(duration("500ms"), "");
  EXPECT_EQ(duration("2d"), "");
  EXPECT_EQ(duration("499ms"), "f.ini:2: [store] x: \"499ms\" is out of range: from 500ms to 2d");
  EXPECT_NE(duration("49h"), "");
  for (const char* bad : {"5", "5 m", "-5m", "m", "1h30m", "5M", "1.5h", "0x5s", "+5s",
                          "99999999999999999999s", "9223372036854775807d"}) {
    EXPECT_NE(duration(bad), "") << bad;
  }
  const auto size = [](const std::string& value) {
    return reading("x = " + value + "\n", [](ConfigReader& in) { in.size("x", 0); });
  };
  EXPECT_EQ(size("17179869183g"), "");
  EXPECT_NE(size("17179869184g"), "");
  EXPECT_NE(size("9223372036854775807g"), "");
  EXPECT_NE(size("-1"), "");
  EXPECT_NE(size("1t"), "");
  const auto integer = [](const std::string& value) {
    return reading("x = " + value + "\n", [](ConfigReader& in) { in.integer("x", 1, 5); });
  };
  EXPECT_EQ(integer("5"), "");
  EXPECT_EQ(integer("6"), "f.ini:2: [store] x: \"6\" is not a whole number from 1 to 5");
  EXPECT_NE(integer("1 "
                    "2"),
            "");
  EXPECT_NE(integer("two"), "");
}

TEST(ConfigReader, a_list_with_empty_or_double_items_is_refused) {
  const auto list = [](const std::string& value) {
    return reading("x = " + value + "\n", [](ConfigReader& in) { in.list("x"); });
  };
  EXPECT_EQ(list("a,b"), "");
  EXPECT_EQ(list("a,,b"), "f.ini:2: [store] x: has an empty item in its list");
  EXPECT_EQ(list("a,"), "f.ini:2: [store] x: has an empty item in its list");
  EXPECT_EQ(list("a, b, a"), "f.ini:2: [store] x: \"a\" is in the list twice");
  EXPECT_EQ(list("http://u:p@h, http://u:p@h"),
            "f.ini:2: [store] x: \"http://...@h\" is in the list twice");
}

TEST(Config, two_letters_in_the_wrong_order_are_one_mistake) {
  const std::vector<std::string_view> names = {"read", "create", "admin"};
  EXPECT_EQ(nearest_name("raed", names), "read");
  EXPECT_EQ(nearest_name("craete", names), "create");
  EXPECT_EQ(nearest_name("raid", names), std::nullopt);
}

TEST(ConfigReader, a_choice_suggests_the_nearest_name) {
  EXPECT_EQ(reading("type = sqlit\n",
                    [](ConfigReader& in) {
                      in.choice("type", {"sqlite", "dynamodb", "etcd"});
                    }),
            "f.ini:2: [store] type: \"sqlit\" is not one of sqlite, dynamodb or etcd (did you mean "
            "sqlite?)");
}

TEST(ConfigReader, a_key_of_another_type_says_why_it_is_refused) {
  EXPECT_EQ(reading("table = x\n",
                    [](ConfigReader& in) {
                      in.not_here({"table", "regions"}, "is for type = dynamodb only");
                    }),
            "f.ini:2: [store] table: is for type = dynamodb only");
}

TEST(ConfigReader, a_layers_own_mistake_takes_its_place_by_line) {
  EXPECT_EQ(reading("a = 1\nread = user:nobody-here\nzzz = 1\n",
                    [](ConfigReader& in) {
                      in.string("a");
                      in.list("read");
                      in.mistake("read", "there is no user nobody-here");
                    }),
            "f.ini:3: [store] read: there is no user nobody-here");
}

}  // namespace
}  // namespace keyfs
