// Measures reads that the cache can't answer, against bare libcurl that calls the same services
// (fake_aws) over kept connections, signed by libcurl.
//
//   cold_bench OPERATION --mount DIR --dynamodb PORT --kms REGION=PORT... [--first N] [--count N]
//              [--connections C] [--prefix P] [--no-bare]
//
// OPERATION
//   cold_read  in turns: open and read of one cold id; GetItem and Decrypt (first region)
//   create     in turns: open and read of one new id; GenerateDataKey (first region), Encrypt
//              (last region) and PutItem in a row
//   stampede   COUNT readers open one cold id at the same moment; the bare pair for it alone
//   cold_many  COUNT cold ids by C readers, and the same by curl_multi with C transfers at once, in
//              turns of a tenth each
// Ids are PREFIX (key-) and a number from FIRST. Prints one JSON object: nanoseconds of each
// operation of the mount and of bare libcurl; for cold_many, of each turn, its ids, and whether the
// hypervisor took more than 3 % of the turn.
#include <curl/curl.h>
#include <fcntl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <barrier>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "stolen_time.h"

namespace {

using nlohmann::json;
using SteadyClock = std::chrono::steady_clock;

[[noreturn]] void die(const std::string& what) {
  std::fprintf(stderr, "cold_bench: %s\n", what.c_str());
  std::_Exit(1);
}

int64_t nanoseconds_since(SteadyClock::time_point begin) {
  return std::chrono::nanoseconds(SteadyClock::now() - begin).count();
}

struct Plan {
  std::string operation;
  std::string mount;
  std::string prefix = "key-";
  uint16_t dynamodb = 0;
  std::vector<std::pair<std::string, uint16_t>> kms;
  size_t first = 0;
  size_t count = 100;
  size_t connections = 64;
  bool bare = true;

  std::string id(size_t number) const { return prefix + std::to_string(number); }
};

void read_key(const Plan& plan, const std::string& id) {
  const std::string path = plan.mount + "/" + id;
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  char key[32];
  if (fd < 0 || read(fd, key, sizeof key) != sizeof key) die(path + ": " + std::strerror(errno));
  close(fd);
}

// One signed POST; the handle keeps its connection.
class BareCall {
 public:
  BareCall() : curl_(curl_easy_init()) {
    curl_easy_setopt(curl_, CURLOPT_USERPWD, "AKIDBENCH:secret");
    curl_easy_setopt(curl_, CURLOPT_TCP_NODELAY, 1L);
    curl_easy_setopt(
        curl_, CURLOPT_WRITEFUNCTION, +[](char* data, size_t, size_t size, void* to) {
          static_cast<std::string*>(to)->append(data, size);
          return size;
        });
    curl_easy_setopt(curl_, CURLOPT_WRITEDATA, &reply_);
  }
  BareCall(const BareCall&) = delete;
  BareCall& operator=(const BareCall&) = delete;
  ~BareCall() {
    curl_slist_free_all(headers_);
    curl_easy_cleanup(curl_);
  }

  void set(const std::string& service, const std::string& region, uint16_t port,
           const std::string& target, std::string body) {
    body_ = std::move(body);
    reply_.clear();
    curl_slist_free_all(headers_);
    headers_ = curl_slist_append(nullptr, ("X-Amz-Target: " + target).c_str());
    headers_ = curl_slist_append(headers_, "Content-Type: application/x-amz-json-1.1");
    const std::string url = "http://127.0.0.1:" + std::to_string(port) + "/";
    const std::string signature = "aws:amz:" + region + ":" + service;
    curl_easy_setopt(curl_, CURLOPT_AWS_SIGV4, signature.c_str());
    curl_easy_setopt(curl_, CURLOPT_URL, url.c_str());
    curl_easy_setopt(curl_, CURLOPT_HTTPHEADER, headers_);
    curl_easy_setopt(curl_, CURLOPT_POSTFIELDS, body_.c_str());
    curl_easy_setopt(curl_, CURLOPT_POSTFIELDSIZE, static_cast<long>(body_.size()));
  }
  CURL* handle() { return curl_; }
  void perform() {
    if (const CURLcode code = curl_easy_perform(curl_); code != CURLE_OK) {
      die(curl_easy_strerror(code));
    }
  }
  json reply() const {
    json parsed = json::parse(reply_, nullptr, false);
    if (!parsed.is_object() || parsed.contains("__type")) die("unexpected reply: " + reply_);
    return parsed;
  }

 private:
  CURL* curl_;
  curl_slist* headers_ = nullptr;
  std::string body_;
  std::string reply_;
};

// GetItem and Decrypt of an id, step by step.
class BareRead {
 public:
  explicit BareRead(const Plan& plan) : plan_(plan) {}

