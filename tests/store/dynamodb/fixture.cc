#include "store/dynamodb/fixture.h"

#include <gtest/gtest.h>

#include <array>
#include <utility>

#include "base/encoding.h"
#include "store/known_store.h"

namespace keyfs::testing {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;

constexpr size_t kRegions = 3;

}  // namespace

CurlGlobal& curl_global() {
  static CurlGlobal global;
  return global;
}

DynamoDbBed::DynamoDbBed() : poller_(curl_global()), loop_(clock_, poller_) {
  auto http = HttpClient::create(loop_, poller_, arena_, HttpClientOptions());
  EXPECT_TRUE(http) << http.error().message;
  http_ = std::move(*http);
  credentials_ = std::make_unique<AwsCredentialProvider>(*http_, *http_, process_environment(),
                                                         AwsCredentialOptions());
  std::array<uint8_t, 8> bytes{};
  EXPECT_TRUE(random_.fill(bytes));
  table_ = "keyfs-" + hex_encode(bytes);
  heal_all();
  const auto made = loop_.run_task(connect(1)->make_table(in(20s)));
  EXPECT_TRUE(made) << made.error().message;
  reset_counts();
}

std::unique_ptr<DynamoDbReplica> DynamoDbBed::replica(size_t number, bool accept_rkms) {
  return std::make_unique<DynamoDbReplica>(
      *http_, *credentials_, region(number),
      env("KEYFS_TEST_DYNAMODB_" + std::to_string(number)) + "/",
      DynamoDbNames{table_, accept_rkms});
}

std::unique_ptr<DynamoDbStore> DynamoDbBed::settled(size_t regions, bool accept_rkms) {
  auto store = connect(regions, accept_rkms);
  const auto id = loop_.run_task(store->identity(in(20s)));
  EXPECT_TRUE(id) << id.error().message;
  reset_counts();
  return store;
}

std::unique_ptr<DynamoDbStore> DynamoDbBed::connect(size_t regions, bool accept_rkms,
                                                    const std::string& state_dir,
                                                    Duration attempt) {
  std::vector<std::unique_ptr<DynamoDbReplica>> replicas;
  for (size_t number = 1; number <= regions; ++number) {
    replicas.push_back(replica(number, accept_rkms));
  }
  std::string known;
  if (!state_dir.empty()) {
    const auto name = read_known_store(state_dir);
    EXPECT_TRUE(name);
    if (name && *name) known = (*name)->id;
  }
  return std::make_unique<DynamoDbStore>(loop_, random_, DynamoDbNames{table_, accept_rkms},
                                         std::move(replicas), state_dir, std::move(known), attempt);
}

std::unique_ptr<DynamoDbStore> DynamoDbBed::connect_past_faults() {
  std::vector<std::unique_ptr<DynamoDbReplica>> replicas;
  replicas.push_back(replica(2));
  return std::make_unique<DynamoDbStore>(loop_, random_, DynamoDbNames{table_, false},
                                         std::move(replicas));
}

json DynamoDbBed::call(const std::string& operation, json request, const std::string& table) {
  AwsClient client(*http_, *credentials_,
                   AwsServiceOptions{"dynamodb", region(1), env("KEYFS_TEST_MOTO") + "/",
                                     "DynamoDB_20120810.", "1.0"});
  request["TableName"] = table;
  AwsCall call(operation, request.dump(), in(20s));
  auto reply = loop_.run_task(client.call(std::move(call)));
  EXPECT_TRUE(reply && reply->ok())
      << operation << ": " << (reply ? reply->http.body : reply.error().message);
  return reply ? json::parse(reply->http.body, nullptr, false) : json();
}

json DynamoDbBed::control(size_t number, const std::string& path, const json& body) {
  const std::string url = env("KEYFS_TEST_DYNAMODB_" + std::to_string(number) + "_CONTROL");
  HttpRequest request(body.is_null() ? "GET" : "POST", url + path, in(20s));
  if (!body.is_null()) request.body = body.dump();
  auto reply = loop_.run_task(http_->send(std::move(request)));
  EXPECT_TRUE(reply && reply->status == 200) << path;
  return reply ? json::parse(reply->body, nullptr, false) : json();
}

void DynamoDbBed::heal_all() {
  for (size_t number = 1; number <= kRegions; ++number) {
    const std::string url = env("KEYFS_TEST_DYNAMODB_" + std::to_string(number) + "_CONTROL");
    HttpRequest request("DELETE", url + "/faults", in(20s));
    (void)loop_.run_task(http_->send(std::move(request)));
    link(number, "pass");
  }
}

int DynamoDbBed::calls(size_t number, const std::string& operation) {
  const json stats = control(number, "/stats");
  const auto& counts = stats["calls"];
  return counts.contains(operation) ? counts[operation]["since_reset"].get<int>() : 0;
}

void DynamoDbBed::reset_counts() {
  for (size_t number = 1; number <= kRegions; ++number) {
    control(number, "/stats/reset", json::object());
  }
}

DynamoDbParts DynamoDbBed::parts() {
  return DynamoDbParts{loop_, random_, *http_,
                       [this](const std::string&, const std::string&) -> AwsCredentialProvider& {
                         return *credentials_;
                       },
                       process_environment()};
}

}  // namespace keyfs::testing
