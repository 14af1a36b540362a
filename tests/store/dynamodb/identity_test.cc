// A table that was made anew under its name is another store.
#include <gmock/gmock.h>

#include "store/dynamodb/store_fixture.h"
#include "store/known_store.h"
#include "support/temporary_directory.h"

namespace keyfs::testing {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
using ::testing::HasSubstr;

// What happens to a table between two calls, or two lives, of keyfs.
class DynamoDbTableMadeAnew : public DynamoDbStoreTest {
 protected:
  void make_table_anew() {
    bed_.call("UpdateTable", {{"DeletionProtectionEnabled", false}});
    bed_.call("DeleteTable", json::object());
    const auto made = run(bed_.connect(1)->make_table(bed_.in(20s)));
    ASSERT_TRUE(made) << made.error().message;
  }
  void expect_refused(const Result<void>& result) {
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, Code::kInvalid) << result.error().message;
    EXPECT_THAT(result.error().message, HasSubstr("table " + bed_.table()));
    EXPECT_THAT(result.error().message, HasSubstr("not the store that this host has used so far"));
    EXPECT_THAT(result.error().message, HasSubstr("keyfs check --accept-store"));
  }
  template <class T>
  static Result<void> outcome(const Result<T>& result) {
    if (!result) return fail(result.error());
    return {};
  }

  TemporaryDirectory folder_;
  const std::string state_dir_ = folder_.file("state");
};

TEST_F(DynamoDbTableMadeAnew, gets_no_key_from_a_host_that_knew_the_old_one) {
  {
    const auto host = bed_.connect(1, false, state_dir_);
    ASSERT_TRUE(put(*host, "mine"));
  }
  ASSERT_TRUE(put(*bed_.connect(1), "orders"));  // another host's, which this one never read
  make_table_anew();
  {
    const auto restarted = bed_.connect(1, false, state_dir_);
    bed_.reset_counts();
    expect_refused(outcome(get(*restarted, "orders")));
    expect_refused(outcome(put(*restarted, "orders")));
    EXPECT_EQ(bed_.calls(1, "PutItem"), 0);
    const auto check = run(restarted->check(bed_.in(20s)));
    bool told = false;
    for (const auto& item : check.items) told = told || (item.what == "identity" && !item.ok);
    EXPECT_TRUE(told);
  }
  ASSERT_TRUE(*forget_known_store(state_dir_));
  const auto accepted = bed_.connect(1, false, state_dir_);
  EXPECT_FALSE(*get(*accepted, "orders"));
  EXPECT_TRUE(put(*accepted, "orders")->stored);
}

TEST_F(DynamoDbTableMadeAnew, is_refused_as_well_when_others_use_it_already) {
  ASSERT_TRUE(put(*bed_.connect(1, false, state_dir_), "mine"));
  make_table_anew();
  ASSERT_TRUE(put(*bed_.connect(1), "theirs"));
  const auto restarted = bed_.connect(1, false, state_dir_);
  expect_refused(outcome(get(*restarted, "orders")));
  expect_refused(outcome(put(*restarted, "orders")));
}

TEST_F(DynamoDbTableMadeAnew, from_a_backup_is_noticed_where_the_table_may_be_described) {
  const auto table_id = [&](const char* id) {
    bed_.heal_all();
    bed_.fault(
        1, {{"do", "corrupt"}, {"op", "DescribeTable"}, {"field", "Table.TableId"}, {"value", id}});
  };
  ASSERT_TRUE(put(*bed_.connect(1, false, state_dir_), "orders"));  // it was not told then
  table_id("first");
  ASSERT_TRUE(put(*bed_.connect(1, false, state_dir_), "bills"));
  EXPECT_EQ((**read_known_store(state_dir_)).life, DynamoDbBed::region(1) + "/first");
  table_id("second");
  const auto restored = bed_.connect(1, false, state_dir_);
  const auto put = this->put(*restored, "new");
  ASSERT_FALSE(put);
  EXPECT_EQ(put.error().code, Code::kInvalid);
  EXPECT_THAT(put.error().message, HasSubstr("was restored from a backup"));
  EXPECT_THAT(put.error().message, HasSubstr("keyfs check --accept-store"));
  EXPECT_FALSE(get(*restored, "nobody")) << "the miss was believed";
  EXPECT_TRUE(*get(*restored, "orders")) << "what is there is served";
  bed_.heal_all();
  bed_.fault(1, {{"do", "error"}, {"op", "DescribeTable"}, {"type", "AccessDeniedException"}});
  EXPECT_TRUE(this->put(*bed_.connect(1, false, state_dir_), "new")) << "who may not ask goes on";
}

TEST_F(DynamoDbTableMadeAnew, a_host_that_only_reads_remembers_its_store_too) {
  ASSERT_TRUE(put(*bed_.connect(1), "orders"));
  {
    const auto reader = bed_.connect(1, false, state_dir_);
    ASSERT_TRUE(*get(*reader, "orders"));
    for (int turn = 0; turn < 2000 && !*read_known_store(state_dir_); ++turn) {
      bed_.loop().turn(true);
    }
  }
  ASSERT_TRUE(*read_known_store(state_dir_));
  make_table_anew();
  expect_refused(outcome(put(*bed_.connect(1, false, state_dir_), "orders")));
}

