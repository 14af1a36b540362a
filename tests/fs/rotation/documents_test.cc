#include "fs/rotation/documents.h"

#include <gtest/gtest.h>

#include "fs/rotation/sheet.h"
#include "fs/rotation/waves.h"
#include "store/board.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;

TEST(RotationDocuments, each_reads_what_it_writes) {
  const Head head{7, "web-1", "5f0c", 1201};
  EXPECT_EQ(*parse_head(to_text(head)), head);

  RunNow now;
  now.epoch = 7;
  now.number = 12;
  now.run = run_of(12);
  EXPECT_EQ(*parse_run_now(to_text(now)), now);
  now.settle_ms = 30'000;
  EXPECT_EQ(*parse_run_now(to_text(now)), now);

  Ticket ticket;
  ticket.token = "t1";
  ticket.kind = Ticket::Kind::kPromote;
  ticket.id = "orders";
  ticket.version = 3;
  ticket.by = "alice";
  ticket.overdue_since = "2026-11-22T03:46:00Z";
  ticket.overdue_why = "regions are out";
  ticket.from = 0;
  ticket.rotation = "round-5";
  EXPECT_EQ(*parse_ticket(to_text(ticket)), ticket);

  RunDocument run;
  run.run = run_of(12);
  run.epoch = 7;
  run.holder = "web-1";
  run.state = RunDocument::State::kTelling;
  run.attempt = 2;
  run.begun = "2026-11-22T03:46:00Z";
  RunKey key;
  key.id = "orders";
  key.token = "t1";
  key.rotation = "round-5";
  key.promote_from = 0;
  key.state = RunKey::State::kCurrent;
  key.before = 1;
  key.current = 2;
  key.missing = {"eu-west-1"};
  key.why = "eu-west-1: timed out";
  run.keys = {key};
  run.retries = {"again"};
  run.counts.total = 3;
  run.unheard = {"web-9"};
  run.excused = {"web-8"};
  run.takeovers = {"web-1 -> web-2"};
  run.notice = RunDocument::Notice::kFailed;
  run.notice_why = "the webhook answered 503";
  run.stop_why = "asked for by alice";
  const auto read = parse_run(to_text(run));
  ASSERT_TRUE(read);
  EXPECT_EQ(to_text(*read), to_text(run));
  EXPECT_EQ(read->keys, run.keys);
  EXPECT_EQ(read->notice, run.notice);
  EXPECT_EQ(read->notice_why, run.notice_why);
  EXPECT_TRUE(read->has_token("t1"));
  EXPECT_TRUE(read->has_token("again"));
  EXPECT_FALSE(read->has_token("t2"));

  HostEntry host;
  host.host = "web-1";
  host.keys = {{"a", "b"}};
  host.at = "2026-11-22T03:46:00Z";
  EXPECT_EQ(*parse_host(to_text(host)), host);
  host.instance = "5f0c";
  host.life = "91aa";
  host.turn = 7;
  host.lost = {{"a", "run-00000003"}, {"b", ""}};
  host.lost_why = "the list was lost";
  EXPECT_EQ(*parse_host(to_text(host)), host);
  for (size_t i = 0; i <= kMaxHostKeys; ++i) host.lost["k" + std::to_string(i)] = "";
  EXPECT_TRUE(parse_host(to_text(host))->lost_all);  // of more than fit: any
  EXPECT_FALSE(parse_host(R"({"host": "web-1", "at": "", "lost": ["a"]})"));

  Sheet sheet{run_of(1), "web-1", 2, {}};
  sheet.instance = "5f0c";
  sheet.life = "91aa";
  sheet.turn = 7;
  EXPECT_EQ(*parse_sheet(to_text(sheet)), sheet);
  Row row;
  row.consumer = "nginx";
  row.section = "91ac";
  row.section_now = "5e20";
  sheet.rows.push_back(row);
  EXPECT_EQ(*parse_sheet(to_text(sheet)), sheet);
}

