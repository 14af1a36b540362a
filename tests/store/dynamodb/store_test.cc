#include "store/dynamodb/store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/encoding.h"
#include "store/dynamodb/store_fixture.h"
#include "store/store_contract.h"

namespace keyfs::testing {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
using ::testing::HasSubstr;

class DynamoDbUnderTest final : public StoreUnderTest {
 public:
  explicit DynamoDbUnderTest(size_t regions) : regions_(regions) {}

  Loop& loop() override { return bed_.loop(); }
  // Of many who race for the stand-in's one thread the last waits as long as it takes: that is no
  // attempt that hangs.
  Duration patience() const override { return 120s; }
  std::unique_ptr<Store> connect() override {
    return bed_.connect(regions_, false, {}, patience());
  }
  std::string read_raw(const std::string& id) override {
    const json reply = bed_.call("GetItem", {{"Key", {{"id", {{"S", id}}}}}});
    return reply["Item"]["record"]["S"].get<std::string>();
  }
  void write_raw(const std::string& id, const std::string& bytes) override {
    bed_.call("UpdateItem", {{"Key", {{"id", {{"S", id}}}}},
                             {"UpdateExpression", "SET #r = :r"},
                             {"ExpressionAttributeNames", {{"#r", "record"}}},
                             {"ExpressionAttributeValues", {{":r", {{"S", bytes}}}}}});
  }
  bool lists_by_id() const override { return false; }