// A host that runs while its table is made anew, and another one, which knows the new table.
class DynamoDbTableMadeAnewUnderAHost : public DynamoDbTableMadeAnew {
 protected:
  DynamoDbTableMadeAnewUnderAHost() {
    id_ = *run(host_->identity(bed_.in(20s)));
    make_table_anew();
    EXPECT_TRUE(put(*other_, "theirs"));
  }
  Result<PutResult> put_bound(const std::string& id, Duration within = 20s) {
    Record record = example_record(id);
    record.origin = id_;
    return run(host_->put_if_absent(record, bed_.in(within)));
  }

  const std::unique_ptr<DynamoDbStore> host_ = bed_.connect(1);
  const std::unique_ptr<DynamoDbStore> other_ = bed_.connect(1);
  std::string id_;
};

TEST_F(DynamoDbTableMadeAnewUnderAHost, it_gets_no_key_and_the_id_stays_free) {
  const auto refused = put_bound("orders");
  expect_refused(outcome(refused));
  EXPECT_THAT(refused.error().message, HasSubstr("Removed again: the item orders"));
  // It knows from now on.
  expect_refused(outcome(get(*host_, "nobody")));
  expect_refused(outcome(put(*host_, "nobody")));
  // The id is not blocked by what the host wrote.
  EXPECT_FALSE(*get(*other_, "orders"));
  EXPECT_TRUE(put(*other_, "orders")->stored);
}

TEST_F(DynamoDbTableMadeAnewUnderAHost, what_it_wrote_is_removed_when_the_first_reply_was_lost) {
  bed_.fault(1, {{"do", "lose_reply"}, {"op", {"PutItem", "DeleteItem"}}, {"count", 2}});
  expect_refused(outcome(put_bound("orders")));
  EXPECT_FALSE(*get(*other_, "orders"));
}

TEST_F(DynamoDbTableMadeAnewUnderAHost, what_another_has_written_is_never_removed) {
  ASSERT_TRUE(put(*other_, "orders"));
  const auto lost = put_bound("orders");
  ASSERT_TRUE(lost) << lost.error().message;
  EXPECT_FALSE(lost->stored);
  EXPECT_TRUE(*get(*other_, "orders"));

  // Between the host's write and its look at the store another one changes the item.
  bed_.fault(1, {{"do", "hang"}, {"op", "DeleteItem"}});
  TaskGroup<Result<PutResult>> putting(bed_.loop());
  Record record = example_record("bills");
  record.origin = id_;
  putting.start(host_->put_if_absent(record, bed_.in(20s)));
  while (bed_.calls(1, "DeleteItem") == 0) bed_.loop().turn(true);
  bed_.call("UpdateItem", {{"Key", {{"id", {{"S", "bills"}}}}},
                           {"UpdateExpression", "SET #r = :r"},
                           {"ExpressionAttributeNames", {{"#r", "revision"}}},
                           {"ExpressionAttributeValues", {{":r", {{"S", "another"}}}}}});
  bed_.heal_all();
  auto put = run(putting.next());
  ASSERT_TRUE(put);
  expect_refused(outcome(put->value));
  EXPECT_THAT(put->value.error().message, HasSubstr("It is not there any more"));
  const json item = bed_.call("GetItem", {{"Key", {{"id", {{"S", "bills"}}}}}})["Item"];
  EXPECT_EQ(item["revision"]["S"], "another");
}

TEST_F(DynamoDbTableMadeAnewUnderAHost, a_removal_whose_outcome_is_unknown_is_told) {
  bed_.fault(1, {{"do", "error"}, {"op", "DeleteItem"}, {"type", "AccessDeniedException"}});
  const auto refused = put_bound("orders");
  expect_refused(outcome(refused));
  EXPECT_THAT(refused.error().message, HasSubstr("It is not known whether the item orders"));
  EXPECT_THAT(refused.error().message, HasSubstr("permission dynamodb:DeleteItem"));
  EXPECT_THAT(refused.error().message, HasSubstr("delete it, so that the id can be used again"));
  // It is served to nobody, and told truly.
  const auto found = get(*other_, "orders");
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code, Code::kCorrupt);
  EXPECT_THAT(found.error().message, HasSubstr("is bound to another store"));
  EXPECT_THAT(found.error().message, HasSubstr("delete the record from it"));
}

TEST_F(DynamoDbTableMadeAnewUnderAHost, a_replacement_finds_nothing_to_replace) {
  Record record = example_record("theirs");
  record.origin = id_;
  for (const char* id : {"theirs", "gone"}) {
    record.id = id;
    const auto replaced = run(host_->replace(record, "0123456789abcdef", bed_.in(20s)));
    ASSERT_TRUE(replaced) << replaced.error().message;
    EXPECT_FALSE(*replaced);
  }
  EXPECT_EQ((*get(*other_, "theirs"))->record, example_record("theirs"));
  EXPECT_FALSE(*get(*other_, "gone"));
}

}  // namespace
}  // namespace keyfs::testing