TEST(RotationDocuments, of_a_key_that_was_rotated_more_than_once_the_worst_and_newest_is_told) {
  const auto key_of = [](const char* id, RunKey::State state, uint32_t before, uint32_t current) {
    RunKey key;
    key.id = id;
    key.state = state;
    key.before = before;
    key.current = current;
    return key;
  };
  using State = RunKey::State;
  std::vector<RunKey> keys = {key_of("a", State::kCurrent, 1, 2),
                              key_of("b", State::kCurrent, 4, 5),
                              key_of("a", State::kCurrent, 2, 3)};
  keys[0].missing = {"eu-west-1"};
  std::vector<RunKey> told = keys_told(keys);
  ASSERT_EQ(told.size(), 2u);
  EXPECT_EQ(told[0].id, "a");
  EXPECT_EQ(told[0].before, 1u);
  EXPECT_EQ(told[0].current, 3u);
  EXPECT_TRUE(told[0].missing.empty());
  EXPECT_EQ(places_told(keys), (std::vector<size_t>{1, 2}));

  keys.push_back(key_of("a", State::kOverdue, 0, 0));
  keys.back().why = "regions are out";
  told = keys_told(keys);
  ASSERT_EQ(told.size(), 2u);
  EXPECT_EQ(told[0].state, State::kOverdue);
  EXPECT_EQ(told[0].current, 3u);
  EXPECT_EQ(told[0].why, "regions are out");
  EXPECT_EQ(places_told(keys), (std::vector<size_t>{1, 2}));
}

TEST(RotationDocuments, why_a_message_was_not_sent_is_kept_without_urls) {
  EXPECT_EQ(without_urls("POST https://u:p@a.example/x?y=z: refused; see (http://b)", 200),
            "POST (URL) refused; see ((URL))");
  EXPECT_EQ(without_urls("hooks.example.com answered 503", 200), "hooks.example.com answered 503");
  EXPECT_EQ(without_urls("a\nb", 200), "a b");
  EXPECT_EQ(without_urls(std::string(500, 'x'), 200).size(), 200u);
}

TEST(RotationDocuments, numbers_that_no_epoch_reaches_are_damage) {
  EXPECT_TRUE(parse_head(R"({"epoch":9007199254740992,"holder":"h","life":"l","beat":1})"));
  for (const char* epoch : {"9007199254740993", "18446744073709551615", "-1", "1.5", "null"}) {
    const std::string number = epoch;
    EXPECT_FALSE(parse_head(R"({"epoch":)" + number + R"(,"holder":"h","life":"l","beat":1})"));
    EXPECT_FALSE(parse_head(R"({"epoch":1,"holder":"h","life":"l","beat":)" + number + "}"));
    EXPECT_FALSE(parse_run_now(R"({"epoch":)" + number + R"(,"number":1,"run":""})"));
    EXPECT_FALSE(parse_run_now(R"({"epoch":1,"number":)" + number + R"(,"run":""})"));
  }
}

TEST(RotationDocuments, why_a_few_keys_are_overdue_is_told_whole) {
  const std::string why =
      "eu-central-1: the master key /" + std::string(600, 'k') + ": no such file";
  RunDocument run;
  run.run = run_of(1);
  run.keys.resize(10);
  for (size_t i = 0; i < run.keys.size(); ++i) {
    run.keys[i].id = run.keys[i].token = "k" + std::to_string(i);
    run.keys[i].state = RunKey::State::kOverdue;
    run.keys[i].why = why;
  }
  const auto read = parse_run(to_text(run));
  ASSERT_TRUE(read) << read.error().message;
  for (const RunKey& key : read->keys) EXPECT_EQ(key.why, why);

  Ticket ticket;
  ticket.token = "t";
  ticket.kind = Ticket::Kind::kRotate;
  ticket.id = "orders";
  ticket.overdue_since = "2026-11-26T11:00:00Z";
  ticket.overdue_why = why;
  const auto put = parse_ticket(to_text(ticket));
  ASSERT_TRUE(put) << put.error().message;
  EXPECT_EQ(put->overdue_why, why);
}

