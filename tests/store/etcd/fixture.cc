#include "store/etcd/fixture.h"

#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <fstream>
#include <utility>

namespace keyfs::testing {
namespace {

using namespace std::chrono_literals;

std::atomic<int> worlds{0};

}  // namespace

std::string EtcdWorld::environment(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  EXPECT_NE(value, nullptr) << name << ": run this with tests/support/with_etcd.py";
  return value != nullptr ? value : "";
}

EtcdWorld::EtcdWorld() {
  prefix_ = environment("KEYFS_TEST_ETCD_PREFIX") + "/" + std::to_string(::getpid()) + "-" +
            std::to_string(++worlds);
  auto control = HttpClient::create(loop_, poller_, arena_, HttpClientOptions());
  EXPECT_TRUE(control);
  control_ = std::move(*control);

  raw_options_ = options();
  HttpClientOptions http;
  http.ca_file = raw_options_.ca;
  http.client_cert = raw_options_.cert;
  http.client_key = raw_options_.key;
  auto client = HttpClient::create(loop_, poller_, arena_, http);
  EXPECT_TRUE(client) << client.error().message;
  raw_ = std::make_unique<EtcdClient>(std::move(*client), raw_files_, raw_identity_, random_,
                                      raw_options_);
}

EtcdWorld::~EtcdWorld() { loop_.shutdown(); }

EtcdOptions EtcdWorld::options(Through through) {
  EtcdOptions options;
  const int count = std::atoi(environment("KEYFS_TEST_ETCD_COUNT").c_str());
  for (int n = 1; n <= count; ++n) {
    const std::string name = "KEYFS_TEST_ETCD_" + std::to_string(n);
    options.endpoints.push_back(environment(through == Through::kTcp ? name : name + "_HTTP"));
  }
  options.prefix = prefix_;
  options.ca = environment("KEYFS_TEST_ETCD_CA");
  options.cert = environment("KEYFS_TEST_ETCD_CERT");
  options.key = environment("KEYFS_TEST_ETCD_KEY");
  options.user = environment("KEYFS_TEST_ETCD_USER");
  options.password_file = environment("KEYFS_TEST_ETCD_PASSWORD_FILE");
  options.state_dir = folder_.file("state");
  return options;
}

std::unique_ptr<EtcdStore> EtcdWorld::open(EtcdOptions options) {
  auto store = EtcdStore::open(EtcdParts{loop_, poller_, arena_, random_}, std::move(options));
  EXPECT_TRUE(store) << store.error().message;
  return store ? std::move(*store) : nullptr;
}

EtcdReply EtcdWorld::call(size_t member, const std::string& path, const std::string& body) {
  const EtcdCall call(path, body);
  auto answer = loop_.run_task(raw_->ask(member, call, within(20s), 20s));
  EXPECT_TRUE(answer) << answer.error().error.message;
  return answer ? std::move(*answer) : EtcdReply();
}

int64_t EtcdWorld::revision() {
  return call(0, "/v3/kv/range", to_json(EtcdRange(prefix_ + "/x"))).header.revision;
}

std::string EtcdWorld::read_raw(const std::string& id) {
  const auto reply = call(0, "/v3/kv/range", to_json(EtcdRange(prefix_ + "/records/" + id)));
  EXPECT_EQ(reply.kvs.size(), 1u);
  return reply.kvs.empty() ? "" : reply.kvs[0].value;
}

void EtcdWorld::write_raw(const std::string& id, const std::string& bytes) {
  EtcdPutIf put;
  put.key = prefix_ + "/records/" + id;
  put.value = bytes;
  EXPECT_TRUE(call(0, "/v3/kv/txn", to_json(put)).succeeded);
  // A member answers this one when it has come so far itself.
  const std::string read = to_json(EtcdRange(put.key));
  for (size_t member = 0; member < raw_options_.endpoints.size(); ++member) {
    call(member, "/v3/kv/range", read);
  }
}

HttpResponse EtcdWorld::send(HttpRequest request) {
  const std::string url = request.url;
  auto response = loop_.run_task(control_->send(std::move(request)));
  EXPECT_TRUE(response) << url << ": " << response.error().message;
  if (!response) return {};
  EXPECT_EQ(response->status, 200) << url << ": " << response->body;
  return std::move(*response);
}

std::string EtcdWorld::act(const std::string& verb) {
  HttpRequest request("POST", environment("KEYFS_TEST_ETCD_MEMBERS") + verb, within(120s));
  return send(std::move(request)).body;
}

std::string EtcdWorld::proxy(int member, const std::string& method, const std::string& what,
                             const std::string& body, const std::string& kind) {
  HttpRequest request(
      method, environment("KEYFS_TEST_ETCD_" + std::to_string(member) + kind) + what, within(30s));
  if (method == "POST") request.body = body;
  return send(std::move(request)).body;
}

int EtcdWorld::calls(int member, const std::string& path) {
  const std::string answer =
      proxy(member, "GET", "/wait?op=" + path + "&field=since_reset&at_least=0&timeout=1");
  const size_t at = answer.find("\"value\":");
  EXPECT_NE(at, std::string::npos) << answer;
  return at == std::string::npos ? -1 : std::atoi(answer.c_str() + at + 8);
}

std::string EtcdWorld::make_file(const std::string& name, const std::string& text, int mode) {
  const std::string path = folder_.file(name);
  std::ofstream(path) << text;
  EXPECT_EQ(::chmod(path.c_str(), static_cast<mode_t>(mode)), 0);
  return path;
}

}  // namespace keyfs::testing
