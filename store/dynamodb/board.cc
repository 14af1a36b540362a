#include "store/dynamodb/board.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "store/board_marks.h"
#include "store/dynamodb/board_item.h"
#include "store/store.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;

constexpr Duration kPoll = 1s;
constexpr Duration kCheck = 5s;
constexpr const char* kMakeIt = "keyfs check --create-table creates it";
// What sorts before and behind all that may follow a name.
constexpr char kBeforeAll = ' ';
constexpr char kBehindAll = '\x7f';

bool may_have_been_done(const Error& error) {
  return error.code == Code::kUnavailable || error.code == Code::kTimeout;
}

Error unproven(const std::string& region) {
  return Error(Code::kUnavailable, region + ": an answer that DynamoDB did not give");
}

}  // namespace

DynamoDbBoard::DynamoDbBoard(Store& store, Loop& loop, Random& random,
                             std::unique_ptr<DynamoDbReplica> table, Duration attempt)
    : store_(store),
      loop_(loop),
      random_(random),
      table_(std::move(table)),
      name_(table_->table()),
      retries_(loop, random_fraction(random), "table " + name_, attempt) {}

Error DynamoDbBoard::told(Error error, const std::string& what) const {
  if (is_missing_table(error)) error.message += std::string("; ") + kMakeIt;
  return error.within(what);
}

Task<Result<std::optional<BoardDocument>>> DynamoDbBoard::look(const std::string& name,
                                                               const std::string& store_id,
                                                               TimePoint deadline) {
  auto reply =
      co_await table_->call("GetItem", dynamodb::get_document_json(name_, name, true), deadline);
  if (!reply) co_return fail(std::move(reply.error()));
  auto found = dynamodb::parse_document(reply->body, store_id, name);
  if (!found) co_return fail(found.error().within(table_->region()));
  co_return std::move(*found);
}

Task<Result<std::optional<BoardDocument>>> DynamoDbBoard::read(std::string name, bool consistent,
                                                               TimePoint deadline) {
  using Found = std::optional<BoardDocument>;
  if (auto ok = check_board_name(name); !ok) co_return fail(std::move(ok.error()));
  const std::string what = "document " + name + " could not be read";
  const auto store_id = co_await store_.identity(deadline);
  if (!store_id) co_return fail(store_id.error().within(what));
  const std::string body = dynamodb::get_document_json(name_, name, consistent);
  DynamoDbRetries::Attempt<Found> attempt = [this, &name, &store_id, &body](
                                                unsigned, TimePoint until) -> Task<Result<Found>> {
    auto reply = co_await table_->call("GetItem", body, until);
    if (!reply) co_return fail(std::move(reply.error()));
    auto found = dynamodb::parse_document(reply->body, *store_id, name);
    if (!found) co_return fail(found.error().within(table_->region()));
    co_return std::move(*found);
  };
  auto found = co_await retries_.run<Found>(deadline, std::move(attempt));
  if (!found) co_return fail(told(std::move(found.error()), what));
  co_return found;
}

Task<Result<std::optional<BoardDocument>>> DynamoDbBoard::get(std::string name,
                                                              TimePoint deadline) {
  return read(std::move(name), true, deadline);
}

Task<Result<std::optional<BoardDocument>>> DynamoDbBoard::peek(std::string name,
                                                               TimePoint deadline) {
  return read(std::move(name), false, deadline);
}

Task<Result<BoardWrite>> DynamoDbBoard::put_if_absent(std::string name, std::string text,
                                                      TimePoint deadline) {
  return write(std::move(name), std::move(text), "", deadline);
}

Task<Result<BoardWrite>> DynamoDbBoard::replace(std::string name, std::string text,
                                                std::string revision, TimePoint deadline) {
  if (!is_board_trail(revision)) {
    co_return fail(Code::kInvalid, "this revision of document " + name + " is not from this board");
  }
  co_return co_await write(std::move(name), std::move(text), std::move(revision), deadline);
}

Task<Result<BoardWrite>> DynamoDbBoard::write_once(const BoardDocument& document,
                                                   const std::string& mark, const std::string& body,
                                                   const std::string& store_id,
                                                   TimePoint deadline) {
  const auto reply = co_await table_->call("PutItem", body, deadline);
  if (!reply) co_return fail(reply.error());
  if (!reply->condition_failed && !reply->proven) co_return fail(unproven(table_->region()));
  if (!reply->condition_failed) co_return BoardWrite{true, document};
  auto there = dynamodb::parse_document(reply->body, store_id, document.name);
  if (there && !*there) there = co_await look(document.name, store_id, deadline);
  if (!there) co_return fail(std::move(there.error()));
  // It may come from our own first attempt, whose reply was lost.
  const bool ours = *there && has_board_mark((*there)->revision, mark);
  co_return BoardWrite{ours, std::move(*there)};
}