  void get_item(const std::string& id) {
    call_.set(
        "dynamodb", plan_.kms[0].first, plan_.dynamodb, "DynamoDB_20120810.GetItem",
        json{{"TableName", "keyfs"}, {"Key", {{"id", {{"S", id}}}}}, {"ConsistentRead", false}}
            .dump());
    id_ = id;
  }
  void decrypt() {
    const json record = json::parse(call_.reply()["Item"]["record"]["S"].get<std::string>());
    const std::string version = std::to_string(record["current"].get<int>());
    const json& wrap = record["versions"][version]["wrapped"][plan_.kms[0].first];
    json context = {{"keyfs:id", id_}, {"keyfs:version", version}};
    if (record.contains("origin")) context["keyfs:store"] = record["origin"];
    call_.set("kms", plan_.kms[0].first, plan_.kms[0].second, "TrentService.Decrypt",
              json{{"KeyId", wrap["key"]},
                   {"CiphertextBlob", wrap["blob"]},
                   {"EncryptionContext", context}}
                  .dump());
  }
  void check() { (void)call_.reply().at("Plaintext"); }

  void both(const std::string& id) {
    get_item(id);
    call_.perform();
    decrypt();
    call_.perform();
    check();
  }
  CURL* handle() { return call_.handle(); }

 private:
  const Plan& plan_;
  std::string id_;
  BareCall call_;
};

void bare_create(const Plan& plan, BareCall& call, const std::string& id) {
  const json context = {{"keyfs:id", id}, {"keyfs:version", "1"}};
  const auto& [first, first_port] = plan.kms.front();
  const auto& [last, last_port] = plan.kms.back();
  const std::string arn =
      "arn:aws:kms:" + last + ":111122223333:key/11111111-2222-3333-4444-555555555555";
  call.set("kms", first, first_port, "TrentService.GenerateDataKey",
           json{{"KeyId", arn}, {"NumberOfBytes", 32}, {"EncryptionContext", context}}.dump());
  call.perform();
  const json generated = call.reply();
  call.set(
      "kms", last, last_port, "TrentService.Encrypt",
      json{{"KeyId", arn}, {"Plaintext", generated["Plaintext"]}, {"EncryptionContext", context}}
          .dump());
  call.perform();
  const json item = {{"id", {{"S", id}}},
                     {"record", {{"S", call.reply()["CiphertextBlob"]}}},
                     {"revision", {{"S", "1"}}}};
  call.set("dynamodb", first, plan.dynamodb, "DynamoDB_20120810.PutItem",
           json{{"TableName", "keyfs"},
                {"Item", item},
                {"ConditionExpression", "attribute_not_exists(id)"}}
               .dump());
  call.perform();
  (void)call.reply();
}

json cold_read(const Plan& plan) {
  BareRead bare(plan);
  json mount = json::array();
  json bare_took = json::array();
  if (plan.bare) bare.both(plan.id(plan.first));  // its connections
  for (size_t i = 0; i < plan.count; ++i) {
    auto begin = SteadyClock::now();
    read_key(plan, plan.id(plan.first + i));
    mount.push_back(nanoseconds_since(begin));
    if (!plan.bare) continue;
    begin = SteadyClock::now();
    bare.both(plan.id(plan.first + i));
    bare_took.push_back(nanoseconds_since(begin));
  }
  return {{"mount", mount}, {"bare", bare_took}};
}

json create(const Plan& plan) {
  BareCall bare;
  json mount = json::array();
  json bare_took = json::array();
  if (plan.bare) bare_create(plan, bare, "bare-" + plan.id(plan.first + plan.count));
  for (size_t i = 0; i < plan.count; ++i) {
    auto begin = SteadyClock::now();
    read_key(plan, plan.id(plan.first + i));
    mount.push_back(nanoseconds_since(begin));
    if (!plan.bare) continue;
    begin = SteadyClock::now();
    bare_create(plan, bare, "bare-" + plan.id(plan.first + i));
    bare_took.push_back(nanoseconds_since(begin));
  }
  return {{"mount", mount}, {"bare", bare_took}};
}

json stampede(const Plan& plan) {
  std::barrier start(static_cast<std::ptrdiff_t>(plan.count + 1));
  std::vector<std::thread> readers;
  std::vector<int64_t> took(plan.count);
  SteadyClock::time_point begin;
  for (size_t i = 0; i < plan.count; ++i) {
    readers.emplace_back([&, i] {
      start.arrive_and_wait();
      read_key(plan, plan.id(plan.first));
      took[i] = nanoseconds_since(begin);
    });
  }
  begin = SteadyClock::now();
  start.arrive_and_wait();
  for (std::thread& reader : readers) reader.join();
  BareRead bare(plan);
  bare.both(plan.id(plan.first));
  const auto bare_begin = SteadyClock::now();
  bare.both(plan.id(plan.first));
  return {{"mount", took}, {"bare", {nanoseconds_since(bare_begin)}}};
}

int64_t mount_turn(const Plan& plan, size_t first, size_t count) {
  std::atomic<size_t> next{first};
  const auto begin = SteadyClock::now();
  std::vector<std::thread> readers;
  for (size_t i = 0; i < plan.connections; ++i) {
    readers.emplace_back([&] {
      for (size_t id = next++; id < first + count; id = next++) read_key(plan, plan.id(id));
    });
  }
  for (std::thread& reader : readers) reader.join();
  return nanoseconds_since(begin);
}

// As fast as one libcurl thread can go with this many concurrent transfers.
class BareTurn {
 public:
  explicit BareTurn(const Plan& plan) : plan_(plan), multi_(curl_multi_init()) {
    for (size_t i = 0; i < plan.connections; ++i) {
      reads_.push_back(std::make_unique<Read>(plan));
      curl_easy_setopt(reads_.back()->bare.handle(), CURLOPT_PRIVATE, reads_.back().get());
    }
    curl_multi_setopt(multi_, CURLMOPT_MAXCONNECTS, static_cast<long>(4 * plan.connections));
  }
  BareTurn(const BareTurn&) = delete;
  BareTurn& operator=(const BareTurn&) = delete;
  ~BareTurn() {
    for (auto& read : reads_) curl_multi_remove_handle(multi_, read->bare.handle());
    curl_multi_cleanup(multi_);
  }

