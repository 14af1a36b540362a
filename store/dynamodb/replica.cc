#include "store/dynamodb/replica.h"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <nlohmann/json.hpp>

#include "base/strict_json.h"
#include "base/text.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;

constexpr std::array<std::string_view, 5> kThrottled = {
    "ThrottlingException", "ProvisionedThroughputExceededException", "RequestLimitExceeded",
    "LimitExceededException", "ThrottlingError"};
// These are transient, despite their status 400.
constexpr std::array<std::string_view, 4> kTransient = {
    "ReplicatedWriteConflictException", "TransactionConflictException", "ResourceInUseException",
    "ItemCollectionSizeLimitExceededException"};

// 200 may be the answer of anything on the way, such as a page to sign in.
bool is_reply(const HttpResponse& response) {
  const auto reply = parse_strict_json(response.text(), kMaxReplyBytes);
  return reply && reply->is_object();
}

constexpr std::string_view kNoTable = "there is no table ";

// DynamoDB sends the CRC-32 of each reply's body.
bool arrived_whole(const HttpResponse& response) {
  const std::string* header = response.header("x-amz-crc32");
  if (header == nullptr) return true;
  const std::string_view text = response.text();
  uint32_t told = 0;
  const auto [end, error] = std::from_chars(header->data(), header->data() + header->size(), told);
  return error == std::errc() && end == header->data() + header->size() &&
         told == crc32_z(0, reinterpret_cast<const Bytef*>(text.data()), text.size());
}

}  // namespace

bool is_missing_table(const Error& error) {
  return error.code == Code::kDenied && error.message.find(kNoTable) != std::string::npos;
}

DynamoDbReplica::DynamoDbReplica(HttpClient& http, AwsCredentialProvider& credentials,
                                 std::string region, std::string endpoint, DynamoDbNames names)
    : http_(http),
      credentials_(credentials),
      region_(std::move(region)),
      names_(std::move(names)),
      client_(http, credentials,
              AwsServiceOptions{"dynamodb", region_, std::move(endpoint), "DynamoDB_20120810.",
                                "1.0"}) {}

std::unique_ptr<DynamoDbReplica> DynamoDbReplica::beside(std::string table) const {
  return std::make_unique<DynamoDbReplica>(http_, credentials_, region_, client_.options().endpoint,
                                           DynamoDbNames{std::move(table)});
}

Error DynamoDbReplica::to_error(const std::string& operation, const AwsReply& reply) const {
  const std::string where = region_ + ": ";
  const std::string reason = reply.reason();
  if (among(kThrottled, reply.error) || reply.http.status == 429) {
    return Error(Code::kThrottled,
                 where + "DynamoDB throttles table " + names_.table + " (" + reason + ")");
  }
  if (reply.http.status >= 500 || reply.http.status == 408 || among(kTransient, reply.error)) {
    return Error(Code::kUnavailable, where + "DynamoDB failed (" + reason + ")");
  }
  if (reply.error == "AccessDeniedException") {
    return Error(Code::kDenied, where + "permission dynamodb:" + operation + " on table " +
                                    names_.table + " is missing (" + reason + ")");
  }
  if (reply.error == "ResourceNotFoundException") {
    return Error(Code::kDenied, where + std::string(kNoTable) + names_.table + " in this region");
  }
  if (reply.error == "ValidationException" || reply.error == "SerializationException") {
    return Error(Code::kInvalid, where + "DynamoDB refuses " + operation + " on table " +
                                     names_.table + " as malformed (" + reason + ")");
  }
  return Error(Code::kDenied, where + "DynamoDB refuses " + operation + " on table " +
                                  names_.table + " (" + reason + ")");
}

Task<Result<DynamoDbReplica::Reply>> DynamoDbReplica::call(std::string operation, std::string body,
                                                           TimePoint deadline) {
  AwsCall call(operation, std::move(body), deadline);
  call.max_response = kMaxReplyBytes;
  auto reply = co_await client_.call(std::move(call));
  if (!reply) co_return fail(reply.error().within(region_));
  if (!arrived_whole(reply->http)) {
    co_return fail(Code::kUnavailable, region_ + ": DynamoDB's reply was damaged on its way");
  }
  Reply result;
  result.condition_failed = reply->error == "ConditionalCheckFailedException";
  if (!reply->ok() && !result.condition_failed) co_return fail(to_error(operation, *reply));
  if (reply->ok() && !is_reply(reply->http)) {
    co_return fail(Code::kUnavailable,
                   region_ + ": what answered " + operation + " is not DynamoDB");
  }
  result.proven = reply->http.header("x-amz-crc32") != nullptr;
  result.body = std::move(reply->http.body);
  co_return result;
}

Task<Result<std::optional<Stored>>> DynamoDbReplica::get(std::string id, bool consistent,
                                                         TimePoint deadline) {
  const auto reply = co_await call("GetItem", get_item_json(names_, id, consistent), deadline);
  if (!reply) co_return fail(reply.error());
  auto found = parse_get_item(names_, reply->body, id);
  if (!found) co_return fail(found.error().within(region_));
  co_return std::move(*found);
}

Task<Result<std::optional<std::string>>> DynamoDbReplica::get_store_id(bool consistent,
                                                                       TimePoint deadline) {
  const auto reply =
      co_await call("GetItem", get_item_json(names_, kStoreItemId, consistent), deadline);
  if (!reply) co_return fail(reply.error());
  auto id = parse_store_id(reply->body);
  if (!id) co_return fail(id.error().within(region_));
  co_return std::move(*id);
}

