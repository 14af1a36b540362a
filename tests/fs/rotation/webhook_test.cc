#include "fs/rotation/webhook.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "base/race.h"
#include "support/tiny_server.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;
using testing::TinyServer;

constexpr const char* kPath = "/services/T0/B0/secret-token";

class WebhookTest : public ::testing::Test {
 protected:
  WebhookTest() {
    char pattern[] = "/tmp/keyfs-webhook-XXXXXX";
    folder_ = mkdtemp(pattern);
    auto client = HttpClient::create(loop_, poller_, arena_, {});
    EXPECT_TRUE(client) << client.error().message;
    client_ = std::move(*client);
    times_.pauses = {10ms, 20ms};
  }
  ~WebhookTest() override { std::filesystem::remove_all(folder_); }

  std::string file() const { return folder_ + "/webhook"; }
  void write_file(const std::string& text, mode_t mode = 0600) {
    std::ofstream(file()) << text;
    ASSERT_EQ(::chmod(file().c_str(), mode), 0);
  }
  // A server that answers with these, one after the other, and then with "200 OK".
  struct Answer {
    std::string status;
    std::string headers = "";
  };
  void serve(std::vector<Answer> answers) {
    server_.reset();
    requests_.clear();
    arrived_.clear();
    server_ = std::make_unique<TinyServer>([this, answers](TinyServer::Connection& connection) {
      for (std::string request; !(request = connection.read_request()).empty();) {
        size_t number = 0;
        {
          std::lock_guard lock(mutex_);
          number = requests_.size();
          requests_.push_back(request);
          arrived_.push_back(std::chrono::steady_clock::now());
        }
        const Answer answer = number < answers.size() ? answers[number] : Answer{"200 OK"};
        connection.reply(answer.status, "ok " + std::string(kPath), answer.headers);
      }
    });
    write_file(server_->url(kPath) + "\n");
  }
  Result<void> send(const std::string& text) {
    Webhook webhook(*client_, file(), times_);
    return loop_.run_task(webhook.send(text));
  }
  std::vector<std::string> requests() {
    std::lock_guard lock(mutex_);
    return requests_;
  }
  // Between the first two requests.
  std::chrono::steady_clock::duration pause() {
    std::lock_guard lock(mutex_);
    EXPECT_EQ(arrived_.size(), 2u);
    return arrived_.size() < 2 ? 0s : arrived_[1] - arrived_[0];
  }

  std::string folder_;
  std::mutex mutex_;
  std::vector<std::string> requests_;
  std::vector<std::chrono::steady_clock::time_point> arrived_;
  std::unique_ptr<TinyServer> server_;
  CurlGlobal curl_;
  SecretArena arena_;
  SystemClock clock_;
  CurlPoller poller_{curl_};
  Loop loop_{clock_, poller_};
  std::unique_ptr<HttpClient> client_;
  Webhook::Times times_;
};

TEST_F(WebhookTest, a_message_arrives_once_as_json_with_its_text) {
  serve({});
  const auto sent = send("64 ok, 1 failed: *app-50*");
  ASSERT_TRUE(sent) << sent.error().message;
  ASSERT_EQ(requests().size(), 1u);
  const std::string request = requests()[0];
  EXPECT_TRUE(request.starts_with(std::string("POST ") + kPath + " HTTP/1.1\r\n")) << request;
  EXPECT_NE(request.find("Content-Type: application/json"), std::string::npos) << request;
  const auto body = nlohmann::json::parse(request.substr(request.find("\r\n\r\n") + 4));
  EXPECT_EQ(body, (nlohmann::json{{"text", "64 ok, 1 failed: *app-50*"}}));
}

TEST_F(WebhookTest, is_tried_three_times_and_no_more) {
  serve({{"500 Oops"}, {"503 Busy"}, {"502 Bad"}, {"200 OK"}});
  const auto sent = send("x");
  ASSERT_FALSE(sent);
  EXPECT_EQ(requests().size(), 3u);
  EXPECT_NE(sent.error().message.find("HTTP 502 (3 tries)"), std::string::npos)
      << sent.error().message;
}

TEST_F(WebhookTest, the_third_try_may_be_the_good_one) {
  serve({{"500 Oops"}, {"429 Slow"}});
  EXPECT_TRUE(send("x"));
  EXPECT_EQ(requests().size(), 3u);
}

TEST_F(WebhookTest, what_is_refused_for_good_is_not_tried_again) {
  for (const char* status : {"404 Gone", "403 No", "400 Bad", "302 Found"}) {
    serve({{status, "Location: http://127.0.0.1:1/\r\n"}});
    EXPECT_FALSE(send("x")) << status;
    EXPECT_EQ(requests().size(), 1u) << status;
  }
}

TEST_F(WebhookTest, is_not_tried_again_before_the_time_that_was_asked_for) {
  serve({{"429 Slow", "Retry-After: 2\r\n"}});
  ASSERT_TRUE(send("x"));
  EXPECT_GE(pause(), 1900ms);
}

