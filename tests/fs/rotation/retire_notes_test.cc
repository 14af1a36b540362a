#include "fs/rotation/retire_notes.h"

#include "fs/rotation/fleet.h"

namespace keyfs::testing {
namespace {

RunDocument ended_run(uint64_t number, uint32_t version) {
  RunDocument run;
  run.run = run_of(number);
  run.state = RunDocument::State::kEnded;
  run.ended = "2027-01-15T08:00:00Z";
  run.end = RunDocument::End::kComplete;
  run.counts.total = run.counts.ok = 2;
  RunKey key;
  key.id = "a";
  key.token = "t" + std::to_string(number);
  key.state = RunKey::State::kCurrent;
  key.before = version - 1;
  key.current = version;
  run.keys.push_back(key);
  return run;
}

bool says_whole(const RunDocument& run) {
  const auto words = retire_words(run);
  EXPECT_EQ(words.size(), 1u);
  return words.size() == 1 && words[0].whole;
}

TEST(RetireNotes, are_read_as_they_were_written_and_nothing_else_is) {
  const RetireNote note{"tls-web", 3, "2027-01-15T08:00:00Z", run_of(12)};
  const auto read = parse_retire_note(to_text(note));
  ASSERT_TRUE(read);
  EXPECT_EQ(*read, note);
  EXPECT_TRUE(check_board_name(retire_name(note.id)));
  for (const char* text : {
           "{}",
           "[]",
           R"({"id":"a","version":0,"since":"","run":"run-00000001"})",
           R"({"id":"a","version":2,"since":"","run":"x"})",
           R"({"id":".a","version":2,"since":"","run":"run-00000001"})",
           R"({"id":"a","version":2,"since":1,"run":"run-00000001"})",
           R"({"id":"a","version":-2,"since":"","run":"run-00000001"})",
       }) {
    EXPECT_FALSE(parse_retire_note(text)) << text;
  }
}

TEST(RetireNotes, runs_are_in_the_order_of_their_numbers) {
  EXPECT_TRUE(is_later_run(run_of(13), run_of(12)));
  EXPECT_FALSE(is_later_run(run_of(12), run_of(12)));
  EXPECT_FALSE(is_later_run(run_of(9), run_of(12)));
  EXPECT_TRUE(is_later_run(run_of(100'000'000), run_of(99'999'999)));
}

TEST(RetireNotes, only_a_run_that_was_whole_for_the_key_permits_it) {
  EXPECT_TRUE(says_whole(ended_run(1, 2)));
  RunDocument run = ended_run(1, 2);
  run.counts.ok = 0;
  run.counts.gone = run.counts.done = 1;
  EXPECT_TRUE(says_whole(run));

  run = ended_run(1, 2);
  run.state = RunDocument::State::kTelling;
  EXPECT_FALSE(says_whole(run));
  for (size_t RunCounts::*what :
       {&RunCounts::failed, &RunCounts::unknown, &RunCounts::not_tried, &RunCounts::waiting}) {
    run = ended_run(1, 2);
    run.counts.ok = 1;
    run.counts.*what = 1;
    EXPECT_FALSE(says_whole(run));
  }
  run = ended_run(1, 2);
  run.unheard = {"web-7"};
  EXPECT_FALSE(says_whole(run));
  run = ended_run(1, 2);
  run.unheard_more = 1;
  EXPECT_FALSE(says_whole(run));
  run = ended_run(1, 2);
  run.keys[0].missing = {"eu-west-1"};
  EXPECT_FALSE(says_whole(run));
}

TEST(RetireNotes, what_befell_another_key_of_the_run_does_not_matter) {
  RunDocument run = ended_run(1, 2);
  run.end = RunDocument::End::kInPart;
  RunKey other;
  other.id = "b";
  other.token = "tb";
  other.state = RunKey::State::kOverdue;
  run.keys.push_back(other);
  EXPECT_TRUE(says_whole(run));  // and nothing is said of b
}

class RetireNotesOnTheBoard : public ::testing::Test {
 protected:
  Result<void> note(RunDocument run, std::function<bool(const std::string&)> wanted = nullptr,
                    std::function<Result<void>()> may_write = nullptr) {
    return fleet.ask(note_retirement(web.board, web.loop, std::move(run), std::move(wanted),
                                     std::move(may_write), 10s));
  }
  std::optional<RetireNote> noted() const {
    const auto there = fleet.shared.documents->find("retire/a");
    if (!there) return std::nullopt;
    auto note = parse_retire_note(there->text);
    EXPECT_TRUE(note);
    return *note;
  }
  Fleet fleet;
  SimHost& web = fleet.add("web");
};

TEST_F(RetireNotesOnTheBoard, the_last_run_counts_whoever_comes_first) {
  ASSERT_TRUE(note(ended_run(5, 2)));
  EXPECT_EQ(noted(), (RetireNote{"a", 2, "2027-01-15T08:00:00Z", run_of(5)}));
  ASSERT_TRUE(note(ended_run(6, 3)));
  EXPECT_EQ(noted()->version, 3u);
  ASSERT_TRUE(note(ended_run(5, 2)));
  EXPECT_EQ(noted()->version, 3u);
  ASSERT_TRUE(note(ended_run(7, 2)));  // promoted back
  EXPECT_EQ(noted()->version, 2u);
  RunDocument failed = ended_run(8, 4);
  failed.counts.ok = 1;
  failed.counts.failed = 1;
  ASSERT_TRUE(note(failed));
  EXPECT_FALSE(noted());
  ASSERT_TRUE(note(ended_run(9, 5)));
  ASSERT_TRUE(note(failed));
  EXPECT_EQ(noted()->version, 5u);
}

TEST_F(RetireNotesOnTheBoard, what_is_noted_already_is_not_written_again) {
  ASSERT_TRUE(note(ended_run(5, 2)));
  const size_t writes = fleet.shared.writes.size();
  ASSERT_TRUE(note(ended_run(5, 2)));
  EXPECT_EQ(fleet.shared.writes.size(), writes);
}

TEST_F(RetireNotesOnTheBoard, nothing_is_written_of_other_keys_nor_by_who_may_not) {
  ASSERT_TRUE(note(ended_run(5, 2), [](const std::string& id) { return id != "a"; }));
  EXPECT_FALSE(noted());
  EXPECT_FALSE(note(ended_run(5, 2), nullptr,
                    []() -> Result<void> { return fail(Code::kUnavailable, "may not act"); }));
  EXPECT_FALSE(noted());
}

TEST_F(RetireNotesOnTheBoard, a_damaged_note_is_replaced) {
  fleet.shared.documents->write("retire/a", "{}", "");
  ASSERT_TRUE(note(ended_run(5, 2)));
  EXPECT_EQ(noted()->version, 2u);
}

}  // namespace
}  // namespace keyfs::testing
