#include "store/board_contract.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/race.h"
#include "store/board_update.h"

namespace keyfs::testing {

std::vector<BoardDocument> BoardContract::list_all(const std::string& prefix, size_t limit) {
  std::vector<BoardDocument> all;
  std::string after;
  for (;;) {
    const auto page = run(board().list(prefix, after, limit, deadline()));
    EXPECT_TRUE(page) << page.error().message;
    if (!page) return all;
    EXPECT_LE(page->documents.size(), limit);
    EXPECT_TRUE(page->corrupt.empty());
    all.insert(all.end(), page->documents.begin(), page->documents.end());
    if (!page->next) return all;
    EXPECT_GT(*page->next, after) << "the list does not get on";
    if (*page->next <= after) return all;
    after = *page->next;
  }
}

namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<std::string> names_of(const std::vector<BoardDocument>& documents) {
  std::vector<std::string> names;
  for (const auto& document : documents) names.push_back(document.name);
  return names;
}

std::string numbered(const std::string& prefix, int number) {
  const std::string digits = std::to_string(number);
  return prefix + std::string(4 - digits.size(), '0') + digits;
}

TEST_P(BoardContract, what_was_never_put_is_absent_and_no_error) {
  for (const bool strong : {true, false}) {
    const auto found = strong ? get("run/head") : run(board().peek("run/head", deadline()));
    ASSERT_TRUE(found) << found.error().message;
    EXPECT_FALSE(*found);
  }
}

TEST_P(BoardContract, what_was_put_comes_back_and_others_see_it_at_once) {
  const std::string text = R"({"holder":"a\u00e4 \n","epoch":1})";
  const auto put = this->put("run/head", text);
  ASSERT_TRUE(put) << put.error().message;
  EXPECT_TRUE(put->done);
  ASSERT_TRUE(put->now);
  EXPECT_EQ(put->now->name, "run/head");
  EXPECT_EQ(put->now->text, text);
  const auto other = under_test_->connect();
  for (const bool strong : {true, false}) {
    const auto found = run(strong ? other->board()->get("run/head", deadline())
                                  : other->board()->peek("run/head", deadline()));
    ASSERT_TRUE(found && *found);
    EXPECT_EQ((*found)->name, "run/head");
    EXPECT_EQ((*found)->text, text);
    EXPECT_EQ((*found)->revision, put->now->revision);
  }
}

TEST_P(BoardContract, the_second_to_put_gets_the_first_ones_document) {
  const auto first = put("run/head", R"({"holder":"a"})");
  ASSERT_TRUE(first && first->done);
  const auto other = under_test_->connect();
  // The same bytes are no proof that they are one's own.
  for (const char* text : {R"({"holder":"b"})", R"({"holder":"a"})"}) {
    const auto lost = run(other->board()->put_if_absent("run/head", text, deadline()));
    ASSERT_TRUE(lost) << lost.error().message;
    EXPECT_FALSE(lost->done);
    ASSERT_TRUE(lost->now);
    EXPECT_EQ(lost->now->text, R"({"holder":"a"})");
    EXPECT_EQ(lost->now->revision, first->now->revision);
  }
}

TEST_P(BoardContract, of_all_who_race_to_put_the_same_bytes_one_wins) {
  constexpr int kClients = 8;
  constexpr int kNames = 10;
  std::vector<std::unique_ptr<Store>> clients;
  for (int i = 0; i < kClients; ++i) clients.push_back(under_test_->connect());
  TaskGroup<Result<BoardWrite>> puts(loop());
  for (int name = 0; name < kNames; ++name) {
    for (const auto& client : clients) {
      puts.start(client->board()->put_if_absent(numbered("race/n", name), "{}", deadline()));
    }
  }
  std::map<std::string, std::set<std::string>> revisions;
  std::map<std::string, int> winners;
  while (!puts.empty()) {
    const auto put = run(puts.next());
    ASSERT_TRUE(put && put->value) << put->value.error().message;
    ASSERT_TRUE(put->value->now);
    revisions[put->value->now->name].insert(put->value->now->revision);
    winners[put->value->now->name] += put->value->done ? 1 : 0;
  }
  EXPECT_EQ(revisions.size(), static_cast<size_t>(kNames));
  for (const auto& [name, seen] : revisions) EXPECT_EQ(seen.size(), 1u) << name;
  for (const auto& [name, count] : winners) EXPECT_EQ(count, 1) << name;
}

TEST_P(BoardContract, a_replacement_needs_the_revision_that_is_there_and_is_shown_what_is) {
  const auto first = put("run/head", "1");
  ASSERT_TRUE(first && first->done);
  const auto second = replace("run/head", "2", first->now->revision);
  ASSERT_TRUE(second) << second.error().message;
  EXPECT_TRUE(second->done);
  EXPECT_EQ(second->now->text, "2");
  EXPECT_NE(second->now->revision, first->now->revision);
  // Also with the bytes that are there already.
  for (const char* text : {"3", "2"}) {
    const auto late = replace("run/head", text, first->now->revision);
    ASSERT_TRUE(late) << late.error().message;
    EXPECT_FALSE(late->done);
    ASSERT_TRUE(late->now);
    EXPECT_EQ(late->now->text, "2");
    EXPECT_EQ(late->now->revision, second->now->revision);
  }
  EXPECT_EQ((*get("run/head"))->revision, second->now->revision);
  EXPECT_TRUE(replace("run/head", "3", second->now->revision)->done);
}

TEST_P(BoardContract, of_all_who_race_to_replace_a_revision_by_the_same_bytes_one_wins) {
  constexpr int kClients = 8;
  std::vector<std::unique_ptr<Store>> clients;
  for (int i = 0; i < kClients; ++i) clients.push_back(under_test_->connect());
  auto there = put("run/head", "{}");
  ASSERT_TRUE(there && there->done);
  for (int round = 0; round < 5; ++round) {
    TaskGroup<Result<BoardWrite>> writes(loop());
    for (const auto& client : clients) {
      writes.start(client->board()->replace("run/head", "{}", there->now->revision, deadline()));
    }
    std::optional<BoardWrite> won;
    while (!writes.empty()) {
      const auto write = run(writes.next());
      ASSERT_TRUE(write && write->value) << write->value.error().message;
      if (!write->value->done) continue;
      EXPECT_FALSE(won) << "two have won";
      won = *write->value;
    }
    ASSERT_TRUE(won);
    there = *won;
  }
}

TEST_P(BoardContract, no_change_of_many_at_once_is_lost) {
  constexpr int kClients = 4;
  constexpr int kChanges = 5;
  std::vector<std::unique_ptr<Store>> clients;
  for (int i = 0; i < kClients; ++i) clients.push_back(under_test_->connect());
  const ChangeDocument add = [](const BoardDocument* there) -> Result<std::optional<std::string>> {
    return std::to_string((there == nullptr ? 0 : std::stoi(there->text)) + 1);
  };
  TaskGroup<Result<std::optional<BoardDocument>>> changes(loop());
  for (const auto& client : clients) {
    for (int i = 0; i < kChanges; ++i) {
      changes.start(update_document(*client->board(), loop(), "counter/c", add, deadline()));
    }
  }
  while (!changes.empty()) {
    const auto changed = run(changes.next());
    ASSERT_TRUE(changed && changed->value) << changed->value.error().message;
  }
  EXPECT_EQ((*get("counter/c"))->text, std::to_string(kClients * kChanges));
}

TEST_P(BoardContract, to_replace_what_is_absent_is_not_done_and_creates_nothing) {
  const auto other = put("run/other", "1");
  ASSERT_TRUE(other && other->done);
  const auto conflict = replace("run/head", "1", other->now->revision);
  ASSERT_TRUE(conflict) << conflict.error().message;
  EXPECT_FALSE(conflict->done);
  EXPECT_FALSE(conflict->now);
  EXPECT_FALSE(*get("run/head"));
}

TEST_P(BoardContract, what_was_removed_is_gone_and_another_revision_stays) {
  const auto first = put("tickets/t1", "1");
  ASSERT_TRUE(first && first->done);
  const auto second = replace("tickets/t1", "2", first->now->revision);
  ASSERT_TRUE(second && second->done);
  const auto late = remove("tickets/t1", first->now->revision);
  ASSERT_TRUE(late) << late.error().message;
  EXPECT_FALSE(late->done);
  ASSERT_TRUE(late->now);
  EXPECT_EQ(late->now->revision, second->now->revision);
  const auto removed = remove("tickets/t1", second->now->revision);
  ASSERT_TRUE(removed) << removed.error().message;
  EXPECT_TRUE(removed->done);
  EXPECT_FALSE(removed->now);
  EXPECT_FALSE(*get("tickets/t1"));
  const auto again = remove("tickets/t1", second->now->revision);
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_TRUE(again->done) << "there is none, and that is all that was asked for";
}

TEST_P(BoardContract, a_revision_is_not_used_again_when_the_same_is_put_after_a_removal) {
  std::set<std::string> revisions;
  std::string old;
  for (int round = 0; round < 4; ++round) {
    const auto put = this->put("run/head", "{}");
    ASSERT_TRUE(put && put->done) << put.error().message;
    EXPECT_TRUE(revisions.insert(put->now->revision).second);
    if (!old.empty()) {
      EXPECT_FALSE(replace("run/head", "1", old)->done);
      EXPECT_FALSE(remove("run/head", old)->done);
    }
    old = put->now->revision;
    ASSERT_TRUE(remove("run/head", old)->done);
  }
}

TEST_P(BoardContract, a_revision_that_no_board_gave_is_a_conflict_or_invalid) {
  ASSERT_TRUE(put("run/head", "1")->done);
  for (const char* revision : {"", "x", "-1", "99999999999999999999999999", "1 or 1", "1 ", " "}) {
    for (const bool removes : {false, true}) {
      const auto changed =
          removes ? remove("run/head", revision) : replace("run/head", "2", revision);
      if (changed) {
        EXPECT_FALSE(changed->done) << revision;
      } else {
        EXPECT_EQ(changed.error().code, Code::kInvalid) << revision;
      }
    }
    const auto made = replace("run/new", "2", revision);
    EXPECT_TRUE(!made || !made->done) << revision;
  }
  EXPECT_EQ((*get("run/head"))->text, "1");
  EXPECT_FALSE(*get("run/new"));
}

TEST_P(BoardContract, a_list_has_the_documents_of_its_prefix_in_order) {
  for (const char* name : {"run-1/b", "run-1/a.2", "run-1/a.10", "run-1/a", "run-10/x", "run-2/x",
                           "run/head", "run-1/a/deeper", "run-1/B"}) {
    ASSERT_TRUE(put(name, R"({"n":")" + std::string(name) + R"("})")->done) << name;
  }
  for (const size_t limit : {100, 2, 1}) {
    const auto all = list_all("run-1/", limit);
    EXPECT_THAT(names_of(all), ElementsAre("run-1/B", "run-1/a", "run-1/a.10", "run-1/a.2",
                                           "run-1/a/deeper", "run-1/b"));
    for (const auto& document : all) {
      EXPECT_EQ(document.text, R"({"n":")" + document.name + R"("})");
      EXPECT_EQ(document.revision, (*get(document.name))->revision);
    }
    EXPECT_THAT(names_of(list_all("run-1/a.", limit)), ElementsAre("run-1/a.10", "run-1/a.2"));
    EXPECT_THAT(names_of(list_all("run/", limit)), ElementsAre("run/head"));
    EXPECT_THAT(names_of(list_all("nothing/", limit)), IsEmpty());
  }
}

TEST_P(BoardContract, a_list_may_begin_after_any_name) {
  for (const char* name : {"run-1/a", "run-1/ab", "run-1/b"}) ASSERT_TRUE(put(name, "1")->done);
  const auto after = [&](const std::string& prefix, const std::string& name) {
    const auto page = run(board().list(prefix, name, 10, deadline()));
    EXPECT_TRUE(page) << name << ": " << page.error().message;
    return page ? names_of(page->documents) : std::vector<std::string>();
  };
  EXPECT_THAT(after("run-1/", "run-1/a"), ElementsAre("run-1/ab", "run-1/b"));
  EXPECT_THAT(after("run-1/", "run-1/aa"), ElementsAre("run-1/ab", "run-1/b"));
  EXPECT_THAT(after("run-1/", "run-1/b"), IsEmpty());
  EXPECT_THAT(after("run-1/", "zzz/a"), IsEmpty());
  EXPECT_THAT(after("run-1/", "a/a"), ElementsAre("run-1/a", "run-1/ab", "run-1/b"));
  EXPECT_THAT(after("run-1/a", "run-1/b"), IsEmpty());
}

TEST_P(BoardContract, pages_have_neither_gaps_nor_duplicates_while_others_write) {
  std::set<std::string> before;
  for (int i = 0; i < 30; i += 2) {
    ASSERT_TRUE(put(numbered("rows/r", i), "1")->done);
    before.insert(numbered("rows/r", i));
  }
  const auto other = under_test_->connect();
  std::vector<std::string> seen;
  std::string after;
  for (int round = 0; round < 100; ++round) {
    const auto page = run(board().list("rows/", after, 4, deadline()));
    ASSERT_TRUE(page) << page.error().message;
    for (const auto& document : page->documents) seen.push_back(document.name);
    if (!page->next) break;
    after = *page->next;
    const std::string inserted = numbered("rows/r", (round * 14 + 1) % 30);
    ASSERT_TRUE(run(other->board()->put_if_absent(inserted, "1", deadline())));
  }
  const std::set<std::string> distinct(seen.begin(), seen.end());
  EXPECT_EQ(distinct.size(), seen.size()) << "a document was listed twice";
  EXPECT_TRUE(std::includes(distinct.begin(), distinct.end(), before.begin(), before.end()));
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
}

TEST_P(BoardContract, every_name_that_the_grammar_permits_is_its_own) {
  std::vector<std::string> names;
  for (const char c : std::string("._:@+=,~-/")) {
    names.push_back(std::string("p/a") + c);
    names.push_back(std::string("p/a") + c + "b");
  }
  for (const char* name : {"p/A", "p/a", "p/0", "p/aA", "p/AA"}) names.emplace_back(name);
  names.push_back("p/" + std::string(kMaxBoardNameBytes - 2, 'x'));
  for (const auto& name : names) {
    const auto put = this->put(name, R"(")" + std::to_string(name.size()) + R"(")");
    ASSERT_TRUE(put) << name << ": " << put.error().message;
    EXPECT_TRUE(put->done) << name;
  }
  for (const auto& name : names) {
    const auto found = get(name);
    ASSERT_TRUE(found && *found) << name;
    EXPECT_EQ((*found)->name, name);
  }
  std::sort(names.begin(), names.end());
  EXPECT_EQ(names_of(list_all("p/", 7)), names);
}

TEST_P(BoardContract, a_bad_name_is_invalid) {
  for (const std::string name :
       {"", "/", "a", "a/", "/a", "a b/c", "a/b c", "a/-", "-/a", "a/b\xc3\xa4", "a/b\n", "a//b"}) {
    EXPECT_EQ(get(name).error().code, Code::kInvalid) << name;
    EXPECT_EQ(put(name, "1").error().code, Code::kInvalid) << name;
    EXPECT_EQ(replace(name, "1", "1").error().code, Code::kInvalid) << name;
    EXPECT_EQ(remove(name, "1").error().code, Code::kInvalid) << name;
  }
  const std::string longer = "p/" + std::string(kMaxBoardNameBytes - 1, 'x');
  EXPECT_EQ(put(longer, "1").error().code, Code::kInvalid);
  for (const char* prefix : {"", "a", "/", "a /", "-/"}) {
    const auto page = run(board().list(prefix, "", 10, deadline()));
    ASSERT_FALSE(page) << prefix;
    EXPECT_EQ(page.error().code, Code::kInvalid);
  }
}

TEST_P(BoardContract,
       a_document_of_the_largest_size_is_kept_and_a_larger_one_or_no_json_is_refused) {
  const std::string largest = R"(")" + std::string(kMaxDocumentBytes - 2, 'x') + R"(")";
  for (int i = 0; i < 3; ++i) {
    const auto put = this->put(numbered("large/d", i), largest);
    ASSERT_TRUE(put && put->done) << put.error().message;
  }
  EXPECT_EQ((*get("large/d0000"))->text, largest);
  EXPECT_EQ(list_all("large/", 100).size(), 3u);
  const std::string one_more = largest + " ";
  for (const std::string& text :
       {one_more, std::string(), std::string("{"), std::string("\"\xff\""), std::string("1 2")}) {
    const auto put = this->put("large/no", text);
    ASSERT_FALSE(put) << text.size();
    EXPECT_EQ(put.error().code, Code::kInvalid);
    EXPECT_EQ(replace("large/no", text, "1").error().code, Code::kInvalid);
  }
  EXPECT_FALSE(*get("large/no"));
}

TEST_P(BoardContract, what_is_no_document_is_corrupt_never_absent_and_hides_no_other) {
  for (const char* name : {"run/a", "run/b", "run/c"}) ASSERT_TRUE(put(name, "1")->done);
  under_test_->damage("run/b");
  const auto other = under_test_->connect();
  EXPECT_EQ(run(other->board()->get("run/b", deadline())).error().code, Code::kCorrupt);
  EXPECT_EQ(run(other->board()->put_if_absent("run/b", "1", deadline())).error().code,
            Code::kCorrupt);
  const auto page = run(other->board()->list("run/", "", 10, deadline()));
  ASSERT_TRUE(page) << page.error().message;
  EXPECT_THAT(names_of(page->documents), ElementsAre("run/a", "run/c"));
  EXPECT_THAT(page->corrupt, ElementsAre("run/b"));
}

TEST_P(BoardContract, a_deadline_that_has_passed_gives_a_timeout) {
  const auto put = this->put("run/head", "1");
  ASSERT_TRUE(put && put->done);
  const TimePoint past = loop().now() - 1ms;
  EXPECT_EQ(run(board().get("run/head", past)).error().code, Code::kTimeout);
  EXPECT_EQ(run(board().peek("run/head", past)).error().code, Code::kTimeout);
  EXPECT_EQ(run(board().put_if_absent("run/new", "1", past)).error().code, Code::kTimeout);
  EXPECT_EQ(run(board().replace("run/head", "2", put->now->revision, past)).error().code,
            Code::kTimeout);
  EXPECT_EQ(run(board().remove("run/head", put->now->revision, past)).error().code, Code::kTimeout);
  EXPECT_EQ(run(board().list("run/", "", 10, past)).error().code, Code::kTimeout);
  EXPECT_EQ((*get("run/head"))->text, "1");
  EXPECT_FALSE(*get("run/new"));
}

TEST_P(BoardContract, calls_dropped_at_any_step_leave_the_board_usable) {
  for (int turns = 0; turns < 12; ++turns) {
    TaskGroup<Result<BoardWrite>> writes(loop());
    TaskGroup<Result<std::optional<BoardDocument>>> reads(loop());
    writes.start(board().put_if_absent("run/head", "1", deadline()));
    writes.start(board().remove("run/head", "1", deadline()));
    reads.start(board().get("run/head", deadline()));
    reads.start(board().peek("run/none", deadline()));
    for (int turn = 0; turn < turns; ++turn) loop().turn(false);
  }
  const auto put = this->put("run/head", "1");
  ASSERT_TRUE(put) << put.error().message;
  EXPECT_EQ((*get("run/head"))->text, "1");
  EXPECT_FALSE(*get("run/none"));
}

TEST_P(BoardContract, the_board_and_the_records_do_not_show_each_other) {
  ASSERT_TRUE(put("run/head", "1")->done);
  const auto records = run(store_->list("", 10, deadline()));
  ASSERT_TRUE(records) << records.error().message;
  EXPECT_TRUE(records->entries.empty());
  const auto check = run(store_->check(deadline()));
  for (const auto& item : check.items) EXPECT_TRUE(item.ok) << item.what << ": " << item.detail;
}

TEST_P(BoardContract, its_check_finds_nothing_wrong_and_leaves_nothing_behind) {
  for (const bool empty : {true, false}) {
    const auto items = run(board().check(deadline()));
    ASSERT_FALSE(items.empty());
    for (const auto& item : items) {
      EXPECT_TRUE(item.ok) << item.what << ": " << item.detail << " (" << item.remedy << ")";
      EXPECT_TRUE(item.remedy.empty()) << item.remedy;
      EXPECT_FALSE(item.essential);
    }
    EXPECT_THAT(list_all("check/", 10), IsEmpty());
    if (empty) {
      ASSERT_TRUE(put("run/head", "1")->done);
    }
  }
}

class Heard final : public BoardListener {
 public:
  void on_change(const std::string& name) override { changed.insert(name); }
  void on_gap() override { ++gaps; }
  std::set<std::string> changed;
  int gaps = 0;
};

TEST_P(BoardContract, a_watch_begins_with_a_gap_and_tells_of_each_write_of_others) {
  if (!board().can_watch()) GTEST_SKIP() << "this board has no watch";
  const auto other = under_test_->connect();
  Heard heard;
  loop().spawn(board().watch(heard));
  const auto await = [&](auto done, const char* what) {
    const TimePoint give_up = loop().now() + under_test_->patience();
    while (!done() && loop().now() < give_up) {
      run([](Loop& on) -> Task<int> {
        co_await on.sleep_for(5ms);
        co_return 0;
      }(loop()));
    }
    EXPECT_TRUE(done()) << what;
  };
  await([&] { return heard.gaps == 1; }, "the beginning");
  const auto tells = [&](const char* what) {
    return await([&] { return heard.gaps > 1 || heard.changed.contains("run/head"); }, what);
  };
  const auto forget = [&] {
    heard.gaps = 1;
    heard.changed.clear();
  };
  auto there = run(other->board()->put_if_absent("run/head", "1", deadline()));
  ASSERT_TRUE(there && there->done);
  tells("a put");
  forget();
  there = run(other->board()->replace("run/head", "2", there->now->revision, deadline()));
  ASSERT_TRUE(there && there->done);
  tells("a replacement");
  forget();
  ASSERT_TRUE(run(other->board()->remove("run/head", there->now->revision, deadline()))->done);
  tells("a removal");
}

}  // namespace
}  // namespace keyfs::testing
