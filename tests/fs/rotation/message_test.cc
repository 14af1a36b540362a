#include "fs/rotation/message.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "fs/rotation/sample_report.h"

namespace keyfs {
namespace {

using testing::sample_report;

size_t characters_in(const std::string& text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  }));
}

// As the other side reads it.
std::string received(const std::string& text) {
  const auto body = nlohmann::json::parse(webhook_body(text));
  EXPECT_EQ(body.size(), 1u);
  return body.at("text").get<std::string>();
}

bool has(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

TEST(Message, names_who_failed_with_the_reason_and_what_to_do) {
  const std::string text = received(message_of_end(sample_report(65, {50})));
  EXPECT_EQ(text,
            "keyfs: run r7 of orders/3: *done in part*, 64 ok, 1 failed of 65 consumers\n"
            "• *app-50* on host-1: failed: exit status 1\n"
            "`keyfs rotation show r7`, to do again what failed: `keyfs rotation retry r7`");
}

TEST(Message, of_a_run_that_is_done_is_one_line) {
  EXPECT_EQ(received(message_of_end(sample_report(65))),
            "keyfs: run r7 of orders/3: complete, 65 ok of 65 consumers");
}

TEST(Message, names_hosts_gaps_and_keys_that_are_overdue) {
  RunReport report = sample_report(1);
  report.not_heard_from = {"web-7", "web-9"};
  report.not_heard_from_more = 2;
  report.keys[0].missing = {"us-west-2"};
  report.keys.push_back({"billing", RotatedKey::State::kOverdue, 0, 4, {}, "wrapped in 1 of 2"});
  const std::string text = received(message_of_end(report));
  EXPECT_TRUE(has(text, "\nnot heard from: web-7, web-9 and 2 more\n")) << text;
  EXPECT_TRUE(has(text, "\nnot wrapped yet: orders in us-west-2")) << text;
  EXPECT_TRUE(has(text, "• key *billing*: overdue: wrapped in 1 of 2")) << text;
  EXPECT_FALSE(has(text, "retry")) << text;  // it would do nothing
}

TEST(Message, what_others_wrote_can_neither_mention_nor_link) {
  RunReport report = sample_report(1, {1});
  report.consumers[0].consumer = "<!channel>";
  report.consumers[0].reason = "a & b <http://evil|click>\n<!here>";
  report.consumers[0].host = "h>";
  const std::string text = received(message_of_end(report));
  EXPECT_EQ(text.find('<'), std::string::npos) << text;
  EXPECT_EQ(text.find('>'), std::string::npos) << text;
  EXPECT_TRUE(has(text,
                  "*&lt;!channel&gt;* on h&gt;: failed: a &amp; b "
                  "&lt;http://evil|click&gt;?&lt;!here&gt;"))
      << text;
}

TEST(Message, has_3000_characters_at_most_and_still_says_how_many_and_what_next) {
  RunReport report = sample_report(1000);
  for (auto& consumer : report.consumers) {
    consumer.state = ConsumerState::kFailed;
    consumer.reason = std::string(150, '&') + "é";
  }
  report.not_heard_from.assign(500, std::string(200, '<'));
  for (int i = 0; i < 100; ++i) report.keys.push_back(report.keys[0]);
  for (auto& key : report.keys) {
    key.id = std::string(255, 'k');
    key.missing = {"us-west-2"};
  }
  const std::string text = received(message_of_end(report));
  EXPECT_LE(characters_in(text), 3000u);
  EXPECT_TRUE(has(text, "1000 failed of 1000 consumers")) << text;
  EXPECT_TRUE(has(text, "`keyfs rotation retry r7`")) << text;
  EXPECT_TRUE(has(text, " more\n")) << text;
}

TEST(Message, is_cut_neither_within_an_escape_nor_within_a_character) {
  for (size_t before = 2980; before <= 3001; ++before) {
    const std::string text =
        received(std::string(before, 'x') + escaped_for_slack("&<>&&&") + "ééééééé");
    EXPECT_LE(characters_in(text), 3000u);
    const size_t open = text.rfind('&');
    if (open != text.npos) {
      EXPECT_NE(text.find(';', open), text.npos) << before;
    }
  }
  const std::string exact(3000, 'y');
  EXPECT_EQ(received(exact), exact);
  EXPECT_EQ(received(exact + "y"), std::string(2999, 'y') + "…");
}

TEST(Message, bytes_that_are_no_text_do_not_break_it) {
  RunReport report = sample_report(1, {1});
  report.consumers[0].reason = "\xff\xfe\x80 bad";
  EXPECT_TRUE(has(received(message_of_end(report)), " bad"));
}

TEST(Message, a_takeover_names_both_hosts) {
  RunReport report = sample_report(65);
  report.state = RunState::kTelling;
  report.takeovers = {"host-1 -> host-2"};
  for (size_t i = 30; i < 65; ++i) report.consumers[i].state = ConsumerState::kWaiting;
  EXPECT_EQ(received(message_of_takeover(report)),
            "keyfs: run r7 of orders/3 was taken over, since its host was not heard from (host-1 "
            "-&gt; host-2); it goes on: 30 ok, 35 waiting of 65 consumers");
}

TEST(Message, a_stop_says_why_and_so_does_the_end_of_a_run_that_was_stopped) {
  RunReport report = sample_report(65, {1, 2, 3, 4, 5});
  report.state = RunState::kStopping;
  report.stopped = "5 consumers in a row failed";
  for (size_t i = 5; i < 65; ++i) report.consumers[i].state = ConsumerState::kNotTried;
  const std::string rest =
      " (5 consumers in a row failed), 5 failed, 60 not tried of 65 consumers\n"
      "• *app-1* on host-1: failed: exit status 1\n";
  const std::string stop = received(message_of_stop(report));
  EXPECT_TRUE(has(stop, "keyfs: run r7 of orders/3: *is being stopped*" + rest)) << stop;
  report.state = RunState::kStopped;
  const std::string end = received(message_of_end(report));
  EXPECT_TRUE(has(end, "keyfs: run r7 of orders/3: *stopped*" + rest)) << end;
}

}  // namespace
}  // namespace keyfs