Task<Result<std::optional<std::string>>> DynamoDbReplica::found_store(std::string store_id,
                                                                      TimePoint deadline) {
  const auto reply = co_await call("PutItem", found_store_json(names_, store_id), deadline);
  if (!reply) co_return fail(reply.error());
  if (!reply->condition_failed && !reply->proven) co_return std::nullopt;
  if (!reply->condition_failed) co_return store_id;
  auto there = parse_store_id(reply->body);
  if (!there) co_return fail(there.error().within(region_));
  co_return std::move(*there);
}

Task<Result<DynamoDbReplica::Written>> DynamoDbReplica::put(std::string id, std::string record,
                                                            std::string revision,
                                                            TimePoint deadline) {
  const auto reply =
      co_await call("PutItem", put_item_json(names_, id, record, revision), deadline);
  if (!reply) co_return fail(reply.error());
  if (!reply->condition_failed && !reply->proven) {
    co_return co_await read_back(std::move(id), std::move(revision), "", deadline);
  }
  Written written;
  written.done = !reply->condition_failed;
  if (written.done) co_return written;
  auto found = parse_found_item(names_, reply->body, id);
  if (!found) co_return fail(found.error().within(region_));
  written.found = std::move(*found);
  co_return written;
}

Task<Result<DynamoDbReplica::Written>> DynamoDbReplica::update(std::string id, std::string record,
                                                               std::string revision,
                                                               std::string old_revision,
                                                               bool forget_rkms,
                                                               TimePoint deadline) {
  auto body = update_item_json(names_, id, record, revision, old_revision, forget_rkms);
  if (!body) co_return fail(std::move(body.error()));
  const auto reply = co_await call("UpdateItem", std::move(*body), deadline);
  if (!reply) co_return fail(reply.error());
  if (!reply->condition_failed && !reply->proven) {
    co_return co_await read_back(std::move(id), std::move(revision), std::move(old_revision),
                                 deadline);
  }
  Written written;
  written.done = !reply->condition_failed;
  if (written.done) co_return written;
  auto found = parse_found_item(names_, reply->body, id);
  // The existing item does not matter here, unless it is ours.
  if (found) written.found = std::move(*found);
  co_return written;
}

Task<Result<bool>> DynamoDbReplica::remove(std::string id, std::string record, std::string revision,
                                           TimePoint deadline) {
  const auto reply =
      co_await call("DeleteItem", delete_item_json(names_, id, record, revision), deadline);
  if (!reply) co_return fail(reply.error());
  if (!reply->condition_failed && !reply->proven) {
    co_return fail(Code::kUnavailable, region_ + ": an answer that DynamoDB did not give");
  }
  co_return !reply->condition_failed;
}

Task<Result<DynamoDbReplica::Written>> DynamoDbReplica::read_back(std::string id,
                                                                  std::string revision,
                                                                  std::string old_revision,
                                                                  TimePoint deadline) {
  auto found = co_await get(id, true, deadline);
  if (!found) co_return fail(std::move(found.error()));
  if (!*found || (*found)->revision == old_revision) {
    co_return fail(Code::kUnavailable, region_ + ": a write of key " + id +
                                           " was answered as done, and is not in the table");
  }
  Written written;
  written.done = (*found)->revision == revision;
  if (!written.done) written.found = std::move(*found);
  co_return written;
}

Task<Result<ListPage>> DynamoDbReplica::scan(std::string after, size_t limit, std::string store_id,
                                             TimePoint deadline) {
  const auto reply = co_await call("Scan", scan_json(names_, after, limit), deadline);
  if (!reply) co_return fail(reply.error());
  auto page = parse_scan(names_, reply->body, store_id);
  if (!page) co_return fail(page.error().within(region_));
  co_return std::move(*page);
}

Task<Result<TableDescription>> DynamoDbReplica::describe(TimePoint deadline) {
  const auto reply = co_await call("DescribeTable", table_json(names_), deadline);
  if (!reply) co_return fail(reply.error());
  auto description = parse_table(reply->body);
  if (!description) co_return fail(description.error().within(region_));
  co_return std::move(*description);
}

Task<Result<void>> DynamoDbReplica::create_table(TimePoint deadline) {
  const auto reply = co_await call("CreateTable", create_table_json(names_), deadline);
  if (!reply) co_return fail(reply.error());
  co_return Result<void>();
}

Task<Result<void>> DynamoDbReplica::protect_by_recovery(TimePoint deadline) {
  const auto reply = co_await call("UpdateContinuousBackups", recovery_json(names_), deadline);
  if (!reply) co_return fail(reply.error());
  co_return Result<void>();
}

Task<Result<bool>> DynamoDbReplica::is_protected_by_recovery(TimePoint deadline) {
  const auto reply = co_await call("DescribeContinuousBackups", table_json(names_), deadline);
  if (!reply) co_return fail(reply.error());
  auto on = parse_recovery(reply->body);
  if (!on) co_return fail(on.error().within(region_));
  co_return *on;
}

Task<Result<void>> DynamoDbReplica::try_write(std::string operation, std::string body,
                                              TimePoint deadline) {
  const auto reply = co_await call(operation, std::move(body), deadline);
  if (!reply) co_return fail(reply.error());
  if (!reply->condition_failed) {
    co_return fail(Code::kUnavailable,
                   region_ + ": " + operation + " passed a condition that never holds");
  }
  co_return Result<void>();
}

Task<Result<void>> DynamoDbReplica::try_put(TimePoint deadline) {
  co_return co_await try_write("PutItem", try_put_json(names_), deadline);
}

Task<Result<void>> DynamoDbReplica::try_update(TimePoint deadline) {
  co_return co_await try_write("UpdateItem", try_update_json(names_), deadline);
}

Task<Result<void>> DynamoDbReplica::try_remove(TimePoint deadline) {
  co_return co_await try_write("DeleteItem", try_delete_json(names_), deadline);
}

}  // namespace keyfs
