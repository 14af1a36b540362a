#include "base/http.h"

#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netdb.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <future>
#include <string>

#include "base/http_fixture.h"
#include "base/race.h"
#include "support/tiny_server.h"

// Takes the place of libc's in this program: hung.test never resolves.
namespace {
std::atomic<bool> end_look_ups{false};
std::atomic<int> hung_look_ups{0};
}  // namespace
extern "C" int getaddrinfo(const char* node, const char* service, const addrinfo* hints,
                           addrinfo** result) {
  if (node != nullptr && std::strcmp(node, "hung.test") == 0) {
    ++hung_look_ups;
    end_look_ups.wait(false);
    --hung_look_ups;
    return EAI_AGAIN;
  }
  using Real = int (*)(const char*, const char*, const addrinfo*, addrinfo**);
  static const auto real = reinterpret_cast<Real>(dlsym(RTLD_NEXT, "getaddrinfo"));
  return real(node, service, hints, result);
}

namespace keyfs {
namespace {

using namespace std::chrono_literals;
using testing::echo;
using ::testing::HasSubstr;
using testing::Http;
using testing::TinyServer;

TEST_F(Http, a_reply_comes_with_status_headers_and_body) {
  TinyServer server([](auto& connection) {
    connection.read_request();
    connection.reply("418 Teapot", "short and stout", "X-Kind:  tea \r\nX-Other: a\r\n");
  });
  auto response = send(get(server.url()));
  ASSERT_TRUE(response) << response.error().message;
  EXPECT_EQ(response->status, 418);
  EXPECT_EQ(response->body, "short and stout");
  ASSERT_NE(response->header("x-KIND"), nullptr);
  EXPECT_EQ(*response->header("x-KIND"), "tea");
  EXPECT_EQ(response->header("absent"), nullptr);
}

TEST_F(Http, a_post_sends_exactly_what_it_was_given) {
  TinyServer server(echo());
  auto request = post(server.url("/a%20b?c=d"), "{\"x\": 1}");
  request.headers = {{"Content-Type", "application/x-amz-json-1.1"}, {"X-Empty", ""}};
  auto response = send(std::move(request));
  ASSERT_TRUE(response) << response.error().message;
  EXPECT_THAT(response->body, HasSubstr("POST /a%20b?c=d HTTP/1.1\r\n"));
  EXPECT_THAT(response->body, HasSubstr("Content-Type: application/x-amz-json-1.1\r\n"));
  EXPECT_THAT(response->body, HasSubstr("X-Empty:\r\n"));
  EXPECT_THAT(response->body, HasSubstr("\r\n\r\n{\"x\": 1}"));
}

TEST_F(Http, a_large_post_does_not_wait_for_a_go_ahead) {
  TinyServer server(echo());
  auto request = post(server.url(), std::string(2 << 20, 'x'));
  request.max_response = 4 << 20;
  auto response = send(std::move(request));
  ASSERT_TRUE(response) << response.error().message;
  EXPECT_THAT(response->body.substr(0, 1000), ::testing::Not(HasSubstr("Expect")));
}

TEST_F(Http, a_connection_is_used_again) {
  TinyServer server(echo());
  for (int i = 0; i < 5; ++i) {
    auto response = send(get(server.url()));
    ASSERT_TRUE(response);
    EXPECT_EQ(response->reused, i > 0);
  }
  EXPECT_EQ(server.connections(), 1);
}

TEST_F(Http, a_connection_of_its_own_is_neither_kept_nor_one_that_was_kept) {
  TinyServer server(echo());
  ASSERT_TRUE(send(get(server.url())));
  for (int i = 0; i < 2; ++i) {
    HttpRequest request = post(server.url(), "x");
    request.own_connection = true;
    auto response = send(std::move(request));
    ASSERT_TRUE(response) << response.error().message;
    EXPECT_FALSE(response->reused);
  }
  auto response = send(get(server.url()));
  ASSERT_TRUE(response);
  EXPECT_TRUE(response->reused);  // the first one
  EXPECT_EQ(server.connections(), 3);
}

TEST_F(Http, a_kept_connection_that_the_server_closed_is_no_error) {
  TinyServer server([](auto& connection) {
    connection.read_request();
    connection.reply("200 OK", "x");
  });
  for (int i = 0; i < 3; ++i) {
    auto response = send(get(server.url()));
    ASSERT_TRUE(response) << response.error().message;
  }
  EXPECT_EQ(server.requests(), 3);
}

TEST_F(Http, secrets_travel_in_locked_memory_both_ways) {
  TinyServer server(echo());
  HttpRequest request("POST", server.url(), loop_.now() + 10s);
  request.secret_body = secret("the body");
  request.secret_headers.push_back({"X-Amz-Security-Token", secret("the token")});
  request.secret_response = true;
  auto response = send(std::move(request));
  ASSERT_TRUE(response) << response.error().message;
  EXPECT_TRUE(response->body.empty());
  EXPECT_THAT(std::string(response->text()), HasSubstr("X-Amz-Security-Token: the token\r\n"));
  EXPECT_THAT(std::string(response->text()), HasSubstr("\r\n\r\nthe body"));
}

TEST_F(Http, a_redirect_is_not_followed) {
  TinyServer server([](auto& connection) {
    connection.read_request();
    connection.reply("302 Found", "", "Location: /elsewhere\r\n");
  });
  auto response = send(get(server.url()));
  ASSERT_TRUE(response);
  EXPECT_EQ(response->status, 302);
  EXPECT_EQ(server.requests(), 1);
}

TEST_F(Http, the_environments_proxy_is_not_used_and_the_options_proxy_is) {
  TinyServer proxy(echo());
  setenv("http_proxy", "http://127.0.0.1:1", 1);
  auto direct = send(get(proxy.url("/direct")));
  unsetenv("http_proxy");
  ASSERT_TRUE(direct) << direct.error().message;
  EXPECT_THAT(direct->body, HasSubstr("GET /direct HTTP/1.1"));

  HttpClientOptions options;
  options.http_proxy = proxy.url("");
  auto client = make_client(options);
  auto through = send(*client, get("http://kms.test/through"));
  ASSERT_TRUE(through) << through.error().message;
  EXPECT_THAT(through->body, HasSubstr("GET http://kms.test/through HTTP/1.1"));
}

TEST_F(Http, the_proxy_for_https_is_not_asked_for_http) {
  TinyServer server(echo());
  HttpClientOptions options;
  options.https_proxy = "http://127.0.0.1:1";
  auto client = make_client(options);
  auto direct = send(*client, get(server.url("/direct")));
  ASSERT_TRUE(direct) << direct.error().message;
  EXPECT_THAT(direct->body, HasSubstr("GET /direct HTTP/1.1"));
  auto through = send(*client, get("https://kms.test/through"));
  ASSERT_FALSE(through);
  EXPECT_THAT(through.error().message, HasSubstr("could not connect"));
}

TEST_F(Http, a_line_end_in_a_header_is_refused) {
  TinyServer server(echo());
  auto request = get(server.url());
  request.headers = {{"X-A", "b\r\nX-Evil: c"}};
  auto response = send(std::move(request));
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().code, Code::kInvalid);
}

TEST_F(Http, another_scheme_is_invalid) {
  auto response = send(get("ftp://127.0.0.1/"));
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().code, Code::kInvalid);
}

