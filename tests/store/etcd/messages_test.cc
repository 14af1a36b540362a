// etcd's replies, as its gateway writes them.
#include "store/etcd/messages.h"

#include <gmock/gmock.h>

#include "store/etcd/error.h"

namespace keyfs::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kHeader[] =
    R"("header":{"cluster_id":"14841639068965178418","member_id":"10276657743932975437",)"
    R"("revision":"12","raft_term":"2"})";

std::string with_header(const std::string& rest) {
  return std::string("{") + kHeader + (rest.empty() ? "" : ",") + rest + "}";
}

TEST(EtcdMessages, a_range_is_read_with_what_it_leaves_out) {
  const auto none = parse_etcd_reply(with_header(""));
  ASSERT_TRUE(none);
  EXPECT_EQ(none->header.cluster_id, 14841639068965178418u);
  EXPECT_EQ(none->header.revision, 12);
  EXPECT_TRUE(none->kvs.empty());
  EXPECT_FALSE(none->more);
  const auto one = parse_etcd_reply(with_header(
      R"("kvs":[{"key":"L2E=","value":"AAH/","create_revision":"3","mod_revision":"7"}],)"
      R"("more":true,"count":"2")"));
  ASSERT_TRUE(one);
  ASSERT_EQ(one->kvs.size(), 1u);
  EXPECT_EQ(one->kvs[0].key, "/a");
  EXPECT_EQ(one->kvs[0].value, std::string("\0\1\xff", 3));
  EXPECT_EQ(one->kvs[0].mod_revision, 7);
  EXPECT_TRUE(one->more);
}