TEST_F(WebhookTest, a_date_that_was_asked_for_counts_by_the_other_sides_clock) {
  serve(
      {{"503 Busy",
        "Date: Sun, 22 Nov 2020 04:00:00 GMT\r\nRetry-After: Sun, 22 Nov 2020 04:00:02 GMT\r\n"}});
  ASSERT_TRUE(send("x"));
  EXPECT_GE(pause(), 1900ms);
}

TEST_F(WebhookTest, whoever_asks_for_too_long_a_pause_is_not_asked_again) {
  serve({{"429 Slow", "Retry-After: 86400\r\n"}});
  const auto sent = send("x");
  ASSERT_FALSE(sent);
  EXPECT_EQ(requests().size(), 1u);
  EXPECT_NE(sent.error().message.find("asks to wait for 24h"), std::string::npos)
      << sent.error().message;
}

TEST_F(WebhookTest, a_server_that_hangs_or_is_not_there_has_a_bound) {
  times_.try_time = 200ms;
  server_ =
      std::make_unique<TinyServer>([](TinyServer::Connection& connection) { connection.hang(); });
  write_file(server_->url(kPath));
  const auto begin = std::chrono::steady_clock::now();
  const auto hanging = send("x");
  ASSERT_FALSE(hanging);
  EXPECT_EQ(hanging.error().code, Code::kTimeout);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 10s);
  const std::string url = server_->url(kPath);
  server_.reset();
  write_file(url);
  EXPECT_FALSE(send("x"));
}

TEST_F(WebhookTest, no_error_tells_the_url) {
  const std::string token = "secret-token";
  const auto told = [&](const std::string& what) {
    const auto sent = send("x");
    EXPECT_FALSE(sent) << what;
    if (!sent) {
      EXPECT_EQ(sent.error().message.find(token), std::string::npos) << sent.error().message;
    }
  };
  serve({{"404 Gone"}});
  told("refused");
  serve({{"500 Oops"}, {"500 Oops"}, {"500 Oops"}});
  told("out of order");
  const std::string url = server_->url(kPath);
  server_.reset();
  write_file(url);
  told("not there");
  write_file(url, 0644);
  told("open to others");
  write_file("ftp://x/" + token);
  told("no http");
  write_file(token);
  told("no URL");
  write_file("http://x/" + token + "\nhttp://y/" + token);
  told("two lines");
  write_file("http://[/" + token);
  told("no host");
}

TEST_F(WebhookTest, a_file_that_others_can_read_is_refused_and_says_so) {
  write_file("http://127.0.0.1:1/", 0644);
  const auto read = Webhook::read_url(arena_, file());
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code, Code::kDenied);
  EXPECT_NE(read.error().message.find("chmod 600"), std::string::npos) << read.error().message;
}

TEST_F(WebhookTest, a_url_may_end_with_any_line_end) {
  for (const char* end : {"", "\n", "\r\n", "\n\n", " \n"}) {
    write_file(std::string("https://hooks.example/a") + end);
    const auto read = Webhook::read_url(arena_, file());
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_EQ(read->reveal_text(), "https://hooks.example/a");
  }
  for (const std::string text : {"", "\n", "https://", "http://", "https://a b", "https://a\nb"}) {
    write_file(text);
    EXPECT_FALSE(Webhook::read_url(arena_, file())) << text;
  }
  write_file("https://" + std::string(2040, 'a') + "\n");
  EXPECT_TRUE(Webhook::read_url(arena_, file()));
  write_file("https://" + std::string(2041, 'a') + "\n");
  EXPECT_FALSE(Webhook::read_url(arena_, file()));
}

TEST_F(WebhookTest, a_new_url_is_used_without_a_restart) {
  serve({});
  Webhook webhook(*client_, file(), times_);
  ASSERT_TRUE(loop_.run_task(webhook.send("1")));
  write_file(server_->url("/another"));
  ASSERT_TRUE(loop_.run_task(webhook.send("2")));
  ASSERT_EQ(requests().size(), 2u);
  EXPECT_TRUE(requests()[1].starts_with("POST /another ")) << requests()[1];
}

TEST_F(WebhookTest, a_message_may_be_given_up) {
  server_ =
      std::make_unique<TinyServer>([](TinyServer::Connection& connection) { connection.hang(); });
  write_file(server_->url(kPath));
  Webhook webhook(*client_, file(), times_);
  {
    TaskGroup<Result<void>> sending(loop_);
    sending.start(webhook.send("x"));
    const auto give_up = std::chrono::steady_clock::now() + 10s;
    while (server_->connections() == 0 && std::chrono::steady_clock::now() < give_up) {
      EXPECT_FALSE(loop_.run_task(sending.next(loop_.now() + 10ms)));
    }
    EXPECT_EQ(server_->connections(), 1);
  }
  for (int i = 0; i < 100 && server_->closed_by_client() == 0; ++i) {
    loop_.post([] {});
    loop_.turn(true);
    std::this_thread::sleep_for(10ms);
  }
  EXPECT_EQ(server_->closed_by_client(), 1);
}

}  // namespace
}  // namespace keyfs
