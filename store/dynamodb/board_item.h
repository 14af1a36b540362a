// The board's requests to DynamoDB and its replies, as JSON.
//
// An item: part (S, the partition key), name (S, the sort key: what follows the part's slash),
// document (S), revision (S: store/board_marks.h), store (S: the id of the store that it is for).
//
// Thread-safety: plain functions. Blocking: never. Errors: kUnavailable for a malformed reply,
// kCorrupt for an item that is no document of this store.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "store/board.h"

namespace keyfs::dynamodb {

// Names are whole ones, PART/REST.
std::string get_document_json(const std::string& table, const std::string& name, bool consistent);
// `old_revision` empty: if there is no such document; otherwise if it has this revision.
std::string put_document_json(const std::string& table, const std::string& store_id,
                              const BoardDocument& document, const std::string& old_revision);
std::string delete_document_json(const std::string& table, const std::string& name,
                                 const std::string& revision);
// Those from `from` to `to`, both included and of the same part.
std::string query_documents_json(const std::string& table, const std::string& from,
                                 const std::string& to, size_t limit);
std::string create_board_json(const std::string& table);
// Writes whose condition never holds: they test the permission.
std::string try_put_document_json(const std::string& table);
std::string try_delete_document_json(const std::string& table);

// The item in the reply to a GetItem, or of a failed condition; nullopt: there is none.
Result<std::optional<BoardDocument>> parse_document(std::string_view body,
                                                    const std::string& store_id,
                                                    const std::string& name);
Result<BoardPage> parse_documents(std::string_view body, const std::string& store_id);

}  // namespace keyfs::dynamodb
