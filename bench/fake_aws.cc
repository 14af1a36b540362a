// A fast substitute for KMS and DynamoDB, for measuring: real AES-256-GCM, one table in memory,
// delayed replies. It checks no signatures, permissions or limits: tests use moto.
//
//   fake_aws SERVICE...       e.g. fake_aws kms:us-east-1 kms:us-west-2 dynamodb:us-east-1
//
// Each service gets its own port on 127.0.0.1; the first line on standard output lists them:
//   {"kms:us-east-1": 40001, ...}
// KMS: GenerateDataKey, Encrypt, Decrypt, DescribeKey. DynamoDB: GetItem, PutItem (conditional on
// attribute_not_exists of the key, or on the revision of a board's document), DeleteItem (the same),
// Scan and Query (without pages), DescribeTable; a table whose name ends in "-board" has the key part
// and name. Any service also answers
//   POST /control  {"delay_us": 5000, "mode": "ok" | "hang" | "error", "hang_ids": "hang-"}
//       for this service: "hang" never answers, "error" answers 500; ids that begin with "hang_ids"
//       (in the encryption context) are never answered whatever the mode. All fields are optional.
//   POST /counts   {}   the calls since the start, by operation; of documents of a board also by part,
//       such as "GetItem pulse-0", with "strong" behind it where the answer may not be old
#include <chrono>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "base/crypto.h"
#include "base/encoding.h"
#include "base/secret.h"
#include "bench/http_server.h"

namespace {

using namespace keyfs;
using namespace keyfs::bench;
using nlohmann::json;

ServerReply error(int status, const std::string& name) {
  return {status, json{{"__type", name}, {"message", name}}.dump(), {}};
}

// Common to all services: faults, delay, counts.
class Service {
 public:
  virtual ~Service() = default;

  std::optional<ServerReply> handle(const ServerRequest& request) {
    const json body = json::parse(request.body, nullptr, false);
    if (request.path == "/control") return control(body);
    if (request.path == "/counts") return ServerReply{200, json(counts_).dump(), {}};
    if (!body.is_object()) return error(request.path == "/ping" ? 404 : 400, "ValidationException");
    const std::string operation(request.target.substr(request.target.rfind('.') + 1));
    ++counts_[operation];
    if (const std::string more = detail(operation, body); !more.empty()) ++counts_[more];
    if (mode_ == "hang" || hangs(body)) return std::nullopt;
    ServerReply reply =
        mode_ == "error" ? error(500, "KMSInternalException") : call(operation, body);
    reply.delay = delay_;
    return reply;
  }

 protected:
  virtual ServerReply call(const std::string& operation, const json& body) = 0;
  // What a call is counted as besides; empty: nothing.
  virtual std::string detail(const std::string& /*operation*/, const json& /*body*/) { return ""; }

 private:
  ServerReply control(const json& body) {
    if (!body.is_object()) return error(400, "ValidationException");
    if (body.contains("delay_us")) delay_ = std::chrono::microseconds(body["delay_us"].get<int>());
    mode_ = body.value("mode", mode_);
    hang_ids_ = body.value("hang_ids", hang_ids_);
    return {200, "{}", {}};
  }

  bool hangs(const json& body) const {
    if (hang_ids_.empty() || !body.contains("EncryptionContext")) return false;
    return body["EncryptionContext"].value("keyfs:id", "").starts_with(hang_ids_);
  }

  std::chrono::microseconds delay_{0};
  std::string mode_ = "ok";
  std::string hang_ids_;
  std::map<std::string, uint64_t> counts_;
};

class Kms final : public Service {
 public:
  explicit Kms(const std::string& region)
      : arn_("arn:aws:kms:" + region + ":111122223333:key/11111111-2222-3333-4444-555555555555"),
        master_(*sha256(bytes_of(arn_))) {}

 protected:
  ServerReply call(const std::string& operation, const json& body) override {
    const std::string context = body.value("EncryptionContext", json::object()).dump();
    if (operation == "DescribeKey") return {200, json{{"KeyMetadata", {{"Arn", arn_}}}}.dump(), {}};
    if (operation == "GenerateDataKey") {
      const auto key = random_.secret(arena_, body.value("NumberOfBytes", 32u));
      return {200,
              json{{"KeyId", arn_},
                   {"Plaintext", base64_encode(key->reveal())},
                   {"CiphertextBlob", seal(key->reveal(), context)}}
                  .dump(),
              {}};
    }
    if (operation == "Encrypt") {
      const auto plain = base64_decode(body.value("Plaintext", ""));
      if (!plain) return error(400, "ValidationException");
      return {200, json{{"KeyId", arn_}, {"CiphertextBlob", seal(*plain, context)}}.dump(), {}};
    }
    if (operation == "Decrypt") {
      const auto blob = base64_decode(body.value("CiphertextBlob", ""));
      if (!blob) return error(400, "ValidationException");
      const auto plain = aes_256_gcm_open(arena_, master_, bytes_of(context), *blob);
      if (!plain) return error(400, "InvalidCiphertextException");
      return {200, json{{"KeyId", arn_}, {"Plaintext", base64_encode(plain->reveal())}}.dump(), {}};
    }
    return error(400, "UnknownOperationException");
  }