 private:
  DynamoDbBed bed_;
  size_t regions_;
};

INSTANTIATE_TEST_SUITE_P(DynamoDb, StoreContract,
                         ::testing::Values([] { return std::make_unique<DynamoDbUnderTest>(1); },
                                           [] { return std::make_unique<DynamoDbUnderTest>(3); }));

TEST_F(DynamoDbStoreTest, a_hit_costs_one_read_and_a_creation_one_write_and_a_look_at_the_store) {
  const auto store = bed_.settled(3);
  ASSERT_TRUE(put(*store, "first"));  // after this the table is described
  bed_.reset_counts();
  ASSERT_TRUE(put(*store, "orders")->stored);
  EXPECT_EQ(bed_.calls(1, "PutItem"), 1);
  EXPECT_EQ(bed_.calls(1, "*"), 2);
  ASSERT_TRUE(*get(*store, "orders"));
  EXPECT_EQ(bed_.calls(1, "GetItem"), 2);
  EXPECT_EQ(bed_.calls(1, "*"), 3);
  EXPECT_EQ(bed_.calls(2, "*") + bed_.calls(3, "*"), 0);
}

TEST_F(DynamoDbStoreTest, an_answer_of_success_that_is_not_dynamodbs_is_not_taken_for_a_write) {
  const auto store = bed_.settled(1);
  int number = 0;
  for (const char* body : {"<html>sign in</html>", "", "null", "[]", "{\"Attributes\":{", "{}"}) {
    const std::string old = "old" + std::to_string(number);
    const std::string fresh = "new" + std::to_string(number++);
    const auto there = put(*store, old);
    ASSERT_TRUE(there && there->stored);
    for (const char* operation : {"PutItem", "UpdateItem"}) {
      bed_.fault(1, {{"do", "error"}, {"op", operation}, {"status", 200}, {"body", body}});
    }
    const auto made = put(*store, fresh, "a", 700ms);
    ASSERT_FALSE(made) << body;
    EXPECT_THAT(made.error().message, HasSubstr("outcome unknown"));
    Record disabled = there->winner.record;
    disabled.state = KeyState::kDisabled;
    const auto done = run(store->replace(disabled, there->winner.revision, bed_.in(700ms)));
    EXPECT_FALSE(done) << body;
    bed_.heal_all();
    EXPECT_FALSE(*get(*store, fresh));
    EXPECT_EQ((*get(*store, old))->record.state, KeyState::kEnabled);
  }
}

TEST_F(DynamoDbStoreTest, a_write_that_was_made_counts_though_its_answer_was_spoilt_or_unproven) {
  const auto store = bed_.settled(1);
  // Passed on whole, but without the CRC: the proxy adds that to what no fault touches only.
  bed_.fault(1, {{"do", "truncate"}, {"op", "PutItem"}, {"keep", 1 << 20}, {"count", 1}});
  const auto unproven = put(*store, "orders");
  ASSERT_TRUE(unproven) << unproven.error().message;
  EXPECT_TRUE(unproven->stored);
  EXPECT_EQ((*get(*store, "orders"))->revision, unproven->winner.revision);
  bed_.fault(1, {{"do", "truncate"}, {"op", "PutItem"}, {"keep", 1}, {"count", 1}});
  const auto spoilt = put(*store, "sales");
  ASSERT_TRUE(spoilt) << spoilt.error().message;
  EXPECT_TRUE(spoilt->stored);
}

TEST_F(DynamoDbStoreTest, the_loser_of_a_race_gets_the_winner_in_the_same_round_trip) {
  const auto store = bed_.settled(1);
  ASSERT_TRUE(put(*store, "orders", "a"));
  bed_.reset_counts();
  const auto lost = put(*store, "orders", "b");
  ASSERT_TRUE(lost);
  EXPECT_FALSE(lost->stored);
  EXPECT_EQ(lost->winner.record, example_record("orders", "a"));
  EXPECT_EQ(bed_.calls(1, "*"), 1);
}

TEST_F(DynamoDbStoreTest, where_home_decides_one_strong_read_is_all_that_a_hit_or_a_miss_costs) {
  for (const size_t regions : {1, 3}) {
    eventual();
    const auto store = bed_.settled(regions);
    const std::string id = "orders-" + std::to_string(regions);
    ASSERT_TRUE(put(*store, id));
    bed_.reset_counts();
    std::optional<Result<Got>> hit;
    std::optional<Result<Got>> miss;
    EXPECT_EQ(reads_of([&] { hit = get(*store, id); }), (std::vector<bool>{true}));
    ASSERT_TRUE(*hit && **hit);
    EXPECT_TRUE((*hit)->strong);
    EXPECT_EQ(reads_of([&] { miss = get(*store, "nobody"); }), (std::vector<bool>{true}));
    ASSERT_TRUE(*miss);
    EXPECT_FALSE(**miss);
    EXPECT_EQ(bed_.calls(1, "*"), 2);
    EXPECT_EQ(bed_.calls(2, "*") + bed_.calls(3, "*"), 0);
  }
}

TEST_F(DynamoDbStoreTest, in_the_strong_mode_a_hit_is_read_eventually_and_a_miss_is_asked_again) {
  const auto store = bed_.settled(3);
  ASSERT_TRUE(put(*store, "orders"));
  EXPECT_EQ(reads_of([&] { EXPECT_FALSE(get(*store, "orders")->strong); }),
            (std::vector<bool>{false}));
  EXPECT_EQ(reads_of([&] { EXPECT_FALSE(*get(*store, "nobody")); }),
            (std::vector<bool>{false, true}));
}

TEST_F(DynamoDbStoreTest, a_strong_read_that_fails_is_followed_by_an_eventual_one) {
  const auto store = bed_.settled(1);
  ASSERT_TRUE(put(*store, "orders"));
  bed_.fault(1, {{"do", "error"}, {"op", "GetItem"}, {"status", 500}, {"count", 1}});
  EXPECT_EQ(reads_of([&] {
              const auto found = get(*store, "orders");
              ASSERT_TRUE(found && *found) << found.error().message;
              EXPECT_FALSE(found->strong);
            }),
            (std::vector<bool>{true, false}));
}

TEST_F(DynamoDbStoreTest, an_eventual_hit_is_told_as_one_and_a_strong_read_asks_home_alone) {
  eventual();
  const auto store = bed_.connect(3);
  ASSERT_TRUE(put(*store, "orders"));
  bed_.link(1, "cut");
  const auto any = get(*store, "orders");
  ASSERT_TRUE(any && *any) << any.error().message;
  EXPECT_FALSE(any->strong);
  bed_.link(1, "pass");
  bed_.reset_counts();
  bed_.control(1, "/record", {{"on", true}});
  const auto strong = get(*store, "orders", 20s, Read::kStrong);
  ASSERT_TRUE(strong && *strong) << strong.error().message;
  EXPECT_TRUE(strong->strong);
  const json requests = bed_.control(1, "/requests");
  bed_.control(1, "/record", {{"on", false}});
  for (const auto& request : requests.is_array() ? requests : requests["requests"]) {
    if (request["op"] == "GetItem") {
      EXPECT_TRUE(request["values"]["ConsistentRead"]);
    }
  }
  EXPECT_EQ(bed_.calls(1, "GetItem"), 1);
  EXPECT_EQ(bed_.calls(2, "GetItem") + bed_.calls(3, "GetItem"), 0);
  // Without home there is no strong answer, and another region's answer does not count as one.
  bed_.fault(1, {{"do", "reset"}, {"op", "GetItem"}});
  EXPECT_FALSE(get(*store, "orders", 3s, Read::kStrong));
  EXPECT_TRUE(get(*store, "orders", 3s));
}

TEST_F(DynamoDbStoreTest, a_write_whose_reply_was_lost_is_known_as_our_own) {
  const auto store = bed_.settled(1);
  bed_.fault(1, {{"do", "lose_reply"}, {"op", "PutItem"}, {"count", 2}});
  const auto put = this->put(*store, "orders");
  ASSERT_TRUE(put) << put.error().message;
  EXPECT_TRUE(put->stored);
  EXPECT_EQ(put->winner.record, example_record("orders"));

  bed_.fault(1, {{"do", "lose_reply"}, {"op", "UpdateItem"}, {"count", 2}});
  Record changed = put->winner.record;
  changed.state = KeyState::kDisabled;
  const auto replaced = run(store->replace(changed, put->winner.revision, bed_.in(20s)));
  ASSERT_TRUE(replaced) << replaced.error().message;
  ASSERT_TRUE(*replaced);
  EXPECT_EQ((*get(*store, "orders"))->revision, (*replaced)->revision);
}

TEST_F(DynamoDbStoreTest, an_unknown_outcome_is_told) {
  const auto store = bed_.settled(1);
  bed_.fault(1, {{"do", "reset"}, {"op", "PutItem"}});
  const auto put = this->put(*store, "orders", "a", 400ms);
  ASSERT_FALSE(put);
  EXPECT_THAT(put.error().message,
              HasSubstr("outcome unknown: key orders may or may not have been saved"));
  EXPECT_EQ(put.error().code, Code::kTimeout) << put.error().message;
}

TEST_F(DynamoDbStoreTest, what_may_pass_is_tried_again) {
  const auto store = bed_.settled(1);
  for (const char* type :
       {"InternalServerError", "ThrottlingException", "ProvisionedThroughputExceededException",
        "ReplicatedWriteConflictException"}) {
    bed_.fault(1, {{"do", "error"}, {"op", "PutItem"}, {"type", type}, {"count", 2}});
    const auto put = this->put(*store, type);
    ASSERT_TRUE(put) << type << ": " << put.error().message;
    EXPECT_TRUE(put->stored) << type;
  }
  for (const json& fault :
       {json{{"do", "truncate"}, {"op", "GetItem"}, {"count", 1}},
        json{{"do", "close"}, {"op", "GetItem"}, {"count", 1}},
        json{{"do", "error"}, {"op", "GetItem"}, {"status", 503}, {"count", 1}}}) {
    bed_.fault(1, fault);
    const auto found = get(*store, "ThrottlingException");
    ASSERT_TRUE(found) << fault << found.error().message;
    EXPECT_TRUE(*found);
  }
}

TEST_F(DynamoDbStoreTest, throttled_to_the_end_is_throttled_and_makes_no_storm) {
  const auto store = bed_.settled(1);
  bed_.fault(1, {{"do", "error"}, {"op", "*"}, {"type", "ThrottlingException"}});
  for (int i = 0; i < 20; ++i) {
    const auto found = get(*store, "orders", 300ms);
    ASSERT_FALSE(found);
    EXPECT_EQ(found.error().code, Code::kThrottled) << found.error().message;
  }
  // 20 calls, and what the budget of retries allows: 500 / 5.
  EXPECT_LE(bed_.calls(1, "GetItem"), 120);
}

TEST_F(DynamoDbStoreTest, a_missing_permission_is_named) {
  const auto store = bed_.settled(1);
  bed_.fault(1, {{"do", "error"}, {"op", "PutItem"}, {"type", "AccessDeniedException"}});
  const auto put = this->put(*store, "orders");
  ASSERT_FALSE(put);
  EXPECT_EQ(put.error().code, Code::kDenied);
  EXPECT_THAT(put.error().message,
              HasSubstr("permission dynamodb:PutItem on table " + bed_.table()));
  const auto check = run(store->check(bed_.in(20s)));
  bool told = false;
  for (const auto& item : check.items) {
    if (item.ok) continue;
    if (item.what == "board may write") continue;
    EXPECT_EQ(item.what, DynamoDbBed::region(1) + " may create");
    EXPECT_THAT(item.remedy, HasSubstr("allow dynamodb:PutItem"));
    told = true;
  }
  EXPECT_TRUE(told);
}

TEST_F(DynamoDbStoreTest, a_missing_table_is_no_miss) {
  const auto store = bed_.connect(1);
  bed_.call("UpdateTable", {{"DeletionProtectionEnabled", false}});
  bed_.call("DeleteTable", json::object());
  const auto found = get(*store, "orders");
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code, Code::kDenied);
  EXPECT_THAT(found.error().message, HasSubstr("there is no table " + bed_.table()));
  EXPECT_FALSE(put(*store, "orders"));
  const auto check = run(store->check(bed_.in(20s)));
  ASSERT_EQ(check.items.size(), 1u);
  EXPECT_THAT(check.items[0].remedy, HasSubstr("keyfs check --create-table creates it"));
}

