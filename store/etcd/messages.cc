#include "store/etcd/messages.h"

#include <charconv>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/encoding.h"
#include "base/strict_json.h"

namespace keyfs {
namespace {

using nlohmann::json;

constexpr size_t kMaxWords = 1000;                   // of a refusal
constexpr size_t kMaxWatchValues = size_t{1} << 19;  // a fragment of the smallest events

const json* member(const json& object, const char* name) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(name);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

// Numbers come as strings, or as numbers if they have 32 bits; a missing one is 0. Anything else is
// not a reply from etcd.
template <class Number>
bool read_number(const json& object, const char* name, Number& out) {
  out = 0;
  const json* value = member(object, name);
  if (value == nullptr) return true;
  if (const auto* text = value->get_ptr<const json::string_t*>()) {
    const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), out);
    return error == std::errc() && end == text->data() + text->size();
  }
  if (!value->is_number_integer()) return false;
  out = value->get<Number>();
  return true;
}

bool read_bool(const json& object, const char* name, bool& out) {
  out = false;
  const json* value = member(object, name);
  if (value == nullptr) return true;
  const auto* flag = value->get_ptr<const json::boolean_t*>();
  if (flag == nullptr) return false;
  out = *flag;
  return true;
}

bool read_bytes(const json& object, const char* name, std::string& out) {
  out.clear();
  const json* value = member(object, name);
  if (value == nullptr) return true;
  const auto* text = value->get_ptr<const json::string_t*>();
  if (text == nullptr) return false;
  const auto bytes = base64_decode(*text);
  if (!bytes) return false;
  out.assign(bytes->begin(), bytes->end());
  return true;
}

bool read_header(const json& object, EtcdHeader& out) {
  const json* header = member(object, "header");
  return header != nullptr && read_number(*header, "cluster_id", out.cluster_id) &&
         read_number(*header, "member_id", out.member_id) &&
         read_number(*header, "revision", out.revision);
}

bool read_key_value(const json& object, EtcdKeyValue& out) {
  return object.is_object() && read_bytes(object, "key", out.key) &&
         read_bytes(object, "value", out.value) &&
         read_number(object, "mod_revision", out.mod_revision) &&
         read_number(object, "create_revision", out.create_revision) &&
         read_number(object, "version", out.version);
}

bool read_reply(const json& object, EtcdReply& out, int depth) {
  if (!object.is_object() || depth > 2) return false;
  if (!read_header(object, out.header) || !read_bool(object, "succeeded", out.succeeded) ||
      !read_bool(object, "more", out.more)) {
    return false;
  }
  if (const json* kvs = member(object, "kvs")) {
    if (!kvs->is_array()) return false;
    for (const json& kv : *kvs) {
      if (!read_key_value(kv, out.kvs.emplace_back())) return false;
    }
  }
  if (const json* responses = member(object, "responses")) {
    if (!responses->is_array()) return false;
    for (const json& response : *responses) {
      const json* inner = member(response, "response_range");
      if (inner == nullptr) inner = member(response, "response_put");
      if (inner == nullptr) inner = member(response, "response_delete_range");
      if (inner == nullptr || !read_reply(*inner, out.responses.emplace_back(), depth + 1)) {
        return false;
      }
    }
  }
  return true;
}

bool read_event(const json& object, EtcdWatchReply::Event& out) {
  const json* kv = member(object, "kv");
  if (kv == nullptr || !read_key_value(*kv, out.kv)) return false;
  const json* type = member(object, "type");
  out.deleted = type != nullptr && *type == "DELETE";
  return true;
}

EtcdRefusal read_refusal(const json& object) {
  EtcdRefusal refusal;
  for (const char* name : {"grpc_code", "code"}) {
    int code = 0;
    if (read_number(object, name, code) && code != 0) refusal.code = code;
  }
  for (const char* name : {"error", "message"}) {
    const json* words = member(object, name);
    const auto* text = words != nullptr ? words->get_ptr<const json::string_t*>() : nullptr;
    if (text != nullptr) refusal.words = *text;
  }
  return refusal;
}

// "rpc error: code = Unauthenticated desc = etcdserver: invalid auth token"
EtcdRefusal refusal_of_reason(const std::string& reason) {
  EtcdRefusal refusal;
  refusal.words = reason;
  if (reason.find("Unauthenticated") != std::string::npos) refusal.code = 16;
  if (reason.find("PermissionDenied") != std::string::npos ||
      reason.find("permission denied") != std::string::npos) {
    refusal.code = 7;
  }
  if (reason.find("no leader") != std::string::npos) refusal.code = 14;
  return refusal;
}

