#include "store/store_contract.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <map>
#include <set>
#include <vector>

#include "base/race.h"

namespace keyfs::testing {

std::vector<ListPage::Entry> StoreContract::list_all(size_t limit) {
  std::vector<ListPage::Entry> all;
  std::string after;
  for (;;) {
    const auto page = loop().run_task(store_->list(after, limit, deadline()));
    EXPECT_TRUE(page) << page.error().message;
    if (!page) return all;
    EXPECT_LE(page->entries.size(), limit);
    all.insert(all.end(), page->entries.begin(), page->entries.end());
    if (!page->next) return all;
    EXPECT_NE(*page->next, after) << "the list does not get on";
    if (*page->next == after) return all;
    after = *page->next;
  }
}

namespace {

using ::testing::ElementsAre;

std::vector<std::string> ids_of(const std::vector<ListPage::Entry>& entries) {
  std::vector<std::string> ids;
  for (const auto& entry : entries) ids.push_back(entry.id);
  return ids;
}

std::vector<std::string> regions_of(const ListPage::Entry& entry) {
  std::vector<std::string> regions;
  for (const auto& [region, master] : entry.masters) regions.push_back(region);
  return regions;
}

std::string numbered(const std::string& prefix, int number) {
  const std::string digits = std::to_string(number);
  return prefix + std::string(4 - digits.size(), '0') + digits;
}

TEST_P(StoreContract, what_was_never_put_is_absent_and_no_error) {
  const auto found = get("orders");
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_FALSE(found->stored);
}

TEST_P(StoreContract, what_was_put_comes_back_equal) {
  const Record record = example_record("orders");
  const auto put = this->put(record);
  ASSERT_TRUE(put) << put.error().message;
  EXPECT_TRUE(put->stored);
  EXPECT_EQ(put->winner.record, record);
  const auto found = get("orders");
  ASSERT_TRUE(found && *found);
  EXPECT_EQ((*found)->record, record);
  EXPECT_EQ((*found)->revision, put->winner.revision);
}

TEST_P(StoreContract, a_miss_is_strong_whatever_was_asked_for) {
  for (const Read read : {Read::kAny, Read::kStrong}) {
    const auto found = get("orders", read);
    ASSERT_TRUE(found) << found.error().message;
    EXPECT_FALSE(found->stored);
    EXPECT_TRUE(found->strong);
  }
}

TEST_P(StoreContract, a_strong_read_is_strong_and_shows_what_others_wrote_last) {
  const auto other = under_test_->connect();
  auto put = loop().run_task(other->put_if_absent(example_record("orders"), deadline()));
  ASSERT_TRUE(put) << put.error().message;
  Stored last = std::move(put->winner);
  for (int change = 0; change < 5; ++change) {
    last.record.state = change % 2 == 0 ? KeyState::kDisabled : KeyState::kEnabled;
    ++last.record.serial;
    const auto replaced = loop().run_task(other->replace(last.record, last.revision, deadline()));
    ASSERT_TRUE(replaced && *replaced);
    last = **replaced;
    const auto found = get("orders", Read::kStrong);
    ASSERT_TRUE(found && *found);
    EXPECT_TRUE(found->strong);
    EXPECT_EQ((*found)->record, last.record);
  }
}

TEST_P(StoreContract, all_who_use_a_store_know_it_by_the_same_id) {
  const auto id = loop().run_task(store_->identity(deadline()));
  ASSERT_TRUE(id) << id.error().message;
  EXPECT_FALSE(id->empty());
  const auto other = under_test_->connect();
  const auto again = loop().run_task(other->identity(deadline()));
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(*again, *id);
}

TEST_P(StoreContract, the_second_to_put_gets_the_first_ones_record) {
  const Record first = example_record("orders", "a");
  ASSERT_TRUE(put(first));
  const auto other = under_test_->connect();
  const auto lost =
      loop().run_task(other->put_if_absent(example_record("orders", "b"), deadline()));
  ASSERT_TRUE(lost) << lost.error().message;
  EXPECT_FALSE(lost->stored);
  EXPECT_EQ(lost->winner.record, first);
  const auto found = get("orders");
  ASSERT_TRUE(found && *found);
  EXPECT_EQ((*found)->record, first);
  EXPECT_EQ((*found)->revision, lost->winner.revision);
}

TEST_P(StoreContract, of_all_who_race_for_an_id_one_wins_and_all_see_its_record) {
  constexpr int kClients = 8;
  constexpr int kIds = 20;
  std::vector<std::unique_ptr<Store>> clients;
  for (int i = 0; i < kClients; ++i) clients.push_back(under_test_->connect());
  TaskGroup<Result<PutResult>> puts(loop());
  for (int id = 0; id < kIds; ++id) {
    for (int i = 0; i < kClients; ++i) {
      const std::string mark(1, static_cast<char>('a' + i));
      puts.start(clients[i]->put_if_absent(example_record(numbered("key", id), mark), deadline()));
    }
  }
  std::map<std::string, std::set<std::string>> creators;
  std::map<std::string, int> winners;
  while (!puts.empty()) {
    auto put = loop().run_task(puts.next());
    ASSERT_TRUE(put && put->value) << put->value.error().message;
    const Record& record = put->value->winner.record;
    creators[record.id].insert(record.versions.at(1).creator);
    if (put->value->stored) ++winners[record.id];
  }
  ASSERT_EQ(creators.size(), kIds);
  for (const auto& [id, seen] : creators) {
    EXPECT_EQ(seen.size(), 1u) << id;
    EXPECT_EQ(winners[id], 1) << id;
    for (const auto& client : clients) {
      const auto found = loop().run_task(client->get(id, Read::kAny, deadline()));
      ASSERT_TRUE(found && *found);
      EXPECT_TRUE(seen.contains((*found)->record.versions.at(1).creator)) << id;
    }
  }
}

TEST_P(StoreContract, a_replacement_needs_the_revision_that_is_there) {
  const auto first = put(example_record("orders"));
  ASSERT_TRUE(first);
  Record changed = first->winner.record;
  changed.state = KeyState::kDisabled;
  const auto second = replace(changed, first->winner.revision);
  ASSERT_TRUE(second) << second.error().message;
  ASSERT_TRUE(*second);
  EXPECT_EQ((*second)->record, changed);
  EXPECT_NE((*second)->revision, first->winner.revision);

  Record late = first->winner.record;
  late.state = KeyState::kDeleted;
  const auto conflict = replace(late, first->winner.revision);
  ASSERT_TRUE(conflict) << conflict.error().message;
  EXPECT_FALSE(*conflict);
  const auto found = get("orders");
  ASSERT_TRUE(found && *found);
  EXPECT_EQ((*found)->record, changed);
  EXPECT_EQ((*found)->revision, (*second)->revision);
  EXPECT_TRUE(*replace(late, (*found)->revision));
}

TEST_P(StoreContract, to_replace_what_is_absent_is_a_conflict_and_creates_nothing) {
  const auto revision = put(example_record("other"))->winner.revision;
  const auto conflict = replace(example_record("orders"), revision);
  ASSERT_TRUE(conflict) << conflict.error().message;
  EXPECT_FALSE(*conflict);
  EXPECT_FALSE(*get("orders"));
}

TEST_P(StoreContract, a_revision_that_no_store_gave_is_a_conflict_or_invalid) {
  ASSERT_TRUE(put(example_record("orders")));
  for (const char* revision : {"", "x", "-1", "99999999999999999999999999", "1 or 1"}) {
    const auto replaced = replace(example_record("orders", "b"), revision);
    if (replaced) {
      EXPECT_FALSE(*replaced) << revision;
    } else {
      EXPECT_EQ(replaced.error().code, Code::kInvalid) << revision;
    }
  }
  EXPECT_EQ((*get("orders"))->record, example_record("orders"));
}

TEST_P(StoreContract, a_list_shows_what_is_there_and_marks_the_corrupt) {
  Record disabled = example_record("b-disabled");
  disabled.state = KeyState::kDisabled;
  disabled.current = 2;
  disabled.versions[2] = disabled.versions[1];
  disabled.versions[2].bytes = 16;
  disabled.versions[2].wrapped.erase("us-east-1");
  ASSERT_TRUE(put(example_record("a")));
  ASSERT_TRUE(put(disabled));
  ASSERT_TRUE(put(example_record("c")));
  under_test_->write_raw("c", R"({"keyfs":1})");
  auto entries = list_all(10);
  std::sort(entries.begin(), entries.end(),
            [](const auto& left, const auto& right) { return left.id < right.id; });
  ASSERT_THAT(ids_of(entries), ElementsAre("a", "b-disabled", "c"));
  EXPECT_EQ(entries[0].state, KeyState::kEnabled);
  EXPECT_EQ(entries[0].current, 1u);
  EXPECT_EQ(entries[0].bytes, 32u);
  EXPECT_THAT(regions_of(entries[0]), ElementsAre("eu-central-1", "us-east-1", "us-west-2"));
  EXPECT_EQ(entries[0].masters.at("us-west-2"), "arn:aws:kms:us-west-2:111122223333:key/k");
  EXPECT_EQ(entries[1].state, KeyState::kDisabled);
  EXPECT_EQ(entries[1].current, 2u);
  EXPECT_EQ(entries[1].bytes, 16u);
  EXPECT_THAT(regions_of(entries[1]), ElementsAre("eu-central-1", "us-west-2"));
  EXPECT_FALSE(entries[0].corrupt || entries[1].corrupt);
  EXPECT_TRUE(entries[2].corrupt);
}

TEST_P(StoreContract, a_list_shows_the_masters_of_versions_that_differ_from_the_current_one) {
  using Masters = std::map<std::string, std::string>;
  Record record = example_record("orders");
  const Version first = record.versions.at(1);
  Masters current;
  for (const auto& [region, wrap] : first.wrapped) current.emplace(region, wrap.master);
  Masters fewer = current;
  fewer.erase("us-east-1");
  Masters other = current;
  other["us-west-2"] = "arn:aws:kms:us-west-2:111122223333:key/old";
  for (uint32_t number = 2; number <= 5; ++number) record.versions[number] = first;
  record.versions[2].wrapped.erase("us-east-1");
  record.versions[3].wrapped.erase("us-east-1");
  record.versions[4].wrapped["us-west-2"].master = other["us-west-2"];
  record.versions[5].wrapped.clear();
  record.versions[5].destroyed = record.versions[5].created;
  record.last = 5;
  ASSERT_TRUE(put(record));
  ASSERT_TRUE(put(example_record("plain")));
  for (const auto& entry : list_all(10)) {
    EXPECT_EQ(entry.masters, current);
    if (entry.id == "plain") {
      EXPECT_TRUE(entry.others.empty());
    } else {
      EXPECT_EQ(entry.others, (std::set<Masters>{fewer, other}));
    }
  }
}

TEST_P(StoreContract, the_list_of_an_empty_store_is_one_empty_page) {
  const auto page = loop().run_task(store_->list("", 10, deadline()));
  ASSERT_TRUE(page) << page.error().message;
  EXPECT_TRUE(page->entries.empty());
  EXPECT_FALSE(page->next);
}

TEST_P(StoreContract, pages_have_neither_gaps_nor_duplicates_while_others_insert) {
  std::set<std::string> before;
  for (int i = 0; i < 50; i += 2) {
    ASSERT_TRUE(put(example_record(numbered("key", i))));
    before.insert(numbered("key", i));
  }
  const auto other = under_test_->connect();
  std::vector<std::string> seen;
  std::string after;
  for (int round = 0;; ++round) {
    const auto page = loop().run_task(store_->list(after, 4, deadline()));
    ASSERT_TRUE(page) << page.error().message;
    EXPECT_LE(page->entries.size(), 4u);
    for (const auto& entry : page->entries) seen.push_back(entry.id);
    if (!page->next) break;
    after = *page->next;
    const Record inserted = example_record(numbered("key", (round * 14 + 1) % 50));
    ASSERT_TRUE(loop().run_task(other->put_if_absent(inserted, deadline())));
    ASSERT_LT(round, 100);
  }
  const std::set<std::string> distinct(seen.begin(), seen.end());
  EXPECT_EQ(distinct.size(), seen.size()) << "an id was listed twice";
  EXPECT_TRUE(std::includes(distinct.begin(), distinct.end(), before.begin(), before.end()))
      << "an id that was there all the time was not listed";
  EXPECT_TRUE(!under_test_->lists_by_id() || std::is_sorted(seen.begin(), seen.end()));
}

TEST_P(StoreContract, every_id_that_the_grammar_permits_is_its_own) {
  std::vector<std::string> ids;
  for (const char c : std::string("._:@+=,~-")) {
    ids.push_back(std::string("a") + c);
    ids.push_back(std::string("a") + c + "b");
  }
  for (const char* id :
       {"A", "a", "0", "aA", "AA", "Orders", "orders", "ORDERS", "a=b,c:d@e+f~g"}) {
    ids.emplace_back(id);
  }
  ids.push_back(std::string(255, 'x'));
  ids.push_back(std::string(254, 'x'));
  ids.push_back(std::string(254, 'x') + "X");
  for (const auto& id : ids) {
    const auto put = this->put(example_record(id));
    ASSERT_TRUE(put) << id << ": " << put.error().message;
    EXPECT_TRUE(put->stored) << id;
  }
  for (const auto& id : ids) {
    const auto found = get(id);
    ASSERT_TRUE(found && *found) << id;
    EXPECT_EQ((*found)->record.id, id);
  }
  auto listed = ids_of(list_all(7));
  if (!under_test_->lists_by_id()) std::sort(listed.begin(), listed.end());
  std::sort(ids.begin(), ids.end());
  EXPECT_EQ(listed, ids);
}

TEST_P(StoreContract, a_deadline_that_has_passed_gives_a_timeout) {
  ASSERT_TRUE(put(example_record("orders")));
  const TimePoint past = loop().now() - std::chrono::milliseconds(1);
  const auto found = loop().run_task(store_->get("orders", Read::kAny, past));
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code, Code::kTimeout);
  const auto put = loop().run_task(store_->put_if_absent(example_record("other"), past));
  ASSERT_FALSE(put);
  EXPECT_EQ(put.error().code, Code::kTimeout);
  const auto replaced = loop().run_task(store_->replace(example_record("orders"), "1", past));
  ASSERT_FALSE(replaced);
  EXPECT_EQ(replaced.error().code, Code::kTimeout);
  const auto page = loop().run_task(store_->list("", 10, past));
  ASSERT_FALSE(page);
  EXPECT_EQ(page.error().code, Code::kTimeout);
  EXPECT_TRUE(*get("orders"));
}

TEST_P(StoreContract, calls_dropped_at_any_step_leave_the_store_usable) {
  const Record record = example_record("orders");
  bool stored = false;
  for (int turns = 0; turns < 12; ++turns) {
    TaskGroup<Result<PutResult>> puts(loop());
    TaskGroup<Result<Got>> gets(loop());
    puts.start(store_->put_if_absent(record, deadline()));
    gets.start(store_->get("orders", Read::kAny, deadline()));
    gets.start(store_->get("absent", Read::kStrong, deadline()));
    for (int turn = 0; turn < turns; ++turn) loop().turn(false);
  }
  const auto put = this->put(record);
  ASSERT_TRUE(put) << put.error().message;
  stored = put->winner.record == record;
  EXPECT_TRUE(stored);
  const auto found = get("orders");
  ASSERT_TRUE(found && *found);
  EXPECT_EQ((*found)->record, record);
  EXPECT_FALSE(*get("absent"));
  EXPECT_EQ(list_all(10).size(), 1u);
}

TEST_P(StoreContract, the_check_finds_nothing_wrong_with_a_store_that_works) {
  const auto check = loop().run_task(store_->check(deadline()));
  ASSERT_FALSE(check.items.empty());
  for (const auto& item : check.items) {
    EXPECT_TRUE(item.ok) << item.what << ": " << item.detail << " (" << item.remedy << ")";
    EXPECT_FALSE(item.what.empty());
  }
  EXPECT_TRUE(list_all(10).empty()) << "a check leaves nothing behind";
}

}  // namespace
}  // namespace keyfs::testing