TEST(RotationDocuments, the_largest_fit_on_the_board) {
  RunDocument run;
  run.run = run_of(1);
  size_t bytes = 0;
  while (run.keys.size() < kMaxRunKeys && bytes < kMaxRunKeyBytes) {
    RunKey key;
    key.id = std::string(255, 'i');
    key.token = std::string(255, 't');
    bytes += key.id.size() + key.token.size();
    key.promote = key.before = key.current = 4'000'000'000;
    key.promote_from = 4'000'000'000;
    key.state = RunKey::State::kOverdue;
    key.missing = std::vector<std::string>(20, "ap-southeast-1");
    key.why = std::string(5000, '"');
    run.keys.push_back(key);
  }
  run.unheard = std::vector<std::string>(kMaxNamedHosts, std::string(kMaxHostName, 'h'));
  run.retries = std::vector<std::string>(100, std::string(255, 't'));
  run.takeovers = std::vector<std::string>(100, std::string(2 * kMaxHostName, 'h'));
  for (size_t i = 0; i < kMaxNamedHosts; ++i) {
    run.excused.insert(std::string(kMaxHostName - 2, 'h') + std::to_string(10 + i));
  }
  run.notice_why = std::string(5000, 'w');
  EXPECT_LE(to_text(run).size(), kMaxDocumentBytes);
  run.keys.assign(kMaxRunKeys, run.keys[0]);
  for (RunKey& key : run.keys) {
    key.id = std::string(kMaxRunKeyBytes / 2 / kMaxRunKeys, 'i');
    key.token = std::string(kMaxRunKeyBytes / 2 / kMaxRunKeys, 't');
  }
  EXPECT_LE(to_text(run).size(), kMaxDocumentBytes);

  Sheet sheet{run_of(1), std::string(kMaxHostName, 'h'), 0, {}};
  for (size_t i = 0; i < kMaxRows; ++i) {
    Row row;
    row.consumer = std::string(kMaxConsumerName - 3, '"') + std::to_string(i);
    for (uint32_t place = 0; place < kMaxRunKeys; ++place) row.keys.push_back(place);
    row.why = std::string(kMaxWhy, '"');
    row.life = std::string(32, 'f');
    row.begun = row.ended = "2026-11-22T03:46:00Z";
    sheet.rows.push_back(row);
  }
  EXPECT_LE(to_text(sheet).size(), kMaxDocumentBytes);
  EXPECT_EQ(*parse_sheet(to_text(sheet)), sheet);

  HostEntry host;
  host.host = "h";
  host.keys.emplace();
  for (int i = 0; i < 1000; ++i) host.keys->insert("key-" + std::to_string(i));
  EXPECT_FALSE(parse_host(to_text(host))->keys);  // of more than fit: any
}

TEST(RotationDocuments, what_is_none_is_refused) {
  for (const char* text :
       {"", "{}", "[]", "null", "7", "{\"epoch\": -1}", "{\"run\": \"run-1\"}"}) {
    EXPECT_FALSE(parse_head(text)) << text;
    EXPECT_FALSE(parse_run_now(text)) << text;
    EXPECT_FALSE(parse_ticket(text)) << text;
    EXPECT_FALSE(parse_run(text)) << text;
    EXPECT_FALSE(parse_host(text)) << text;
    EXPECT_FALSE(parse_sheet(text)) << text;
  }
  EXPECT_FALSE(parse_ticket(R"({"token": "t", "do": "rotate"})"));
  EXPECT_FALSE(parse_ticket(R"({"token": "t", "do": "stop", "run": "../x"})"));
  EXPECT_FALSE(parse_ticket(R"({"token": "t", "do": "promote", "id": "a"})"));
  Row row;
  row.consumer = "c";
  Sheet sheet{run_of(1), "h", 0, {row, row}};
  EXPECT_FALSE(parse_sheet(to_text(sheet)));  // which of the two?
  EXPECT_FALSE(is_host_name(""));
  EXPECT_FALSE(is_host_name("a/b"));
  EXPECT_FALSE(is_host_name("-a"));
  EXPECT_TRUE(is_host_name("ip-10-0-0-1.ec2.internal"));
}