// ---- failures

TEST_F(Http, a_server_that_never_answers_times_out_at_the_deadline) {
  TinyServer server([](auto& connection) { connection.hang(); });
  auto response = send(get(server.url("/secret-path"), 100ms));
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().code, Code::kTimeout);
  EXPECT_THAT(response.error().message, HasSubstr("127.0.0.1:" + std::to_string(server.port())));
  EXPECT_THAT(response.error().message, HasSubstr("no reply after"));
  EXPECT_THAT(response.error().message, ::testing::Not(HasSubstr("secret-path")));
}

TEST_F(Http, a_reply_that_trickles_times_out_at_the_deadline) {
  TinyServer server([](auto& connection) {
    connection.read_request();
    connection.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx");
    connection.hang();
  });
  auto response = send(get(server.url(), 100ms));
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().code, Code::kTimeout);
}

TEST_F(Http, a_deadline_that_has_passed_sends_nothing) {
  TinyServer server(echo());
  auto response = send(get(server.url(), 0ms));
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().code, Code::kTimeout);
  EXPECT_EQ(server.connections(), 0);
}

TEST_F(Http, a_refused_connection_is_unavailable_and_says_so) {
  int port = 0;
  {
    TinyServer server(echo());
    port = server.port();
  }
  auto response = send(get("http://127.0.0.1:" + std::to_string(port) + "/"));
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().code, Code::kUnavailable);
  EXPECT_THAT(response.error().message, HasSubstr("could not connect: Connection refused"));
}