Task<Result<BoardWrite>> DynamoDbBoard::write(std::string name, std::string text,
                                              std::string old_revision, TimePoint deadline) {
  if (auto ok = check_board_document(name, text); !ok) co_return fail(std::move(ok.error()));
  const std::string what = "document " + name + " could not be written";
  const auto mark = new_board_mark(random_);
  if (!mark) co_return fail(mark.error());
  const auto store_id = co_await store_.identity(deadline);
  if (!store_id) co_return fail(store_id.error().within(what));
  BoardDocument document{std::move(name), std::move(text), board_trail(*mark, old_revision)};
  const std::string body = dynamodb::put_document_json(name_, *store_id, document, old_revision);
  bool unknown = false;
  DynamoDbRetries::Attempt<BoardWrite> attempt =
      [this, &document, &mark, &body, &store_id, &unknown](
          unsigned, TimePoint until) -> Task<Result<BoardWrite>> {
    auto written = co_await write_once(document, *mark, body, *store_id, until);
    unknown = unknown || (!written && may_have_been_done(written.error()));
    co_return written;
  };
  auto written = co_await retries_.run<BoardWrite>(deadline, std::move(attempt));
  if (!written) {
    co_return fail(told(
        std::move(written.error()),
        unknown ? "outcome unknown: document " + document.name + " may or may not have been written"
                : what));
  }
  co_return written;
}

Task<Result<BoardWrite>> DynamoDbBoard::remove_once(const std::string& name,
                                                    const std::string& body,
                                                    const std::string& store_id,
                                                    TimePoint deadline) {
  const auto reply = co_await table_->call("DeleteItem", body, deadline);
  if (!reply) co_return fail(reply.error());
  if (!reply->condition_failed && !reply->proven) co_return fail(unproven(table_->region()));
  if (!reply->condition_failed) co_return BoardWrite{true, std::nullopt};
  auto there = dynamodb::parse_document(reply->body, store_id, name);
  if (there && !*there) there = co_await look(name, store_id, deadline);
  if (!there) co_return fail(std::move(there.error()));
  co_return BoardWrite{!*there, std::move(*there)};
}

Task<Result<BoardWrite>> DynamoDbBoard::remove(std::string name, std::string revision,
                                               TimePoint deadline) {
  if (auto ok = check_board_name(name); !ok) co_return fail(std::move(ok.error()));
  if (!is_board_trail(revision)) {
    co_return fail(Code::kInvalid, "this revision of document " + name + " is not from this board");
  }
  const std::string what = "document " + name + " could not be removed";
  const auto store_id = co_await store_.identity(deadline);
  if (!store_id) co_return fail(store_id.error().within(what));
  const std::string body = dynamodb::delete_document_json(name_, name, revision);
  bool unknown = false;
  DynamoDbRetries::Attempt<BoardWrite> attempt = [this, &name, &body, &store_id, &unknown](
                                                     unsigned,
                                                     TimePoint until) -> Task<Result<BoardWrite>> {
    auto removed = co_await remove_once(name, body, *store_id, until);
    unknown = unknown || (!removed && may_have_been_done(removed.error()));
    co_return removed;
  };
  auto removed = co_await retries_.run<BoardWrite>(deadline, std::move(attempt));
  if (!removed) {
    co_return fail(
        told(std::move(removed.error()),
             unknown ? "outcome unknown: document " + name + " may or may not have been removed"
                     : what));
  }
  co_return removed;
}

