#include "store/dynamodb/item.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "base/encoding.h"
#include "base/strict_json.h"
#include "store/known_store.h"
#include "store/list_entry.h"
#include "store/rkms.h"

namespace keyfs {
namespace {

using nlohmann::json;

// The `revision` of an RKMS item in a Stored: the keys themselves, since nothing else in the item
// changes when it is written.
constexpr std::string_view kRkmsRevision = "rkms:";
// No key id starts with a dot.
constexpr const char* kProbeId = ".keyfs-check";

std::string dump(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

json text_value(const std::string& text) { return json{{"S", text}}; }

Error malformed() { return Error(Code::kUnavailable, "the reply is not well-formed"); }

// The text of {"S": "..."} under `name`, or null.
const std::string* find_text(const json& item, const char* name) {
  const auto attribute = item.find(name);
  if (attribute == item.end() || !attribute->is_object()) return nullptr;
  const auto text = attribute->find("S");
  return text == attribute->end() ? nullptr : text->get_ptr<const json::string_t*>();
}

Result<Record> parse_rkms(const json& keys, const std::string& id) {
  const auto corrupt = [&](const std::string& what) {
    return fail(Code::kCorrupt, "record of key " + id + ", written by RKMS, is corrupt: " + what);
  };
  const auto map = keys.find("M");
  if (map == keys.end() || !map->is_object() || map->empty()) return corrupt("keys is not a map");
  Record record;
  record.id = id;
  record.current = 1;
  record.from_rkms = true;
  Version& version = record.versions[1];
  for (const auto& [region, value] : map->items()) {
    const std::string* text = find_text(*map, region.c_str());
    const auto blob = base64_decode(text == nullptr ? "" : *text);
    if (!blob || blob->empty() || blob->size() > kMaxBlobBytes) {
      return corrupt("the key of a region is not base64");
    }
    version.wrapped[region].blob.assign(blob->begin(), blob->end());
  }
  return record;
}

Result<Stored> parse_item(const DynamoDbNames& names, const json& item, const std::string& id) {
  const auto corrupt = [&](const std::string& what) {
    return fail(Code::kCorrupt, "record of key " + id + " is corrupt: " + what);
  };
  if (!item.is_object()) return fail(malformed());
  const std::string* item_id = find_text(item, "id");
  if (item_id == nullptr || *item_id != id) return corrupt("the item belongs to another id");
  if (!item.contains("record")) {
    const auto keys = item.find("keys");
    if (keys == item.end() || !keys->is_object()) return corrupt("the item has no record");
    auto record = parse_rkms(*keys, id);
    if (!record) return fail(std::move(record.error()));
    if (!names.accept_rkms_records) return fail(rkms_not_accepted(id));
    return Stored{std::move(*record), std::string(kRkmsRevision) + dump(*keys)};
  }
  const std::string* text = find_text(item, "record");
  const std::string* revision = find_text(item, "revision");
  if (text == nullptr) return corrupt("its record is not a string");
  if (revision == nullptr || revision->empty()) return corrupt("the item has no revision");
  auto record = parse_record(*text, id);
  if (!record) return fail(std::move(record.error()));
  return Stored{std::move(*record), *revision, *text};
}

Result<std::optional<Stored>> parse_reply(const DynamoDbNames& names, std::string_view body,
                                          const std::string& id) {
  const auto parsed = parse_strict_json(body, kMaxReplyBytes);
  if (!parsed || !parsed->is_object()) return fail(malformed());
  const json& reply = *parsed;
  const auto item = reply.find("Item");
  if (item == reply.end()) return std::nullopt;
  auto stored = parse_item(names, *item, id);
  if (!stored) return fail(std::move(stored.error()));
  return std::move(*stored);
}

}  // namespace

std::string get_item_json(const DynamoDbNames& names, const std::string& id, bool consistent) {
  return dump({{"TableName", names.table},
               {"Key", {{"id", text_value(id)}}},
               {"ConsistentRead", consistent}});
}

std::string found_store_json(const DynamoDbNames& names, const std::string& store_id) {
  return dump({{"TableName", names.table},
               {"Item", {{"id", text_value(kStoreItemId)}, {"store", text_value(store_id)}}},
               {"ConditionExpression", "attribute_not_exists(id)"},
               {"ReturnValuesOnConditionCheckFailure", "ALL_OLD"}});
}

std::string put_item_json(const DynamoDbNames& names, const std::string& id,
                          const std::string& record, const std::string& revision) {
  return dump({{"TableName", names.table},
               {"Item",
                {{"id", text_value(id)},
                 {"record", text_value(record)},
                 {"revision", text_value(revision)}}},
               {"ConditionExpression", "attribute_not_exists(id)"},
               {"ReturnValuesOnConditionCheckFailure", "ALL_OLD"}});
}

Result<std::string> update_item_json(const DynamoDbNames& names, const std::string& id,
                                     const std::string& record, const std::string& revision,
                                     const std::string& old_revision, bool forget_rkms) {
  json request = {{"TableName", names.table},
                  {"Key", {{"id", text_value(id)}}},
                  {"UpdateExpression", "SET #record = :record, #revision = :revision"},
                  {"ConditionExpression", "#revision = :old"},
                  {"ExpressionAttributeNames", {{"#record", "record"}, {"#revision", "revision"}}},
                  {"ExpressionAttributeValues",
                   {{":record", text_value(record)},
                    {":revision", text_value(revision)},
                    {":old", text_value(old_revision)}}},
                  {"ReturnValuesOnConditionCheckFailure", "ALL_OLD"}};
  if (old_revision.empty()) return fail(Code::kInvalid, "an empty revision is not from this store");
  if (old_revision.starts_with(kRkmsRevision)) {
    const auto keys = parse_strict_json(std::string_view(old_revision).substr(kRkmsRevision.size()),
                                        kMaxReplyBytes);
    if (!keys || !keys->is_object())
      return fail(Code::kInvalid, "such a revision is not from this store");
    request["ConditionExpression"] = "attribute_not_exists(#record) AND #keys = :old";
    request["ExpressionAttributeNames"]["#keys"] = "keys";
    request["ExpressionAttributeValues"][":old"] = *keys;
  } else if (forget_rkms) {
    request["UpdateExpression"] = "SET #record = :record, #revision = :revision REMOVE #keys";
    request["ExpressionAttributeNames"]["#keys"] = "keys";
  }
  return dump(request);
}

std::string delete_item_json(const DynamoDbNames& names, const std::string& id,
                             const std::string& record, const std::string& revision) {
  return dump({{"TableName", names.table},
               {"Key", {{"id", text_value(id)}}},
               {"ConditionExpression", "#revision = :revision AND #record = :record"},
               {"ExpressionAttributeNames", {{"#record", "record"}, {"#revision", "revision"}}},
               {"ExpressionAttributeValues",
                {{":record", text_value(record)}, {":revision", text_value(revision)}}}});
}

std::string scan_json(const DynamoDbNames& names, const std::string& after, size_t limit) {
  json request = {
      {"TableName", names.table},
      {"Limit", limit},
      {"ProjectionExpression", "#id, #record, #revision, #keys"},
      {"ExpressionAttributeNames",
       {{"#id", "id"}, {"#record", "record"}, {"#revision", "revision"}, {"#keys", "keys"}}}};
  if (!after.empty()) request["ExclusiveStartKey"] = {{"id", text_value(after)}};
  return dump(request);
}

std::string table_json(const DynamoDbNames& names) { return dump({{"TableName", names.table}}); }

std::string create_table_json(const DynamoDbNames& names) {
  json key = {{"AttributeName", "id"}, {"KeyType", "HASH"}};
  json attribute = {{"AttributeName", "id"}, {"AttributeType", "S"}};
  return dump({{"TableName", names.table},
               {"KeySchema", json::array({std::move(key)})},
               {"AttributeDefinitions", json::array({std::move(attribute)})},
               {"BillingMode", "PAY_PER_REQUEST"},
               {"DeletionProtectionEnabled", true}});
}

std::string recovery_json(const DynamoDbNames& names) {
  return dump({{"TableName", names.table},
               {"PointInTimeRecoverySpecification", {{"PointInTimeRecoveryEnabled", true}}}});
}

std::string try_put_json(const DynamoDbNames& names) {
  return dump({{"TableName", names.table},
               {"Item", {{"id", text_value(kProbeId)}}},
               {"ConditionExpression", "attribute_exists(id) AND attribute_not_exists(id)"}});
}

std::string try_update_json(const DynamoDbNames& names) {
  return dump({{"TableName", names.table},
               {"Key", {{"id", text_value(kProbeId)}}},
               {"UpdateExpression", "SET #revision = :old"},
               {"ConditionExpression", "attribute_exists(id) AND attribute_not_exists(id)"},
               {"ExpressionAttributeNames", {{"#revision", "revision"}}},
               {"ExpressionAttributeValues", {{":old", text_value("none")}}}});
}

std::string try_delete_json(const DynamoDbNames& names) {
  return dump({{"TableName", names.table},
               {"Key", {{"id", text_value(kProbeId)}}},
               {"ConditionExpression", "attribute_exists(id) AND attribute_not_exists(id)"}});
}

Result<std::optional<Stored>> parse_get_item(const DynamoDbNames& names, std::string_view body,
                                             const std::string& id) {
  return parse_reply(names, body, id);
}

Result<std::optional<Stored>> parse_found_item(const DynamoDbNames& names, std::string_view body,
                                               const std::string& id) {
  return parse_reply(names, body, id);
}

Result<std::optional<std::string>> parse_store_id(std::string_view body) {
  const auto parsed = parse_strict_json(body, kMaxReplyBytes);
  if (!parsed || !parsed->is_object()) return fail(malformed());
  const json& reply = *parsed;
  const auto item = reply.find("Item");
  if (item == reply.end()) return std::nullopt;
  const std::string* id = item->is_object() ? find_text(*item, "store") : nullptr;
  if (id == nullptr || id->size() != 32 || !hex_decode(*id)) {
    return fail(Code::kCorrupt,
                "the item " + std::string(kStoreItemId) + " is not as keyfs wrote it");
  }
  return *id;
}

Result<ListPage> parse_scan(const DynamoDbNames& names, std::string_view body,
                            const std::string& store_id) {
  const auto parsed = parse_strict_json(body, kMaxReplyBytes);
  if (!parsed || !parsed->is_object()) return fail(malformed());
  const json& reply = *parsed;
  const auto items = reply.find("Items");
  if (items == reply.end() || !items->is_array()) return fail(malformed());
  ListPage page;
  for (const json& item : *items) {
    const std::string* id = item.is_object() ? find_text(item, "id") : nullptr;
    if (id == nullptr) return fail(malformed());
    // What else begins with a dot is the table's own: its id, the probe of `keyfs check`.
    if (id->starts_with('.') && !id->starts_with(kSigningPrefix)) continue;
    const auto stored = parse_item(names, item, *id);
    const bool foreign = stored && !store_id.empty() && !check_origin(stored->record, store_id);
    if (stored && !foreign) {
      page.entries.push_back(to_list_entry(*id, stored->record));
    } else {
      ListPage::Entry& corrupt = page.entries.emplace_back();
      corrupt.id = *id;
      corrupt.corrupt = true;
    }
  }
  const auto last = reply.find("LastEvaluatedKey");
  if (last == reply.end() || last->is_null()) return page;
  const std::string* next = last->is_object() ? find_text(*last, "id") : nullptr;
  if (next == nullptr || next->empty()) return fail(malformed());
  page.next = *next;
  return page;
}

Result<bool> parse_recovery(std::string_view body) {
  const auto reply = parse_strict_json(body, kMaxReplyBytes);
  const json::json_pointer status(
      "/ContinuousBackupsDescription/PointInTimeRecoveryDescription/PointInTimeRecoveryStatus");
  if (!reply || !reply->is_object() || !reply->contains(status)) return fail(malformed());
  const auto* text = (*reply)[status].get_ptr<const json::string_t*>();
  if (text == nullptr) return fail(malformed());
  return *text == "ENABLED";
}

Result<TableDescription> parse_table(std::string_view body) {
  const auto parsed = parse_strict_json(body, kMaxReplyBytes);
  if (!parsed) return fail(malformed());
  const json& reply = *parsed;
  const json nothing = json::object();
  const auto at = [&](const json& from, const char* name) -> const json& {
    if (!from.is_object()) return nothing;
    const auto found = from.find(name);
    return found == from.end() ? nothing : *found;
  };
  const auto is = [&](const json& from, const char* name, std::string_view text) {
    const auto* value = at(from, name).get_ptr<const json::string_t*>();
    return value != nullptr && *value == text;
  };
  const json& table = at(reply, "Table");
  if (!table.is_object() || table.empty()) return fail(malformed());
  TableDescription description;
  description.active = is(table, "TableStatus", "ACTIVE") || is(table, "TableStatus", "UPDATING");
  if (const auto* id = at(table, "TableId").get_ptr<const json::string_t*>()) {
    description.table_id = *id;
  }
  description.strong = is(table, "MultiRegionConsistency", "STRONG");
  const json& protection = at(table, "DeletionProtectionEnabled");
  description.deletion_protection = protection.is_boolean() && protection.get<bool>();

  const json& schema = at(table, "KeySchema");
  const json& types = at(table, "AttributeDefinitions");
  const auto is_key = [&](size_t place, std::string_view name, std::string_view kind) {
    bool is_text = false;
    for (const json& type : types) {
      if (is(type, "AttributeName", name)) is_text = is(type, "AttributeType", "S");
    }
    return is_text && is(schema[place], "AttributeName", name) &&
           is(schema[place], "KeyType", kind);
  };
  if (schema.is_array() && types.is_array()) {
    description.key_is_id = schema.size() == 1 && is_key(0, "id", "HASH");
    description.key_is_part_and_name =
        schema.size() == 2 && is_key(0, "part", "HASH") && is_key(1, "name", "RANGE");
  }

  // arn:aws:dynamodb:us-east-1:111122223333:table/keyfs
  if (const auto* arn = at(table, "TableArn").get_ptr<const json::string_t*>()) {
    size_t begin = 0;
    for (int colons = 0; colons < 3 && begin != std::string::npos; ++colons) {
      begin = arn->find(':', begin);
      if (begin != std::string::npos) ++begin;
    }
    if (begin != std::string::npos) {
      description.regions.insert(arn->substr(begin, arn->find(':', begin) - begin));
    }
  }
  const json& replicas = at(table, "Replicas");
  if (replicas.is_array()) {
    for (const json& replica : replicas) {
      const auto* name = at(replica, "RegionName").get_ptr<const json::string_t*>();
      const bool usable = is(replica, "ReplicaStatus", "ACTIVE") ||
                          is(replica, "ReplicaStatus", "UPDATING") ||
                          !replica.contains("ReplicaStatus");
      if (name != nullptr && usable) description.regions.insert(*name);
    }
  }
  return description;
}

}  // namespace keyfs