TEST(RotationDocuments, reasons_are_made_printable_and_short) {
  EXPECT_EQ(short_text("a\nb\x1b[31m\xff", 100), "a b?[31m?");
  EXPECT_EQ(short_text(std::string(50, 'a'), 10), "aaaaaaa...");
}

TEST(Sheet, rows_go_only_the_permitted_ways) {
  const auto row_in = [](RowState state) {
    Row row;
    row.consumer = "c";
    row.state = state;
    row.epoch = 3;
    row.life = "l";
    return row;
  };
  const auto states = {RowState::kWaiting, RowState::kOrdered,  RowState::kStarted,
                       RowState::kOk,      RowState::kGone,     RowState::kFailed,
                       RowState::kUnknown, RowState::kNotTried, RowState::kDone};
  for (const RowState state : states) {
    Row row = row_in(state);
    EXPECT_EQ(start(row, 3, 1, "l", "now"), state == RowState::kOrdered);
    row = row_in(state);
    EXPECT_EQ(finish(row, 1, "l", RowState::kOk, "", "now"),
              state == RowState::kStarted || state == RowState::kUnknown);
    row = row_in(state);
    EXPECT_EQ(lose_sight(row, "why"), state == RowState::kStarted);
    row = row_in(state);
    EXPECT_EQ(take_back(row, "why"), state == RowState::kWaiting || state == RowState::kOrdered);
    row = row_in(state);
    const bool again =
        state == RowState::kFailed || state == RowState::kUnknown || state == RowState::kNotTried;
    EXPECT_EQ(mark_done(row, "alice", "now"), again);
    row = row_in(state);
    EXPECT_EQ(do_again(row, 2), again);
    row = row_in(state);
    EXPECT_FALSE(do_again(row, 1));  // of this attempt
  }
  Row row = row_in(RowState::kOrdered);
  EXPECT_FALSE(order(row, 4));
  EXPECT_FALSE(withdraw_order(row, 3));
  EXPECT_TRUE(withdraw_order(row, 4));
  EXPECT_TRUE(order(row, 4));
  EXPECT_FALSE(start(row, 3, 1, "l", "now"));  // the order of a predecessor
  EXPECT_FALSE(start(row, 4, 2, "l", "now"));
  EXPECT_TRUE(start(row, 4, 1, "l", "now"));
  EXPECT_FALSE(order(row, 5));
  EXPECT_FALSE(finish(row, 1, "another life", RowState::kOk, "", "now"));
}

TEST(Waves, they_are_1_then_1_percent_then_10_then_all) {
  EXPECT_EQ(wave_limit(1000, 0), 1u);
  EXPECT_EQ(wave_limit(1000, 1), 10u);
  EXPECT_EQ(wave_limit(1000, 9), 10u);
  EXPECT_EQ(wave_limit(1000, 10), 100u);
  EXPECT_EQ(wave_limit(1000, 100), 1000u);
  EXPECT_EQ(wave_limit(3, 0), 1u);
  EXPECT_EQ(wave_limit(3, 1), 3u);
  EXPECT_EQ(wave_limit(0, 0), 0u);
}

