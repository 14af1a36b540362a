// Shared by the tests of base/http: a loop, a client on it, a temporary directory.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "base/http.h"
#include "support/tiny_server.h"

namespace keyfs::testing {

using namespace std::chrono_literals;

class Http : public ::testing::Test {
 protected:
  Http() {
    char pattern[] = "/tmp/keyfs-http-XXXXXX";
    folder_ = mkdtemp(pattern);
    client_ = make_client({});
  }
  ~Http() override { std::filesystem::remove_all(folder_); }

  std::unique_ptr<HttpClient> make_client(HttpClientOptions options) {
    auto client = HttpClient::create(loop_, poller_, arena_, std::move(options));
    EXPECT_TRUE(client) << client.error().message;
    return std::move(*client);
  }

  Result<HttpResponse> send(HttpRequest request) { return send(*client_, std::move(request)); }
  Result<HttpResponse> send(HttpClient& client, HttpRequest request) {
    return loop_.run_task(client.send(std::move(request)));
  }
  HttpRequest get(const std::string& url, Duration within = 10s) {
    return HttpRequest("GET", url, loop_.now() + within);
  }
  HttpRequest post(const std::string& url, std::string body, Duration within = 10s) {
    HttpRequest request("POST", url, loop_.now() + within);
    request.body = std::move(body);
    return request;
  }
  SecretBytes secret(std::string_view text) { return std::move(*arena_.copy_of(text)); }
  // Runs turns until `done`; fails the test if that takes ten seconds.
  template <class Done>
  void turn_until(Done done) {
    const auto give_up = std::chrono::steady_clock::now() + 10s;
    while (!done() && std::chrono::steady_clock::now() < give_up) {
      loop_.post([] {});  // so that a turn never waits for long
      loop_.turn(true);
    }
    EXPECT_TRUE(done());
  }

  std::string folder_;
  CurlGlobal curl_;
  SecretArena arena_;
  SystemClock clock_;
  CurlPoller poller_{curl_};
  Loop loop_{clock_, poller_};
  std::unique_ptr<HttpClient> client_;
};

inline TinyServer::Serve echo() {
  return [](TinyServer::Connection& connection) {
    for (std::string request; !(request = connection.read_request()).empty();) {
      connection.reply("200 OK", request, "X-Test: one\r\n");
    }
  };
}

}  // namespace keyfs::testing