TEST_F(Http, a_name_that_does_not_resolve_is_unavailable_and_says_so) {
  auto response = send(get("http://no-such-host.invalid/"));
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().code, Code::kUnavailable);
  EXPECT_EQ(response.error().message, "no-such-host.invalid: could not resolve the host name");
}

TEST_F(Http, a_reset_before_the_reply_is_unavailable) {
  TinyServer server([](auto& connection) {
    connection.read_request();
    connection.reset();
  });
  auto response = send(get(server.url()));
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().code, Code::kUnavailable);
}

TEST_F(Http, a_reply_cut_short_is_unavailable_and_gives_no_body) {
  TinyServer server([](auto& connection) {
    connection.read_request();
    connection.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this");
  });
  auto response = send(get(server.url()));
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().code, Code::kUnavailable);
  EXPECT_THAT(response.error().message, HasSubstr("truncated"));
  EXPECT_THAT(response.error().message, ::testing::Not(HasSubstr("only this")));
}

TEST_F(Http, what_does_not_speak_http_is_unavailable_and_not_quoted) {
  TinyServer server([](auto& connection) {
    connection.read_request();
    connection.write("SSH-2.0-OpenSSH_9.2\r\n\r\n");
  });
  auto response = send(get(server.url()));
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().code, Code::kUnavailable);
  EXPECT_THAT(response.error().message, ::testing::Not(HasSubstr("SSH")));
}

class HttpBound : public Http, public ::testing::WithParamInterface<bool> {};

TEST_P(HttpBound, a_reply_larger_than_allowed_is_cut_off) {
  TinyServer server([](auto& connection) {
    connection.read_request();
    connection.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 100000; ++i) connection.write("10\r\n0123456789abcdef\r\n");
  });
  for (const size_t bound : {size_t{0}, size_t{1000}}) {
    auto request = get(server.url());
    request.max_response = bound;
    request.secret_response = GetParam();
    auto response = send(std::move(request));
    ASSERT_FALSE(response);
    EXPECT_EQ(response.error().code, Code::kUnavailable);
    EXPECT_THAT(response.error().message, HasSubstr("larger than the " + std::to_string(bound)));
  }
}
INSTANTIATE_TEST_SUITE_P(SecretOrNot, HttpBound, ::testing::Bool());

TEST_F(Http, a_reply_of_exactly_the_allowed_size_is_taken) {
  TinyServer server([](auto& connection) {
    connection.read_request();
    connection.reply("200 OK", std::string(1000, 'x'));
  });
  auto request = get(server.url());
  request.max_response = 1000;
  EXPECT_TRUE(send(std::move(request)));
}

TEST_F(Http, headers_without_end_are_cut_off) {
  TinyServer server([](auto& connection) {
    connection.read_request();
    connection.write("HTTP/1.1 200 OK\r\n");
    for (int i = 0; i < 100000; ++i) connection.write("X-Header: 0123456789abcdef\r\n");
  });
  auto response = send(get(server.url()));
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().code, Code::kUnavailable);
}

// ---- cancellation and streams

TEST_F(Http, dropping_the_task_closes_the_connection_at_once) {
  TinyServer server([](auto& connection) { connection.hang(); });
  std::optional<TaskGroup<Result<HttpResponse>>> group(std::in_place, loop_);
  group->start(client_->send(get(server.url(), 1h)));
  turn_until([&] { return server.connections() == 1; });
  const auto begin = std::chrono::steady_clock::now();
  group.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 500ms);
  turn_until([&] { return server.closed_by_client() == 1; });
}