TEST(Waves, consumers_of_hosts_that_may_be_dead_come_last_and_keep_the_wave) {
  Sheets sheets;
  for (const char* host : {"web-1", "web-2", "web-3"}) {
    SeenSheet seen;
    seen.sheet.run = "run-00000001";
    seen.sheet.host = host;
    for (int i = 0; i < 10; ++i) {
      Row row;
      row.consumer = "c" + std::to_string(i);
      seen.sheet.rows.push_back(row);
    }
    sheets[sheet_name(seen.sheet.run, host, 0)] = seen;
  }
  Doubts doubts;
  doubts.hosts = {"web-2"};
  EXPECT_EQ(next_to_tell(sheets, 50, doubts).size(), 1u);  // the first wave
  auto& done = sheets[sheet_name("run-00000001", "web-1", 0)].sheet.rows;
  for (int i = 0; i < 3; ++i) done[static_cast<size_t>(i)].state = RowState::kOk;
  const auto next = next_to_tell(sheets, 50, doubts);
  ASSERT_EQ(next.size(), 27u);
  for (size_t i = 0; i < next.size(); ++i) {
    EXPECT_EQ(next[i].sheet == sheet_name("run-00000001", "web-2", 0), i >= 17) << i;
  }
  // One that is active takes a turn, but for one that is not awaited any more.
  Row& active = sheets[sheet_name("run-00000001", "web-2", 0)].sheet.rows[0];
  active.state = RowState::kStarted;
  EXPECT_EQ(next_to_tell(sheets, 1, doubts).size(), 0u);
  doubts.not_awaited.insert({sheet_name("run-00000001", "web-2", 0), active.consumer});
  EXPECT_EQ(next_to_tell(sheets, 1, doubts).size(), 1u);
}

TEST(Waves, a_row_that_nobody_can_be_told_of_is_no_reason_to_stop_and_does_not_count) {
  Sheets sheets;
  SeenSheet seen;
  seen.sheet.run = "run-00000001";
  seen.sheet.host = "web-1";
  Row told;
  told.consumer = "app";
  told.state = RowState::kOk;
  Row unknown;
  unknown.consumer = kUnknownPrograms;
  seen.sheet.rows = {told, unknown};
  const std::string name = sheet_name(seen.sheet.run, seen.sheet.host, 0);
  sheets[name] = seen;
  // After a retry it waits, and is ordered, as any other.
  for (const RowState state : {RowState::kWaiting, RowState::kOrdered, RowState::kFailed}) {
    sheets[name].sheet.rows[1].state = state;
    EXPECT_FALSE(can_stop(sheets)) << to_string(state);
    EXPECT_EQ(count(sheets).total, 2u);
    EXPECT_EQ(count_tellable(sheets).total, 1u);
    EXPECT_EQ(count_tellable(sheets).failed, 0u);
  }
  sheets[name].sheet.rows[0].state = RowState::kWaiting;
  EXPECT_TRUE(can_stop(sheets));
}

TEST(RunDocuments, name_the_hosts_from_which_others_took_them_over) {
  RunDocument run;
  EXPECT_TRUE(run.former_holders().empty());
  run.takeovers = {takeover_of("web-1", "web-2"), takeover_of("web-2", "web-1"),
                   takeover_of("web-1", "web-3")};
  EXPECT_EQ(run.former_holders(), (std::set<std::string>{"web-1", "web-2"}));
}

TEST(Waves, stop_is_at_a_part_of_all_or_at_many_in_a_row) {
  RunCounts counts;
  counts.total = 10;
  counts.failed = 2;
  EXPECT_FALSE(must_stop(counts, 2, {}));  // 20 %, but only two
  counts.unknown = 1;
  EXPECT_EQ(must_stop(counts, 0, {}), "3 of 10 consumers failed");
  EXPECT_EQ(must_stop(counts, 0, {}, true), "3 of 10 consumers that can be told failed");
  counts.total = 100;
  EXPECT_FALSE(must_stop(counts, 4, {}));
  EXPECT_TRUE(must_stop(counts, 5, {}));
  counts.failed = 100;
  EXPECT_FALSE(must_stop(counts, 0, {100, 3, 0}));
}

}  // namespace
}  // namespace keyfs