 private:
  std::string seal(std::span<const uint8_t> plain, const std::string& context) {
    return base64_encode(*aes_256_gcm_seal(master_, bytes_of(context), plain, random_));
  }

  const std::string arn_;
  const Sha256 master_;
  SecretArena arena_;
  OsRandom random_;
};

class DynamoDb final : public Service {
 protected:
  ServerReply call(const std::string& operation, const json& body) override {
    const std::string table = body.value("TableName", "");
    if (operation == "DescribeTable") return describe(table);
    Items& items = tables_[table];
    if (operation == "Scan") {
      json all = json::array();
      for (const auto& [key, item] : items) all.push_back(json::parse(item));
      return list(std::move(all));
    }
    if (operation == "Query") return query(items, body);
    const bool put = operation == "PutItem";
    const bool remove = operation == "DeleteItem";
    if (!put && !remove && operation != "GetItem") return error(400, "UnknownOperationException");
    const json& given = put ? body["Item"] : body["Key"];
    const std::string key = is_board(table) ? document(given) : text(given, "id");
    const auto found = items.find(key);
    const std::string item = found == items.end() ? "" : found->second;
    if (!put && !remove) return {200, item.empty() ? "{}" : "{\"Item\":" + item + "}", {}};
    if (!holds(body, item)) {
      return {400,
              "{\"__type\":\"com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException\"" +
                  (item.empty() ? "" : ",\"Item\":" + item) + "}",
              {}};
    }
    if (put) items[key] = given.dump();
    if (remove && found != items.end()) items.erase(found);
    return {200, "{}", {}};
  }

  std::string detail(const std::string& operation, const json& body) override {
    if (!is_board(body.value("TableName", ""))) return "";
    std::string part = "list";
    for (const char* where : {"Item", "Key"}) {
      if (body.contains(where)) part = text(body[where], "part");
    }
    return operation + " " + part + (body.value("ConsistentRead", false) ? " strong" : "");
  }

 private:
  using Items = std::map<std::string, std::string>;  // by key, as JSON

  static bool is_board(const std::string& table) { return table.ends_with("-board"); }
  static std::string text(const json& item, const char* name) {
    return item.at(name).at("S").get<std::string>();
  }
  static std::string document(const json& item) {
    return text(item, "part") + "/" + text(item, "name");
  }

  // "#revision = :old", or that there is none.
  static bool holds(const json& body, const std::string& item) {
    const std::string condition = body.value("ConditionExpression", "");
    if (condition.find("= :old") != condition.npos) {
      return !item.empty() && text(json::parse(item), "revision") ==
                                  text(body.at("ExpressionAttributeValues"), ":old");
    }
    if (condition.find("attribute_exists") == 0) return false;  // a probe
    return item.empty() || condition.empty();
  }

  static ServerReply describe(const std::string& table) {
    const auto key = [](const char* name, const char* kind) {
      return json{{"AttributeName", name}, {"KeyType", kind}};
    };
    const auto type = [](const char* name) {
      return json{{"AttributeName", name}, {"AttributeType", "S"}};
    };
    json keys = json::array({key("id", "HASH")});
    json types = json::array({type("id")});
    if (is_board(table)) {
      keys = json::array({key("part", "HASH"), key("name", "RANGE")});
      types = json::array({type("part"), type("name")});
    }
    return {200,
            json{{"Table",
                  {{"TableName", table},
                   {"TableStatus", "ACTIVE"},
                   {"AttributeDefinitions", types},
                   {"KeySchema", keys}}}}
                .dump(),
            {}};
  }

  static ServerReply query(const Items& items, const json& body) {
    const json& values = body.at("ExpressionAttributeValues");
    const std::string part = text(values, ":part") + "/";
    json all = json::array();
    const auto last = items.upper_bound(part + text(values, ":to"));
    for (auto at = items.lower_bound(part + text(values, ":from")); at != last; ++at) {
      all.push_back(json::parse(at->second));
    }
    return list(std::move(all));
  }

  static ServerReply list(json items) {
    const size_t count = items.size();
    return {200,
            json{{"Items", std::move(items)}, {"Count", count}, {"ScannedCount", count}}.dump(),
            {}};
  }

  std::map<std::string, Items> tables_;
};

}  // namespace

int main(int argc, char** argv) {
  HttpServer server;
  json ports = json::object();
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    const size_t colon = name.find(':');
    const std::string kind = name.substr(0, colon);
    if (colon == name.npos || (kind != "kms" && kind != "dynamodb")) {
      std::fprintf(stderr, "usage: fake_aws kms:REGION... dynamodb:REGION...\n");
      return 2;
    }
    std::shared_ptr<Service> service;
    if (kind == "kms") {
      service = std::make_shared<Kms>(name.substr(colon + 1));
    } else {
      service = std::make_shared<DynamoDb>();
    }
    ports[name] = server.listen(
        0, [service](const ServerRequest& request) { return service->handle(request); });
  }
  std::printf("%s\n", ports.dump().c_str());
  std::fflush(stdout);
  server.run();
}