TEST_F(Http, a_hung_look_up_neither_outlasts_the_deadline_nor_delays_the_drop) {
  const auto begin = std::chrono::steady_clock::now();
  auto response = send(get("http://hung.test/", 100ms));
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().code, Code::kTimeout);
  EXPECT_THAT(response.error().message, HasSubstr("hung.test: not connected after"));

  std::optional<TaskGroup<Result<HttpResponse>>> group(std::in_place, loop_);
  group->start(client_->send(get("http://hung.test/", 1h)));
  turn_until([] { return hung_look_ups == 2; });
  group.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 2s);

  end_look_ups = true;
  end_look_ups.notify_all();
  turn_until([] { return hung_look_ups == 0; });
  end_look_ups = false;
}

TEST_F(Http, a_stream_hands_over_each_piece_as_it_comes_and_ends_when_dropped) {
  std::promise<void> first_seen;
  TinyServer server([&](auto& connection) {
    connection.read_request();
    connection.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n");
    first_seen.get_future().wait();
    connection.write("3\r\ntwo\r\n");
    connection.hang();
  });
  std::string seen;
  HttpRequest request("POST", server.url(), TimePoint::max());
  request.on_data = [&](std::string_view piece) {
    if (seen.empty()) first_seen.set_value();
    seen += piece;
    return true;
  };
  std::optional<TaskGroup<Result<HttpResponse>>> group(std::in_place, loop_);
  group->start(client_->send(std::move(request)));
  turn_until([&] { return seen == "onetwo"; });
  group.reset();
  turn_until([&] { return server.closed_by_client() == 1; });
}

TEST_F(Http, the_error_body_of_a_refused_stream_is_collected) {
  TinyServer server([](auto& connection) {
    connection.read_request();
    connection.reply("401 Unauthorized", "token expired");
  });
  auto request = get(server.url());
  request.on_data = [](std::string_view) -> bool { std::abort(); };
  auto response = send(std::move(request));
  ASSERT_TRUE(response);
  EXPECT_EQ(response->status, 401);
  EXPECT_EQ(response->body, "token expired");
}

TEST_F(Http, many_requests_at_once_all_finish) {
  TinyServer server(echo());
  TaskGroup<Result<HttpResponse>> group(loop_);
  for (int i = 0; i < 300; ++i) group.start(client_->send(get(server.url())));
  int good = 0;
  while (!group.empty()) {
    auto finished = loop_.run_task(group.next());
    good += finished->value.has_value();
  }
  EXPECT_EQ(good, 300);
  EXPECT_LE(server.connections(), 64);
}

TEST_F(Http, those_who_wait_for_their_turn_in_a_stampede_are_not_taken_for_unconnected) {
  std::atomic<int> asked{0};
  std::promise<void> go;
  std::shared_future<void> gone = go.get_future().share();
  TinyServer server([&](auto& connection) {
    while (!connection.read_request().empty()) {
      ++asked;
      gone.wait();
      connection.reply("200 OK", "");
    }
  });
  HttpClientOptions options;
  options.connect_timeout = 100ms;
  auto client = make_client(options);
  TaskGroup<Result<HttpResponse>> group(loop_);
  for (int i = 0; i < 200; ++i) {
    auto request = get(server.url(), 20s);
    request.secret_response = i % 2 == 0;
    group.start(client->send(std::move(request)));
  }
  turn_until([&] { return asked >= 60; });
  const auto later = std::chrono::steady_clock::now() + 500ms;  // five times the connect time-out
  turn_until([&] { return std::chrono::steady_clock::now() > later; });
  EXPECT_LE(server.connections(), 64);
  go.set_value();
  int good = 0;
  while (!group.empty()) {
    auto finished = loop_.run_task(group.next());
    good += finished->value.has_value();
    if (!finished->value) ADD_FAILURE() << finished->value.error().message;
  }
  EXPECT_EQ(good, 200);
}

}  // namespace
}  // namespace keyfs