std::string dump(const json& value) {
  // All strings in it are base64 or our own names.
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

auto not_etcd() { return fail(Code::kUnavailable, "the reply is not from etcd"); }

json range_body(const EtcdRange& range) {
  json body = {{"key", base64_encode(range.key)}};
  if (!range.range_end.empty()) body["range_end"] = base64_encode(range.range_end);
  if (range.limit != 0) body["limit"] = std::to_string(range.limit);
  if (range.revision != 0) body["revision"] = std::to_string(range.revision);
  if (range.serializable) body["serializable"] = true;
  if (range.keys_only) body["keys_only"] = true;
  return body;
}

json compare_body(const EtcdCompare& compare) {
  json body = {{"key", base64_encode(compare.key)}, {"result", "EQUAL"}};
  if (compare.create_revision) {
    body["target"] = "CREATE";
    body["create_revision"] = std::to_string(*compare.create_revision);
  } else if (compare.mod_revision) {
    body["target"] = "MOD";
    body["mod_revision"] = std::to_string(*compare.mod_revision);
  } else {
    body["target"] = "VALUE";
    body["value"] = base64_encode(compare.value.value_or(""));
  }
  return body;
}

}  // namespace

Result<EtcdReply> parse_etcd_reply(std::string_view text) {
  const auto tree = parse_strict_json(text, kMaxEtcdReply);
  EtcdReply reply;
  if (!tree || !read_reply(*tree, reply, 0) || reply.header.cluster_id == 0) {
    return not_etcd();
  }
  return reply;
}

EtcdRefusal parse_etcd_refusal(std::string_view text) {
  const auto tree = parse_strict_json(text, kMaxEtcdReply);
  if (!tree || !tree->is_object()) {
    // Some refusals of etcd's HTTP layer are plain text.
    EtcdRefusal plain;
    plain.words = text.substr(0, kMaxWords);
    return plain;
  }
  const json* inner = member(*tree, "error");
  return read_refusal(inner != nullptr && inner->is_object() ? *inner : *tree);
}

Result<EtcdWatchReply> parse_etcd_watch_reply(std::string_view line) {
  const auto tree = parse_strict_json(line, kMaxEtcdWatchLine, kMaxWatchValues);
  if (!tree || !tree->is_object()) return not_etcd();
  EtcdWatchReply reply;
  if (const json* error = member(*tree, "error")) {
    reply.canceled = true;
    reply.refusal = read_refusal(*error);
    return reply;
  }
  const json* result = member(*tree, "result");
  if (result == nullptr || !read_header(*result, reply.header) ||
      !read_bool(*result, "created", reply.created) ||
      !read_bool(*result, "canceled", reply.canceled) ||
      !read_bool(*result, "fragment", reply.fragment) ||
      !read_number(*result, "compact_revision", reply.compact_revision)) {
    return not_etcd();
  }
  if (const json* reason = member(*result, "cancel_reason"); reason && reason->is_string()) {
    reply.refusal = refusal_of_reason(reason->get_ref<const json::string_t&>());
  }
  if (const json* events = member(*result, "events")) {
    if (!events->is_array()) return not_etcd();
    for (const json& event : *events) {
      if (!read_event(event, reply.events.emplace_back())) return not_etcd();
    }
  }
  return reply;
}

std::string to_json(const EtcdRange& range) { return dump(range_body(range)); }

std::string to_json(const EtcdPutIf& txn) {
  json compares = json::array();
  for (const auto& compare : txn.compares) compares.push_back(compare_body(compare));
  json reads = json::array();
  for (const auto& key : txn.otherwise) {
    reads.push_back({{"request_range", {{"key", base64_encode(key)}}}});
  }
  json puts = json::array();
  const auto put = [&puts](const std::string& key, const std::string& value) {
    puts.push_back(
        {{"request_put", {{"key", base64_encode(key)}, {"value", base64_encode(value)}}}});
  };
  if (txn.remove) {
    puts.push_back({{"request_delete_range", {{"key", base64_encode(txn.key)}}}});
  } else {
    put(txn.key, txn.value);
  }
  if (!txn.changed.empty()) put(txn.changed, txn.key);
  return dump({{"compare", std::move(compares)},
               {"success", std::move(puts)},
               {"failure", std::move(reads)}});
}

std::string watch_request(const std::string& key, const std::string& range_end,
                          int64_t start_revision) {
  return dump({{"create_request",
                {{"key", base64_encode(key)},
                 {"range_end", base64_encode(range_end)},
                 {"start_revision", std::to_string(start_revision)},
                 {"progress_notify", true},
                 {"fragment", true}}}});
}

std::string end_of_prefix(std::string prefix) {
  while (!prefix.empty()) {
    const auto last = static_cast<unsigned char>(prefix.back());
    if (last != 0xff) {
      prefix.back() = static_cast<char>(last + 1);
      return prefix;
    }
    prefix.pop_back();
  }
  return std::string(1, '\0');  // all keys from the given one on
}

}  // namespace keyfs