TEST(EtcdMessages, depth_and_values_are_bounded_before_anything_is_built) {
  std::string deep = R"({"x":)";
  for (int i = 0; i < 60'000; ++i) deep += "[";
  std::string wide = "[";
  for (int i = 0; i < 1'000'000; ++i) wide += "[],";
  wide += "[]]";
  for (const std::string& text : {deep, with_header("\"x\":" + wide)}) {
    EXPECT_FALSE(parse_etcd_reply(text));
    EXPECT_FALSE(parse_etcd_watch_reply(R"({"result":)" + text + "}"));
    EXPECT_LE(parse_etcd_refusal(text).words.size(), 1000u);
  }
}

TEST(EtcdMessages, a_fragment_says_that_more_of_it_comes) {
  const auto part =
      parse_etcd_watch_reply(R"({"result":)" + with_header(R"("fragment":true)") + "}");
  ASSERT_TRUE(part);
  EXPECT_TRUE(part->fragment);
  const auto whole = parse_etcd_watch_reply(R"({"result":)" + with_header("") + "}");
  ASSERT_TRUE(whole);
  EXPECT_FALSE(whole->fragment);
}

TEST(EtcdMessages, a_transaction_is_read_with_what_came_of_its_parts) {
  const auto reply = parse_etcd_reply(
      with_header(R"("responses":[{"response_range":)" + with_header(R"("kvs":[{"key":"L2E="}])") +
                  R"(},{"response_put":)" + with_header("") + "}]"));
  ASSERT_TRUE(reply);
  EXPECT_FALSE(reply->succeeded);
  ASSERT_EQ(reply->responses.size(), 2u);
  EXPECT_EQ(reply->responses[0].kvs.at(0).key, "/a");
}

TEST(EtcdMessages, what_is_no_reply_of_etcd_is_refused_and_never_an_absent_key) {
  for (const std::string& text : {
           std::string(""),
           std::string("{}"),
           std::string("[]"),
           std::string("null"),
           std::string("<html>"),
           std::string(R"({"header":{}})"),
           std::string(R"({"header":{"cluster_id":"0"}})"),
           std::string(R"({"header":{"cluster_id":"-1"}})"),
           std::string(R"({"header":{"cluster_id":"99999999999999999999"}})"),
           std::string(R"({"header":{"cluster_id":1.5}})"),
           with_header(R"("kvs":{})"),
           with_header(R"("kvs":[1])"),
           with_header(R"("kvs":[{"key":"*"}])"),
           with_header(R"("kvs":[{"key":5}])"),
           with_header(R"("kvs":[{"mod_revision":"x"}])"),
           with_header(R"("more":"true")"),
           with_header(R"("responses":[{}])"),
           with_header(R"("succeeded":1)"),
           with_header(R"("kvs":[])").substr(0, 60),
       }) {
    const auto reply = parse_etcd_reply(text);
    ASSERT_FALSE(reply) << text;
    EXPECT_EQ(reply.error().code, Code::kUnavailable);
    EXPECT_EQ(reply.error().message, "the reply is not from etcd");
  }
}

TEST(EtcdMessages, a_watch_tells_changes_and_its_end) {
  const auto created =
      parse_etcd_watch_reply(R"({"result":)" + with_header(R"("created":true)") + "}");
  ASSERT_TRUE(created);
  EXPECT_TRUE(created->created);
  const auto changes = parse_etcd_watch_reply(
      R"({"result":)" +
      with_header(R"("events":[{"kv":{"key":"L2E=","value":"eA==","mod_revision":"9"}},)"
                  R"({"type":"DELETE","kv":{"key":"L2I=","mod_revision":"10"}}])") +
      "}");
  ASSERT_TRUE(changes);
  ASSERT_EQ(changes->events.size(), 2u);
  EXPECT_FALSE(changes->events[0].deleted);
  EXPECT_EQ(changes->events[0].kv.value, "x");
  EXPECT_TRUE(changes->events[1].deleted);
  EXPECT_EQ(changes->events[1].kv.mod_revision, 10);
  const auto compacted = parse_etcd_watch_reply(
      R"({"result":)" + with_header(R"("canceled":true,"compact_revision":"11")") + "}");
  ASSERT_TRUE(compacted);
  EXPECT_TRUE(compacted->canceled);
  EXPECT_EQ(compacted->compact_revision, 11);
  const auto broken = parse_etcd_watch_reply(R"({"error":{"grpc_code":14,"message":"no leader"}})");
  ASSERT_TRUE(broken);
  EXPECT_TRUE(broken->canceled);
  EXPECT_EQ(broken->refusal->code, 14);
  for (const char* line : {"", "{}", "[]", R"({"result":{}})", R"({"result":5})"}) {
    EXPECT_FALSE(parse_etcd_watch_reply(line)) << line;
  }
}

TEST(EtcdMessages, a_write_of_a_record_writes_the_newest_changes_key_as_well) {
  EtcdPutIf txn;
  txn.key = "/a";
  txn.value = "x";
  EXPECT_THAT(to_json(txn), Not(HasSubstr("L2M=")));
  txn.changed = "/c";
  EXPECT_THAT(to_json(txn), HasSubstr(R"({"request_put":{"key":"L2M=","value":"L2E="}})"));
}

TEST(EtcdMessages, the_range_of_a_prefix_ends_behind_its_last_key) {
  EXPECT_EQ(end_of_prefix("/keyfs/"), "/keyfs0");
  EXPECT_EQ(end_of_prefix("a\xff\xff"), "b");
  EXPECT_EQ(end_of_prefix("\xff"), std::string(1, '\0'));
}

EtcdFailure failure_of(const std::string& text, int status, const std::string& user = "keyfs") {
  return to_failure(parse_etcd_refusal(text), status, user);
}

TEST(EtcdError, each_refusal_says_what_to_do) {
  const auto token = failure_of(R"({"error":"etcdserver: invalid auth token","code":16})", 401);
  EXPECT_EQ(token.next, EtcdNext::kNewToken);
  const auto nobody = failure_of(R"({"error":"etcdserver: user name is empty","code":3})", 400, "");
  EXPECT_EQ(nobody.next, EtcdNext::kGiveUp);
  EXPECT_THAT(nobody.error.message, HasSubstr("set user and password_file"));
  const auto denied = failure_of(R"({"error":"etcdserver: permission denied","code":7})", 403);
  EXPECT_EQ(denied.error.code, Code::kDenied);
  EXPECT_THAT(denied.error.message, HasSubstr("user keyfs"));
  const auto leaderless = failure_of(R"({"error":"etcdserver: no leader","code":14})", 503);
  EXPECT_EQ(leaderless.next, EtcdNext::kOtherEndpoint);
  EXPECT_TRUE(leaderless.alive);
  const auto compacted = failure_of(
      R"({"error":"etcdserver: mvcc: required revision has been compacted","code":11})", 400);
  EXPECT_TRUE(compacted.compacted);
}

TEST(EtcdError, a_client_certificate_with_a_common_name_is_told) {
  // Not JSON: from etcd's HTTP server, before the gateway.
  const auto failure = failure_of(
      "CommonName of client sending a request against gateway will be ignored and not used as "
      "expected",
      400);
  EXPECT_EQ(failure.error.code, Code::kDenied);
  EXPECT_EQ(failure.next, EtcdNext::kGiveUp);
  EXPECT_THAT(failure.error.message, HasSubstr("client certificates with a common name"));
}

TEST(EtcdError, an_answer_in_other_words_is_not_quoted) {
  const auto failure = failure_of("<html>a page with a secret in it", 502);
  EXPECT_EQ(failure.error.code, Code::kUnavailable);
  EXPECT_THAT(failure.error.message, Not(HasSubstr("secret")));
  EXPECT_EQ(failure.next, EtcdNext::kOtherEndpoint);
}

}  // namespace
}  // namespace keyfs::testing
