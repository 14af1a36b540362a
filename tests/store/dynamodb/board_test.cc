#include "store/dynamodb/board.h"

#include <gmock/gmock.h>

#include "base/race.h"
#include "store/board_contract.h"
#include "store/dynamodb/store_fixture.h"

namespace keyfs::testing {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;

json board_key(const std::string& name) {
  const size_t slash = name.find('/');
  return {{"part", {{"S", name.substr(0, slash)}}}, {"name", {{"S", name.substr(slash + 1)}}}};
}

class DynamoDbBoardUnderTest final : public BoardUnderTest {
 public:
  explicit DynamoDbBoardUnderTest(size_t regions) : regions_(regions) {}

  Loop& loop() override { return bed_.loop(); }
  // Of many who race for the stand-in's one thread the last waits as long as it takes.
  Duration patience() const override { return 120s; }
  std::unique_ptr<Store> connect() override {
    return bed_.connect(regions_, false, {}, patience());
  }
  void damage(const std::string& name) override {
    bed_.call("UpdateItem",
              {{"Key", board_key(name)},
               {"UpdateExpression", "REMOVE #d"},
               {"ExpressionAttributeNames", {{"#d", "document"}}}},
              bed_.board_table());
  }

 private:
  DynamoDbBed bed_;
  size_t regions_;
};

INSTANTIATE_TEST_SUITE_P(
    DynamoDb, BoardContract,
    ::testing::Values([] { return std::make_unique<DynamoDbBoardUnderTest>(1); },
                      [] { return std::make_unique<DynamoDbBoardUnderTest>(3); }));

class DynamoDbBoardTest : public DynamoDbStoreTest {
 protected:
  void SetUp() override {
    store_ = bed_.settled(1);
    past_ = bed_.connect_past_faults();
    ASSERT_TRUE(run(past_->identity(bed_.in(20s))));
  }
  Board& board() { return *store_->board(); }
  Board& past() { return *past_->board(); }
  Result<BoardWrite> put(const std::string& name, const std::string& text, Duration within = 20s) {
    return run(board().put_if_absent(name, text, bed_.in(within)));
  }
  Result<BoardWrite> replace(const BoardWrite& there, const std::string& text,
                             Duration within = 20s) {
    return run(board().replace(there.now->name, text, there.now->revision, bed_.in(within)));
  }
  std::optional<BoardDocument> get(const std::string& name) {
    const auto found = run(past().get(name, bed_.in(20s)));
    EXPECT_TRUE(found) << found.error().message;
    return found ? *found : std::nullopt;
  }
  // `operation` is carried out, its reply is lost, and what is sent again waits for so long that
  // `meanwhile` comes before it.
  Result<BoardWrite> lost_and(const char* operation, Task<Result<BoardWrite>> task,
                              const std::function<void()>& meanwhile) {
    bed_.fault(1, {{"do", "lose_reply"}, {"op", operation}, {"count", 1}});
    bed_.fault(1, {{"do", "delay"}, {"op", operation}, {"seconds", 1}, {"count", 1}});
    TaskGroup<Result<BoardWrite>> group(bed_.loop());
    group.start(std::move(task));
    const auto early = run(group.next(bed_.in(500ms)));
    EXPECT_FALSE(early) << "it did not have to be sent again";
    meanwhile();
    auto finished = run(group.next());
    bed_.heal_all();
    return std::move(finished->value);
  }