Task<Result<BoardPage>> DynamoDbBoard::list(std::string prefix, std::string after, size_t limit,
                                            TimePoint deadline) {
  if (auto ok = check_board_prefix(prefix); !ok) co_return fail(std::move(ok.error()));
  const std::string what = "documents " + prefix + "* could not be listed";
  const auto store_id = co_await store_.identity(deadline);
  if (!store_id) co_return fail(store_id.error().within(what));
  std::string from = std::max(prefix, after.empty() ? after : after + kBeforeAll);
  // A sort key is not empty, not even in a comparison.
  if (from.find('/') + 1 == from.size()) from += kBeforeAll;
  const std::string to = prefix + kBehindAll;
  if (from > to) co_return BoardPage{};
  const std::string body =
      dynamodb::query_documents_json(name_, from, to, std::clamp<size_t>(limit, 1, kMaxBoardPage));
  DynamoDbRetries::Attempt<BoardPage> attempt =
      [this, &body, &store_id](unsigned, TimePoint until) -> Task<Result<BoardPage>> {
    auto reply = co_await table_->call("Query", body, until);
    if (!reply) co_return fail(std::move(reply.error()));
    auto page = dynamodb::parse_documents(reply->body, *store_id);
    if (!page) co_return fail(page.error().within(table_->region()));
    co_return page;
  };
  auto page = co_await retries_.run<BoardPage>(deadline, std::move(attempt));
  if (!page) co_return fail(told(std::move(page.error()), what));
  co_return page;
}

Task<Result<void>> DynamoDbBoard::try_write(std::string operation, std::string body,
                                            TimePoint deadline) {
  const auto reply = co_await table_->call(operation, std::move(body), deadline);
  if (!reply) co_return fail(reply.error());
  if (!reply->condition_failed) {
    co_return fail(Code::kUnavailable,
                   table_->region() + ": " + operation + " passed a condition that never holds");
  }
  co_return Result<void>();
}

Task<std::vector<CheckItem>> DynamoDbBoard::check(TimePoint deadline) {
  const TimePoint until = std::min(deadline, loop_.now() + kCheck);
  std::vector<CheckItem> items;
  const auto description = co_await table_->describe(until);
  if (!description && description.error().code == Code::kDenied) {
    const bool missing = is_missing_table(description.error());
    items.push_back(board_is_off(
        description.error().message,
        missing ? kMakeIt
                : "allow dynamodb:DescribeTable on table " + name_ + " for keyfs's role"));
    co_return items;
  }
  if (!description) {
    items.push_back({"board", false, description.error().message,
                     "make sure that this host can reach the region's endpoint", false});
    co_return items;
  }
  if (!description->key_is_part_and_name) {
    items.push_back({"board", false,
                     table_->region() + ": the key of table " + name_ +
                         " is not the strings part and name; the table belongs to another program",
                     "rename that table, or the one of the records", false});
    co_return items;
  }
  const auto add = [&](const char* what, const char* operation, Result<void> result) {
    if (result) return;
    const bool denied = result.error().code == Code::kDenied;
    items.push_back({std::string("board may ") + what, false, result.error().message,
                     denied ? "allow dynamodb:" + std::string(operation) + " on table " + name_ +
                                  " for keyfs's role"
                            : "see the reason",
                     false});
  };
  const auto done = [](const auto& reply) -> Result<void> {
    if (!reply) return fail(reply.error());
    return {};
  };
  const std::string probe = "check/check";
  std::string body = dynamodb::get_document_json(name_, probe, true);
  add("read", "GetItem", done(co_await table_->call("GetItem", std::move(body), until)));
  body = dynamodb::query_documents_json(name_, probe, probe, 1);
  add("list", "Query", done(co_await table_->call("Query", std::move(body), until)));
  body = dynamodb::try_put_document_json(name_);
  add("write", "PutItem", co_await try_write("PutItem", std::move(body), until));
  body = dynamodb::try_delete_document_json(name_);
  add("remove", "DeleteItem", co_await try_write("DeleteItem", std::move(body), until));
  if (items.empty()) {
    items.push_back({"board", true, "table " + name_ + " in " + table_->region(), "", false});
  }
  co_return items;
}

Task<Result<std::string>> DynamoDbBoard::make_table(TimePoint deadline) {
  const std::string name = "table " + name_ + " in " + table_->region();
  auto description = co_await table_->describe(deadline);
  if (description) {
    if (!description->key_is_part_and_name) {
      co_return fail(Code::kInvalid, name + " exists, but does not belong to keyfs");
    }
    co_return name + " already exists; nothing was changed";
  }
  if (description.error().code != Code::kDenied) co_return fail(description.error());
  auto begun = co_await table_->call("CreateTable", dynamodb::create_board_json(name_), deadline);
  if (!begun) co_return fail(begun.error());
  for (;;) {
    description = co_await table_->describe(deadline);
    if (description && description->active) break;
    // It may take a moment until a new table is known everywhere.
    if (loop_.now() + kPoll >= deadline) {
      co_return fail(Code::kTimeout, name + " is being created, but was not ready in time");
    }
    co_await loop_.sleep_for(kPoll);
  }
  co_return name + " was created: on-demand, with deletion protection";
}

}  // namespace keyfs
