// DynamoDB's JSON: requests and replies.
//   https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/
//
// A keyfs item: id (S, the partition key), record (S: JSON, store/record.h), revision (S: random
// for each write). Other attributes are preserved. The store's id: id ".keyfs-store", store (S). An
// RKMS item: id (S), keys (M: S in base64 by region), no record.
//
// Thread-safety: plain functions. Blocking: never. Errors: see Requests and Replies.
#pragma once

#include <cstddef>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "base/result.h"
#include "store/store.h"

namespace keyfs {

// A page of a Scan has at most 1 MB, before it is escaped.
inline constexpr size_t kMaxReplyBytes = size_t{4} << 20;

// Requests: the body of each call. No errors but where one is named.
struct DynamoDbNames {
  std::string table;
  bool accept_rkms_records = false;
};
std::string get_item_json(const DynamoDbNames& names, const std::string& id, bool consistent);
// The item that holds the store's id; no key id starts with a dot.
inline constexpr char kStoreItemId[] = ".keyfs-store";
// Writes it if there is none.
std::string found_store_json(const DynamoDbNames& names, const std::string& store_id);
std::string put_item_json(const DynamoDbNames& names, const std::string& id,
                          const std::string& record, const std::string& revision);
// kInvalid for a revision that is not from this kind of store. `forget_rkms`: also removes what
// RKMS wrote.
Result<std::string> update_item_json(const DynamoDbNames& names, const std::string& id,
                                     const std::string& record, const std::string& revision,
                                     const std::string& old_revision, bool forget_rkms);
// Removes the item that put_item_json() wrote, and no other.
std::string delete_item_json(const DynamoDbNames& names, const std::string& id,
                             const std::string& record, const std::string& revision);
std::string scan_json(const DynamoDbNames& names, const std::string& after, size_t limit);
std::string table_json(const DynamoDbNames& names);
std::string create_table_json(const DynamoDbNames& names);
std::string recovery_json(const DynamoDbNames& names);
// A write whose condition never holds: it tests the permission without writing.
std::string try_put_json(const DynamoDbNames& names);
std::string try_update_json(const DynamoDbNames& names);
std::string try_delete_json(const DynamoDbNames& names);

// Replies. `body` is the reply's text: kUnavailable if it is malformed, kCorrupt if an item in it
// is neither of the above.
Result<std::optional<Stored>> parse_get_item(const DynamoDbNames& names, std::string_view body,
                                             const std::string& id);
// The item that a failed condition found; nullopt if there was none, or it was not sent.
Result<std::optional<Stored>> parse_found_item(const DynamoDbNames& names, std::string_view body,
                                               const std::string& id);
// The store's id in the reply to a GetItem, or in the item that a failed condition found; nullopt:
// none.
Result<std::optional<std::string>> parse_store_id(std::string_view body);
// `store_id`: records bound to another store are listed as corrupt; empty: not checked.
Result<ListPage> parse_scan(const DynamoDbNames& names, std::string_view body,
                            const std::string& store_id = {});

struct TableDescription {
  bool active = false;
  bool key_is_id = false;  // the partition key is `id`, a string, and there is no sort key
  bool key_is_part_and_name = false;  // the board's: `part` and the sort key `name`, both strings
  bool deletion_protection = false;
  std::set<std::string> regions;  // this one and all replicas
  std::string table_id;           // changes when the table is recreated; empty: unknown
  bool strong = false;            // a Global Table in the strongly consistent mode (MRSC)
};
Result<TableDescription> parse_table(std::string_view body);
// Whether point-in-time recovery is on, from the reply to DescribeContinuousBackups.
Result<bool> parse_recovery(std::string_view body);

}  // namespace keyfs