  std::unique_ptr<DynamoDbStore> store_;
  std::unique_ptr<DynamoDbStore> past_;
};

TEST_F(DynamoDbBoardTest, each_call_costs_one_request_and_a_look_an_eventual_read) {
  bed_.reset_counts();
  auto there = put("run/head", "1");
  ASSERT_TRUE(there && there->done);
  EXPECT_EQ(bed_.calls(1, "PutItem"), 1);
  there = replace(*there, "2");
  ASSERT_TRUE(there && there->done);
  EXPECT_EQ(bed_.calls(1, "PutItem"), 2);
  EXPECT_FALSE(put("run/head", "3")->done);
  EXPECT_EQ(bed_.calls(1, "PutItem"), 3);
  EXPECT_EQ(bed_.calls(1, "*"), 3) << "what was in the way came with the answer";
  EXPECT_EQ(reads_of([&] { ASSERT_TRUE(*run(board().get("run/head", bed_.in(20s)))); }),
            (std::vector<bool>{true}));
  EXPECT_EQ(reads_of([&] { ASSERT_TRUE(*run(board().peek("run/head", bed_.in(20s)))); }),
            (std::vector<bool>{false}));
  const auto page = run(board().list("run/", "", 100, bed_.in(20s)));
  ASSERT_TRUE(page) << page.error().message;
  EXPECT_EQ(bed_.calls(1, "Query"), 1);
  ASSERT_TRUE(run(board().remove("run/head", there->now->revision, bed_.in(20s)))->done);
  EXPECT_EQ(bed_.calls(1, "DeleteItem"), 1);
  EXPECT_EQ(bed_.calls(1, "*"), 7);
  EXPECT_EQ(bed_.calls(1, "Scan"), 0);
}

TEST_F(DynamoDbBoardTest, a_write_whose_reply_was_lost_is_known_as_our_own) {
  bed_.fault(1, {{"do", "lose_reply"}, {"op", "PutItem"}, {"count", 2}});
  auto there = put("run/head", "1");
  ASSERT_TRUE(there) << there.error().message;
  EXPECT_TRUE(there->done);
  EXPECT_EQ(there->now->revision, get("run/head")->revision);
  bed_.fault(1, {{"do", "lose_reply"}, {"op", "PutItem"}, {"count", 2}});
  there = replace(*there, "2");
  ASSERT_TRUE(there) << there.error().message;
  EXPECT_TRUE(there->done);
  EXPECT_EQ(there->now->revision, get("run/head")->revision);
  bed_.fault(1, {{"do", "lose_reply"}, {"op", "DeleteItem"}, {"count", 2}});
  const auto removed = run(board().remove("run/head", there->now->revision, bed_.in(20s)));
  ASSERT_TRUE(removed) << removed.error().message;
  EXPECT_TRUE(removed->done);
  EXPECT_FALSE(get("run/head"));
}

TEST_F(DynamoDbBoardTest, a_write_whose_reply_was_lost_is_our_own_though_others_wrote_since) {
  const std::string name = "run/head";
  auto there = lost_and("PutItem", board().put_if_absent(name, "1", bed_.in(20s)), [&] {
    for (int other = 0; other < 7; ++other) {
      const auto now = get(name);
      ASSERT_TRUE(now);
      ASSERT_TRUE(run(past().replace(name, "2", now->revision, bed_.in(20s)))->done);
    }
  });
  ASSERT_TRUE(there) << there.error().message;
  EXPECT_TRUE(there->done);
  EXPECT_EQ(there->now->text, "2") << "and told what is there now";
  there = lost_and("PutItem", board().replace(name, "3", there->now->revision, bed_.in(20s)), [&] {
    const auto now = get(name);
    ASSERT_EQ(now->text, "3");
    ASSERT_TRUE(run(past().replace(name, "4", now->revision, bed_.in(20s)))->done);
  });
  ASSERT_TRUE(there) << there.error().message;
  EXPECT_TRUE(there->done);
  EXPECT_EQ(there->now->text, "4");
}

TEST_F(DynamoDbBoardTest, a_write_that_was_not_made_is_not_our_own_when_others_were_faster) {
  const auto first = put("run/head", "1");
  ASSERT_TRUE(first && first->done);
  bed_.fault(1, {{"do", "reset"}, {"op", "PutItem"}, {"count", 1}});
  bed_.fault(1, {{"do", "delay"}, {"op", "PutItem"}, {"seconds", 1}, {"count", 1}});
  TaskGroup<Result<BoardWrite>> group(bed_.loop());
  // The same bytes as the other's.
  group.start(board().replace("run/head", "2", first->now->revision, bed_.in(20s)));
  EXPECT_FALSE(run(group.next(bed_.in(500ms))));
  ASSERT_TRUE(run(past().replace("run/head", "2", first->now->revision, bed_.in(20s)))->done);
  const auto late = run(group.next());
  ASSERT_TRUE(late && late->value) << late->value.error().message;
  EXPECT_FALSE(late->value->done);
}

TEST_F(DynamoDbBoardTest, what_may_pass_is_tried_again) {
  for (const char* type :
       {"InternalServerError", "ThrottlingException", "ProvisionedThroughputExceededException"}) {
    for (const char* operation : {"PutItem", "GetItem", "Query", "DeleteItem"}) {
      bed_.fault(1, {{"do", "error"}, {"op", operation}, {"type", type}, {"count", 2}});
    }
    const auto there = put("run/head", "1");
    ASSERT_TRUE(there) << type << ": " << there.error().message;
    EXPECT_TRUE(there->done) << type;
    EXPECT_TRUE(*run(board().get("run/head", bed_.in(20s)))) << type;
    const auto page = run(board().list("run/", "", 10, bed_.in(20s)));
    ASSERT_TRUE(page) << type << ": " << page.error().message;
    EXPECT_EQ(page->documents.size(), 1u) << type;
    EXPECT_TRUE(run(board().remove("run/head", there->now->revision, bed_.in(20s)))->done);
  }
}

TEST_F(DynamoDbBoardTest, throttled_to_the_end_is_throttled_and_makes_no_storm) {
  bed_.fault(1, {{"do", "error"}, {"op", "*"}, {"type", "ThrottlingException"}});
  for (int i = 0; i < 20; ++i) {
    const auto found = run(board().peek("run/head", bed_.in(300ms)));
    ASSERT_FALSE(found);
    EXPECT_EQ(found.error().code, Code::kThrottled) << found.error().message;
  }
  EXPECT_LE(bed_.calls(1, "GetItem"), 120);
}

TEST_F(DynamoDbBoardTest, an_answer_of_success_that_is_not_dynamodbs_is_not_taken_for_a_write) {
  int number = 0;
  for (const char* body : {"<html>sign in</html>", "", "null", "{}"}) {
    const auto there = put("run/old" + std::to_string(number), "1");
    ASSERT_TRUE(there && there->done);
    for (const char* operation : {"PutItem", "DeleteItem"}) {
      bed_.fault(1, {{"do", "error"}, {"op", operation}, {"status", 200}, {"body", body}});
    }
    const std::string fresh = "run/new" + std::to_string(number++);
    const auto made = put(fresh, "1", 700ms);
    ASSERT_FALSE(made) << body;
    EXPECT_THAT(made.error().message, HasSubstr("outcome unknown: document " + fresh));
    EXPECT_FALSE(replace(*there, "2", 700ms)) << body;
    EXPECT_FALSE(run(board().remove(there->now->name, there->now->revision, bed_.in(700ms))))
        << body;
    bed_.heal_all();
    EXPECT_FALSE(get(fresh));
    EXPECT_EQ(get(there->now->name)->text, "1");
  }
}

TEST_F(DynamoDbBoardTest, an_unknown_outcome_is_told_and_a_refusal_is_not_one) {
  bed_.fault(1, {{"do", "reset"}, {"op", "PutItem"}});
  const auto unknown = put("run/head", "1", 400ms);
  ASSERT_FALSE(unknown);
  EXPECT_THAT(unknown.error().message, HasSubstr("outcome unknown: document run/head"));
  bed_.heal_all();
  bed_.fault(1, {{"do", "error"}, {"op", "PutItem"}, {"type", "AccessDeniedException"}});
  const auto refused = put("run/head", "1");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kDenied);
  EXPECT_THAT(refused.error().message,
              HasSubstr("permission dynamodb:PutItem on table " + bed_.board_table()));
}