  int64_t run(size_t first, size_t count) {
    const auto begin = SteadyClock::now();
    next_ = first;
    end_ = first + count;
    for (auto& read : reads_) start_next(*read);
    for (;;) {
      int running = 0;
      curl_multi_perform(multi_, &running);
      int left = 0;
      while (const CURLMsg* message = curl_multi_info_read(multi_, &left)) {
        if (message->data.result != CURLE_OK) die(curl_easy_strerror(message->data.result));
        Read* read = nullptr;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &read);
        curl_multi_remove_handle(multi_, message->easy_handle);
        finish(*read);
      }
      if (active_ == 0) break;
      curl_multi_poll(multi_, nullptr, 0, 1000, nullptr);
    }
    return nanoseconds_since(begin);
  }

 private:
  struct Read {
    explicit Read(const Plan& plan) : bare(plan) {}
    BareRead bare;
    bool decrypting = false;
  };

  void start_next(Read& read) {
    if (next_ == end_) return;
    ++active_;
    read.decrypting = false;
    read.bare.get_item(plan_.id(next_++));
    curl_multi_add_handle(multi_, read.bare.handle());
  }
  void finish(Read& read) {
    if (!read.decrypting) {
      read.bare.decrypt();
      read.decrypting = true;
      curl_multi_add_handle(multi_, read.bare.handle());
      return;
    }
    read.bare.check();
    --active_;
    start_next(read);
  }

  const Plan& plan_;
  CURLM* multi_;
  std::vector<std::unique_ptr<Read>> reads_;
  size_t next_ = 0;
  size_t end_ = 0;
  size_t active_ = 0;
};

constexpr size_t kTurns = 10;

json cold_many(const Plan& plan) {
  BareTurn bare(plan);
  const size_t each = plan.count / kTurns;
  json mount = json::array();
  json bare_took = json::array();
  json disturbed = json::array();
  if (plan.bare) bare.run(plan.first, plan.connections);  // its connections
  for (size_t turn = 0; turn < kTurns; ++turn) {
    const size_t first = plan.first + turn * each;
    const StolenTime stolen;
    mount.push_back(mount_turn(plan, first, each));
    if (plan.bare) bare_took.push_back(bare.run(first, each));
    disturbed.push_back(stolen.much());
  }
  return {{"mount", mount}, {"bare", bare_took}, {"ids", each}, {"disturbed", disturbed}};
}

}  // namespace

int main(int argc, char** argv) {
  Plan plan;
  std::vector<std::string> regions;
  CLI::App app("Measures reads that the cache can't answer.");
  app.add_option("operation", plan.operation)
      ->required()
      ->check(CLI::IsMember({"cold_read", "create", "stampede", "cold_many"}));
  app.add_option("--mount", plan.mount)->required();
  app.add_option("--dynamodb", plan.dynamodb)->required();
  app.add_option("--kms", regions, "REGION=PORT")->required()->allow_extra_args(false);
  app.add_option("--first", plan.first);
  app.add_option("--count", plan.count);
  app.add_option("--connections", plan.connections);
  app.add_option("--prefix", plan.prefix);
  app.add_flag("!--no-bare", plan.bare);
  CLI11_PARSE(app, argc, argv);
  for (const std::string& region : regions) {
    const size_t equals = region.find('=');
    if (equals == region.npos) die("a region is REGION=PORT, not " + region);
    plan.kms.emplace_back(region.substr(0, equals),
                          static_cast<uint16_t>(std::atoi(region.c_str() + equals + 1)));
  }
  curl_global_init(CURL_GLOBAL_DEFAULT);
  const json result = plan.operation == "cold_read"  ? cold_read(plan)
                      : plan.operation == "create"   ? create(plan)
                      : plan.operation == "stampede" ? stampede(plan)
                                                     : cold_many(plan);
  std::printf("%s\n", result.dump().c_str());
  return 0;
}
