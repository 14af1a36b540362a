#include "store/dynamodb/board_item.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "base/strict_json.h"
#include "store/dynamodb/item.h"

namespace keyfs::dynamodb {
namespace {

using nlohmann::json;

constexpr const char* kNever = "attribute_exists(#part) AND attribute_not_exists(#part)";

std::string dump(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

json text_value(std::string_view text) { return json{{"S", std::string(text)}}; }

json key_of(const std::string& name) {
  const size_t slash = name.find('/');
  return {{"part", text_value(std::string_view(name).substr(0, slash))},
          {"name", text_value(std::string_view(name).substr(slash + 1))}};
}

Error malformed() { return Error(Code::kUnavailable, "the reply is not well-formed"); }

// The text of {"S": "..."} under `name`, or null.
const std::string* find_text(const json& item, const char* name) {
  if (!item.is_object()) return nullptr;
  const auto attribute = item.find(name);
  if (attribute == item.end() || !attribute->is_object()) return nullptr;
  const auto text = attribute->find("S");
  return text == attribute->end() ? nullptr : text->get_ptr<const json::string_t*>();
}

// Empty: it has none.
std::string name_of(const json& item) {
  const std::string* part = find_text(item, "part");
  const std::string* name = find_text(item, "name");
  if (part == nullptr || name == nullptr) return "";
  return *part + "/" + *name;
}

Result<BoardDocument> to_document(const json& item, const std::string& store_id,
                                  const std::string& name) {
  const std::string* text = find_text(item, "document");
  const std::string* revision = find_text(item, "revision");
  const std::string* store = find_text(item, "store");
  if (store != nullptr && *store != store_id) {
    return fail(Code::kCorrupt, "the document " + name +
                                    " on the board belongs to another store (" + *store +
                                    "); if that store is gone, delete the board's table and create "
                                    "it again");
  }
  if (store == nullptr || text == nullptr || text->size() > kMaxDocumentBytes ||
      revision == nullptr || revision->empty() || name_of(item) != name) {
    return fail(Code::kCorrupt, "the document " + name + " on the board is damaged");
  }
  return BoardDocument{name, *text, *revision};
}

}  // namespace

std::string get_document_json(const std::string& table, const std::string& name, bool consistent) {
  return dump({{"TableName", table}, {"Key", key_of(name)}, {"ConsistentRead", consistent}});
}

std::string put_document_json(const std::string& table, const std::string& store_id,
                              const BoardDocument& document, const std::string& old_revision) {
  json item = key_of(document.name);
  item["document"] = text_value(document.text);
  item["revision"] = text_value(document.revision);
  item["store"] = text_value(store_id);
  json request = {{"TableName", table},
                  {"Item", std::move(item)},
                  {"ReturnValuesOnConditionCheckFailure", "ALL_OLD"}};
  if (old_revision.empty()) {
    request["ConditionExpression"] = "attribute_not_exists(#part)";
    request["ExpressionAttributeNames"] = {{"#part", "part"}};
  } else {
    request["ConditionExpression"] = "#revision = :old";
    request["ExpressionAttributeNames"] = {{"#revision", "revision"}};
    request["ExpressionAttributeValues"] = {{":old", text_value(old_revision)}};
  }
  return dump(request);
}

std::string delete_document_json(const std::string& table, const std::string& name,
                                 const std::string& revision) {
  return dump({{"TableName", table},
               {"Key", key_of(name)},
               {"ConditionExpression", "#revision = :old"},
               {"ExpressionAttributeNames", {{"#revision", "revision"}}},
               {"ExpressionAttributeValues", {{":old", text_value(revision)}}},
               {"ReturnValuesOnConditionCheckFailure", "ALL_OLD"}});
}

std::string query_documents_json(const std::string& table, const std::string& from,
                                 const std::string& to, size_t limit) {
  const json first = key_of(from);
  const json last = key_of(to);
  return dump({{"TableName", table},
               {"ConsistentRead", true},
               {"Limit", limit},
               {"KeyConditionExpression", "#part = :part AND #name BETWEEN :from AND :to"},
               {"ExpressionAttributeNames", {{"#part", "part"}, {"#name", "name"}}},
               {"ExpressionAttributeValues",
                {{":part", first["part"]}, {":from", first["name"]}, {":to", last["name"]}}}});
}

std::string create_board_json(const std::string& table) {
  json keys = json::array();
  json types = json::array();
  keys.push_back({{"AttributeName", "part"}, {"KeyType", "HASH"}});
  keys.push_back({{"AttributeName", "name"}, {"KeyType", "RANGE"}});
  types.push_back({{"AttributeName", "part"}, {"AttributeType", "S"}});
  types.push_back({{"AttributeName", "name"}, {"AttributeType", "S"}});
  return dump({{"TableName", table},
               {"KeySchema", std::move(keys)},
               {"AttributeDefinitions", std::move(types)},
               {"BillingMode", "PAY_PER_REQUEST"},
               {"DeletionProtectionEnabled", true}});
}

std::string try_put_document_json(const std::string& table) {
  return dump({{"TableName", table},
               {"Item", key_of("check/check")},
               {"ConditionExpression", kNever},
               {"ExpressionAttributeNames", {{"#part", "part"}}}});
}

std::string try_delete_document_json(const std::string& table) {
  return dump({{"TableName", table},
               {"Key", key_of("check/check")},
               {"ConditionExpression", kNever},
               {"ExpressionAttributeNames", {{"#part", "part"}}}});
}

Result<std::optional<BoardDocument>> parse_document(std::string_view body,
                                                    const std::string& store_id,
                                                    const std::string& name) {
  const auto reply = parse_strict_json(body, kMaxReplyBytes);
  if (!reply || !reply->is_object()) return fail(malformed());
  const auto item = reply->find("Item");
  if (item == reply->end()) return std::nullopt;
  auto document = to_document(*item, store_id, name);
  if (!document) return fail(std::move(document.error()));
  return std::move(*document);
}

Result<BoardPage> parse_documents(std::string_view body, const std::string& store_id) {
  const auto reply = parse_strict_json(body, kMaxReplyBytes);
  if (!reply || !reply->is_object()) return fail(malformed());
  const auto items = reply->find("Items");
  if (items == reply->end() || !items->is_array()) return fail(malformed());
  BoardPage page;
  for (const json& item : *items) {
    const std::string name = name_of(item);
    if (name.empty()) return fail(malformed());
    auto document = to_document(item, store_id, name);
    if (document) {
      page.documents.push_back(std::move(*document));
    } else {
      page.corrupt.push_back(name);
    }
  }
  const auto last = reply->find("LastEvaluatedKey");
  if (last == reply->end() || last->is_null()) return page;
  page.next = name_of(*last);
  if (page.next->empty()) return fail(malformed());
  return page;
}

}  // namespace keyfs::dynamodb