TEST_F(DynamoDbBoardTest, without_its_table_keys_are_served_and_the_board_says_what_makes_it) {
  bed_.call("UpdateTable", {{"DeletionProtectionEnabled", false}}, bed_.board_table());
  bed_.call("DeleteTable", json::object(), bed_.board_table());
  ASSERT_TRUE(run(store_->put_if_absent(example_record("orders"), bed_.in(20s)))->stored);
  ASSERT_TRUE(*run(store_->get("orders", Read::kStrong, bed_.in(20s))));
  for (const auto& error :
       {run(board().get("run/head", bed_.in(20s))).error(), put("run/head", "1").error(),
        run(board().list("run/", "", 10, bed_.in(20s))).error()}) {
    EXPECT_EQ(error.code, Code::kDenied);
    EXPECT_THAT(error.message, AllOf(HasSubstr("there is no table " + bed_.board_table()),
                                     HasSubstr("keyfs check --create-table creates it")));
  }
  const auto check = run(store_->check(bed_.in(20s)));
  const CheckItem& item = check.items.back();
  EXPECT_EQ(item.what, "board");
  EXPECT_TRUE(item.ok) << "who does not rotate over several hosts needs none";
  EXPECT_THAT(item.detail, HasSubstr("not rotated over several hosts"));
  EXPECT_THAT(item.remedy, HasSubstr("keyfs check --create-table creates it"));
  const auto made = run(store_->make_table(bed_.in(20s)));
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_THAT(made->done, AllOf(HasSubstr("already exists; nothing was changed"),
                                HasSubstr("table " + bed_.board_table() + " in " +
                                          DynamoDbBed::region(1) + " was created")));
  EXPECT_TRUE(put("run/head", "1")->done);
  EXPECT_TRUE(run(store_->check(bed_.in(20s))).items.back().remedy.empty());
}