TEST_F(DynamoDbStoreTest, a_table_is_made_protected_and_an_existing_one_is_left_alone) {
  const json description = bed_.call("DescribeTable", json::object())["Table"];
  EXPECT_EQ(description["DeletionProtectionEnabled"], true);
  EXPECT_EQ(description["BillingModeSummary"]["BillingMode"], "PAY_PER_REQUEST");
  const json backups =
      bed_.call("DescribeContinuousBackups", json::object())["ContinuousBackupsDescription"];
  EXPECT_EQ(backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"], "ENABLED");
  const auto store = bed_.connect(1);
  ASSERT_TRUE(put(*store, "orders"));
  const auto made = run(store->make_table(bed_.in(20s)));
  ASSERT_TRUE(made);
  EXPECT_THAT(made->done, HasSubstr("already exists"));
  EXPECT_TRUE(*get(*store, "orders"));
}

class HomeOut : public DynamoDbStoreTest, public ::testing::WithParamInterface<const char*> {};

TEST_P(HomeOut, every_existing_key_is_read_from_another_replica) {
  for (const bool warm : {true, false}) {
    const auto store = bed_.connect(3);
    ASSERT_TRUE(put(*store, "orders"));
    const auto cold = bed_.connect(3);
    bed_.link(1, GetParam());
    const auto found = get(warm ? *store : *cold, "orders");
    ASSERT_TRUE(found) << found.error().message;
    EXPECT_TRUE(*found);
    EXPECT_TRUE(run(store->list("", 10, bed_.in(20s))));
    bed_.heal_all();
  }
}

TEST_P(HomeOut, in_the_strong_mode_any_replica_decides) {
  const auto store = bed_.connect(3);
  bed_.link(1, GetParam());
  EXPECT_FALSE(*get(*store, "orders"));
  const auto put = this->put(*store, "orders");
  ASSERT_TRUE(put) << put.error().message;
  EXPECT_TRUE(put->stored);
}

TEST_P(HomeOut, in_the_eventual_mode_nothing_is_created_and_nothing_counts_as_a_miss) {
  eventual();
  const auto store = bed_.connect(3);
  ASSERT_TRUE(put(*store, "orders"));
  bed_.link(1, GetParam());
  EXPECT_TRUE(*get(*store, "orders"));
  bed_.reset_counts();
  const auto found = get(*store, "other", 2s);
  ASSERT_FALSE(found);
  EXPECT_THAT(found.error().message, HasSubstr(DynamoDbBed::region(1)));
  const auto put = this->put(*store, "other", "a", 2s);
  ASSERT_FALSE(put);
  EXPECT_THAT(put.error().message, HasSubstr(DynamoDbBed::region(1)));
  EXPECT_EQ(bed_.calls(2, "PutItem") + bed_.calls(3, "PutItem"), 0);
  bed_.heal_all();
  eventual();
  EXPECT_TRUE(this->put(*store, "other")->stored);
}

INSTANTIATE_TEST_SUITE_P(Link, HomeOut, ::testing::Values("cut", "hang", "blackhole"));

TEST_F(DynamoDbStoreTest, a_table_that_is_no_replica_is_never_asked) {
  for (size_t number = 1; number <= 3; ++number) {
    bed_.fault(number, {{"do", "corrupt"},
                        {"op", "DescribeTable"},
                        {"field", "Table.Replicas"},
                        {"value", json::array()}});
    bed_.fault(number, {{"do", "corrupt"},
                        {"op", "DescribeTable"},
                        {"field", "Table.TableArn"},
                        {"value", "arn:aws:dynamodb:" + DynamoDbBed::region(number) +
                                      ":111122223333:table/keyfs"}});
  }
  const auto store = bed_.connect(3);
  ASSERT_TRUE(put(*store, "orders"));
  const auto check = run(store->check(bed_.in(20s)));
  int refused = 0;
  for (const auto& item : check.items) refused += item.what.starts_with("replica ") && !item.ok;
  EXPECT_EQ(refused, 2);
  bed_.reset_counts();
  bed_.link(1, "cut");
  EXPECT_FALSE(get(*store, "orders", 1s));
  EXPECT_EQ(bed_.calls(2, "GetItem") + bed_.calls(3, "GetItem"), 0);

  const auto cold = bed_.connect(3);
  EXPECT_FALSE(get(*cold, "orders", 1s));
  EXPECT_FALSE(put(*cold, "orders", "a", 1s));
  for (size_t number : {2, 3}) {
    EXPECT_EQ(bed_.calls(number, "GetItem") + bed_.calls(number, "PutItem"), 0);
  }
}

TEST_F(DynamoDbStoreTest, a_replica_that_was_slow_is_not_asked_first_for_a_while) {
  const auto store = bed_.connect(3);
  ASSERT_TRUE(put(*store, "orders"));
  bed_.link(1, "hang");
  ASSERT_TRUE(*get(*store, "orders"));
  bed_.reset_counts();
  ASSERT_TRUE(*get(*store, "orders"));
  EXPECT_EQ(bed_.calls(2, "GetItem"), 1);
  EXPECT_EQ(bed_.calls(3, "GetItem"), 0);
}

TEST_F(DynamoDbStoreTest, records_of_rkms_are_read_when_the_configuration_says_so) {
  put_rkms("old");
  const auto store = bed_.connect(1, true);
  const auto found = get(*store, "old");
  ASSERT_TRUE(found && *found) << found.error().message;
  const Record& record = (*found)->record;
  EXPECT_TRUE(record.from_rkms);
  EXPECT_EQ(record.current, 1u);
  EXPECT_FALSE(record.versions.at(1).check);
  EXPECT_EQ(record.versions.at(1).wrapped.at("us-east-1").blob, "east");
  EXPECT_EQ(record.versions.at(1).wrapped.at("us-west-2").blob, "west");
  const auto lost = put(*store, "old");
  ASSERT_TRUE(lost);
  EXPECT_FALSE(lost->stored);
  EXPECT_TRUE(lost->winner.record.from_rkms);
  const auto page = run(store->list("", 10, bed_.in(20s)));
  ASSERT_TRUE(page);
  ASSERT_EQ(page->entries.size(), 1u);
  EXPECT_FALSE(page->entries[0].corrupt);
}

TEST_F(DynamoDbStoreTest, records_of_rkms_are_otherwise_corrupt_and_never_absent) {
  put_rkms("old");
  const auto store = bed_.connect(1);
  for (const auto& error : {get(*store, "old").error(), put(*store, "old").error()}) {
    EXPECT_EQ(error.code, Code::kCorrupt);
    EXPECT_THAT(error.message, HasSubstr("accept_rkms_records = yes"));
  }
}

TEST_F(DynamoDbStoreTest, an_item_without_keys_and_record_is_corrupt_and_never_absent) {
  bed_.call("PutItem", {{"Item", {{"id", {{"S", "empty"}}}}}});
  bed_.call("PutItem", {{"Item", {{"id", {{"S", "odd"}}}, {"keys", {{"S", "x"}}}}}});
  const auto store = bed_.connect(1, true);
  for (const char* id : {"empty", "odd"}) {
    EXPECT_EQ(get(*store, id).error().code, Code::kCorrupt);
    EXPECT_EQ(put(*store, id).error().code, Code::kCorrupt);
  }
}

TEST_F(DynamoDbStoreTest, a_record_of_rkms_is_adopted_once_and_stays_readable_for_rkms) {
  put_rkms("old");
  const auto store = bed_.connect(1, true);
  const auto found = get(*store, "old");
  ASSERT_TRUE(found && *found);
  const auto adopted =
      run(store->replace(example_record("old", "a"), (*found)->revision, bed_.in(20s)));
  ASSERT_TRUE(adopted) << adopted.error().message;
  ASSERT_TRUE(*adopted);
  const auto again =
      run(store->replace(example_record("old", "b"), (*found)->revision, bed_.in(20s)));
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_FALSE(*again);
  const auto now = get(*bed_.connect(1), "old");
  ASSERT_TRUE(now && *now);
  EXPECT_EQ((*now)->record, example_record("old", "a"));
  const json item = bed_.call("GetItem", {{"Key", {{"id", {{"S", "old"}}}}}})["Item"];
  EXPECT_EQ(item["keys"]["M"]["us-east-1"]["S"], base64_encode("east"));

  // A deleted key is gone for RKMS, too.
  Record deleted = (*now)->record;
  deleted.state = KeyState::kDeleted;
  deleted.versions.at(1).wrapped.clear();
  ASSERT_TRUE(*run(store->replace(deleted, (*now)->revision, bed_.in(20s))));
  const json rest = bed_.call("GetItem", {{"Key", {{"id", {{"S", "old"}}}}}})["Item"];
  EXPECT_FALSE(rest.contains("keys")) << rest;
}

TEST_F(DynamoDbStoreTest, a_damaged_record_is_told_whatever_another_replica_has) {
  const auto store = bed_.connect(3);
  ASSERT_TRUE(put(*store, "orders"));
  bed_.fault(1, {{"do", "corrupt"}, {"op", "GetItem"}, {"field", "Item.record.S"}, {"value", "{"}});
  for (const Read read : {Read::kAny, Read::kStrong}) {
    const auto found = get(*store, "orders", 20s, read);
    ASSERT_FALSE(found) << "another replica's copy was taken instead";
    EXPECT_EQ(found.error().code, Code::kCorrupt) << found.error().message;
  }
}

TEST_F(DynamoDbStoreTest, a_creation_that_cannot_be_confirmed_is_told_as_unknown) {
  const auto store = bed_.settled(1);
  bed_.fault(1, {{"do", "reset"}, {"op", "GetItem"}});
  const auto put = this->put(*store, "orders", "a", 400ms);
  ASSERT_FALSE(put);
  EXPECT_THAT(put.error().message,
              HasSubstr("outcome unknown: key orders may or may not have been saved"));
}

TEST_F(DynamoDbStoreTest, is_made_from_the_configuration) {
  const auto make = [&](const std::string& text) {
    const auto config = ConfigFile::parse("[store]\ntype = dynamodb\n" + text, "f.ini");
    EXPECT_TRUE(config) << config.error().message;
    return make_dynamodb_store(*config->find("store"), bed_.parts());
  };
  const auto store =
      make("table = " + bed_.table() + "\nregions = " + DynamoDbBed::region(1) + ", " +
           DynamoDbBed::region(2) + "\nendpoint = " + DynamoDbBed::env("KEYFS_TEST_DYNAMODB_1") +
           ", " + DynamoDbBed::env("KEYFS_TEST_DYNAMODB_2") + "\n");
  ASSERT_TRUE(store) << store.error().message;
  EXPECT_TRUE(put(**store, "orders")->stored);
  EXPECT_THAT(make("regions = us-east-1\n").error().message, HasSubstr("table"));
  EXPECT_THAT(make("table = t\nregions = Mars\n").error().message,
              HasSubstr("f.ini:4: [store] regions: Mars is not the name of an AWS region"));
  EXPECT_THAT(make("table = t\nregions = us-east-1, us-west-2, eu-west-1\n"
                   "endpoint = http://a, http://b\n")
                  .error()
                  .message,
              HasSubstr("f.ini:5: [store] endpoint: has 2 endpoints for 3 regions"));
}

}  // namespace
}  // namespace keyfs::testing

int main(int argc, char** argv) {
  keyfs::testing::curl_global();
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