TEST_F(DynamoDbBoardTest, a_permission_that_it_lacks_is_named_and_is_not_essential) {
  const char* const operations[] = {"GetItem", "Query", "PutItem", "DeleteItem"};
  for (const char* operation : operations) {
    bed_.fault(1, {{"do", "error"}, {"op", operation}, {"type", "AccessDeniedException"}});
    const auto items = run(board().check(bed_.in(20s)));
    ASSERT_EQ(items.size(), 1u) << operation;
    EXPECT_FALSE(items[0].ok);
    EXPECT_FALSE(items[0].essential);
    EXPECT_THAT(items[0].remedy, HasSubstr("allow dynamodb:" + std::string(operation) +
                                           " on table " + bed_.board_table()));
    bed_.heal_all();
  }
  // A policy from before there were boards.
  bed_.fault(1, {{"do", "error"}, {"op", "DescribeTable"}, {"type", "AccessDeniedException"}});
  const auto items = run(board().check(bed_.in(20s)));
  ASSERT_EQ(items.size(), 1u);
  EXPECT_TRUE(items[0].ok);
  EXPECT_THAT(items[0].remedy, HasSubstr("allow dynamodb:DescribeTable"));
}

TEST_F(DynamoDbBoardTest, a_board_that_cannot_be_made_is_told_and_the_records_have_their_table) {
  bed_.call("UpdateTable", {{"DeletionProtectionEnabled", false}}, bed_.board_table());
  bed_.call("DeleteTable", json::object(), bed_.board_table());
  bed_.fault(1, {{"do", "error"}, {"op", "CreateTable"}, {"type", "AccessDeniedException"}});
  const auto made = run(store_->make_table(bed_.in(20s)));
  ASSERT_TRUE(made) << made.error().message;
  ASSERT_TRUE(made->missing);
  EXPECT_THAT(made->missing->message, HasSubstr("the board's table could not be created"));
}

TEST_F(DynamoDbBoardTest, its_table_is_made_protected_and_one_of_others_is_left_alone) {
  const json table = bed_.call("DescribeTable", json::object(), bed_.board_table())["Table"];
  EXPECT_EQ(table["DeletionProtectionEnabled"], true);
  EXPECT_EQ(table["BillingModeSummary"]["BillingMode"], "PAY_PER_REQUEST");
  bed_.fault(1, {{"do", "corrupt"},
                 {"op", "DescribeTable"},
                 {"field", "Table.KeySchema.0.AttributeName"},
                 {"value", "other"}});
  const auto items = run(board().check(bed_.in(20s)));
  ASSERT_EQ(items.size(), 1u);
  EXPECT_FALSE(items[0].ok);
  EXPECT_THAT(items[0].detail, HasSubstr("belongs to another program"));
}

TEST_F(DynamoDbBoardTest, what_lies_on_it_from_another_store_is_refused_with_the_way_out) {
  ASSERT_TRUE(put("run/head", "1")->done);
  bed_.call("UpdateItem",
            {{"Key", board_key("run/head")},
             {"UpdateExpression", "SET #s = :s"},
             {"ExpressionAttributeNames", {{"#s", "store"}}},
             {"ExpressionAttributeValues", {{":s", {{"S", std::string(32, 'a')}}}}}},
            bed_.board_table());
  const auto found = run(board().get("run/head", bed_.in(20s)));
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code, Code::kCorrupt);
  EXPECT_THAT(found.error().message,
              AllOf(HasSubstr("belongs to another store"), HasSubstr("delete the board's table")));
  EXPECT_EQ(put("run/head", "1").error().code, Code::kCorrupt);
  EXPECT_EQ(run(board().list("run/", "", 10, bed_.in(20s)))->corrupt,
            std::vector<std::string>{"run/head"});
}

TEST_F(DynamoDbBoardTest, it_is_at_home_alone_whatever_mode_the_records_have) {
  const auto three = bed_.settled(3);
  ASSERT_TRUE(run(three->put_if_absent(example_record("orders"), bed_.in(20s))));
  bed_.reset_counts();
  auto there = run(three->board()->put_if_absent("run/head", "1", bed_.in(20s)));
  ASSERT_TRUE(there && there->done);
  ASSERT_TRUE(*run(three->board()->peek("run/head", bed_.in(20s))));
  ASSERT_TRUE(run(three->board()->list("run/", "", 9, bed_.in(20s))));
  EXPECT_EQ(bed_.calls(2, "*") + bed_.calls(3, "*"), 0);
  bed_.link(1, "cut");
  EXPECT_FALSE(run(three->board()->get("run/head", bed_.in(1s))));
  EXPECT_FALSE(run(three->board()->put_if_absent("run/new", "1", bed_.in(1s))));
  EXPECT_TRUE(*run(three->get("orders", Read::kAny, bed_.in(20s))));
}

}  // namespace
}  // namespace keyfs::testing
