// base/http over TLS: who is trusted, and the messages if nobody is.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>

#include "base/http.h"
#include "base/http_fixture.h"
#include "base/race.h"
#include "support/tiny_server.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;
using testing::CertificateOptions;
using testing::echo;
using ::testing::HasSubstr;
using testing::Http;
using testing::make_certificate;
using testing::TestCertificate;
using testing::TinyServer;

class HttpTls : public Http {
 protected:
  HttpTls() {
    CertificateOptions ca;
    ca.name = "keyfs test CA";
    ca.is_ca = true;
    ca_ = make_certificate(folder_, "ca", ca);
    other_ca_ = make_certificate(folder_, "other-ca", ca);
    server_ = issue("server", {});
  }
  TestCertificate issue(const std::string& stem, CertificateOptions options) {
    options.issuer = &ca_;
    return make_certificate(folder_, stem, options);
  }
  std::unique_ptr<HttpClient> trusting(const std::string& ca_file) {
    HttpClientOptions options;
    options.ca_file = ca_file;
    return make_client(options);
  }
  TestCertificate ca_;
  TestCertificate other_ca_;
  TestCertificate server_;
};

TEST_F(HttpTls, a_server_of_the_right_ca_is_trusted) {
  TinyServer server(echo(), {server_, "", 0, false});
  auto client = trusting(ca_.cert_file);
  auto response = send(*client, get(server.url()));
  ASSERT_TRUE(response) << response.error().message;
  EXPECT_EQ(response->status, 200);
}

TEST_F(HttpTls, a_server_of_another_ca_is_not_and_the_message_names_the_ca_file) {
  TinyServer server(echo(), {server_, "", 0, false});
  auto client = trusting(other_ca_.cert_file);
  auto response = send(*client, get(server.url()));
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().code, Code::kUnavailable);
  EXPECT_THAT(response.error().message,
              HasSubstr("is not trusted by the CA file " + other_ca_.cert_file));
}

TEST_F(HttpTls, a_client_never_gets_a_connection_that_another_ca_vouched_for) {
  TinyServer server(echo(), {server_, "", 0, false});
  auto trusts = trusting(ca_.cert_file);
  auto does_not = trusting(other_ca_.cert_file);
  ASSERT_TRUE(send(*trusts, get(server.url())));
  EXPECT_FALSE(send(*does_not, get(server.url())));
  EXPECT_FALSE(send(*client_, get(server.url())));  // the system's CAs
}

TEST_F(HttpTls, a_certificate_for_another_host_is_refused_and_the_message_says_so) {
  CertificateOptions other;
  other.name = "other.test";
  TinyServer server(echo(), {issue("other", other), "", 0, false});
  auto client = trusting(ca_.cert_file);
  auto response = send(*client, get(server.url()));
  ASSERT_FALSE(response);
  EXPECT_THAT(response.error().message, HasSubstr("not for this host name: localhost"));
}

TEST_F(HttpTls, an_expired_certificate_is_refused_and_the_message_says_so) {
  CertificateOptions expired;
  expired.valid_from_days = -10;
  expired.valid_to_days = -1;
  TinyServer server(echo(), {issue("expired", expired), "", 0, false});
  auto client = trusting(ca_.cert_file);
  auto response = send(*client, get(server.url()));
  ASSERT_FALSE(response);
  EXPECT_THAT(response.error().message, HasSubstr("has expired"));
}

TEST_F(HttpTls, tls_older_than_1_2_is_refused) {
  TinyServer server(echo(), {server_, "", TLS1_1_VERSION, false});
  auto client = trusting(ca_.cert_file);
  auto response = send(*client, get(server.url()));
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().code, Code::kUnavailable);
}

TEST_F(HttpTls, plain_http_on_a_tls_request_fails_clearly) {
  TinyServer server([](auto& connection) { connection.reply("400 Bad Request", ""); });
  auto response = send(get("https://127.0.0.1:" + std::to_string(server.port()) + "/"));
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().code, Code::kUnavailable);
  EXPECT_THAT(response.error().message, HasSubstr("TLS handshake failed"));
}

TEST_F(HttpTls, a_client_certificate_is_shown_when_configured) {
  TinyServer server(echo(), {server_, ca_.cert_file, 0, false});
  auto without = trusting(ca_.cert_file);
  EXPECT_FALSE(send(*without, get(server.url())));
  const auto mine = issue("client", {});
  HttpClientOptions options;
  options.ca_file = ca_.cert_file;
  options.client_cert = mine.cert_file;
  options.client_key = mine.key_file;
  auto client = make_client(options);
  auto response = send(*client, get(server.url()));
  ASSERT_TRUE(response) << response.error().message;
}

TEST_F(HttpTls, a_hanging_handshake_ends_with_the_connect_time_out) {
  TinyServer server(echo(), {server_, "", 0, true});
  HttpClientOptions options;
  options.ca_file = ca_.cert_file;
  options.connect_timeout = 100ms;
  auto client = make_client(options);
  auto response = send(*client, get(server.url()));
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().code, Code::kUnavailable);
  EXPECT_THAT(response.error().message, HasSubstr("no connection within 100ms"));
}

TEST_F(HttpTls, dropping_the_task_in_mid_handshake_takes_no_time) {
  TinyServer server(echo(), {server_, "", 0, true});
  auto client = trusting(ca_.cert_file);
  std::optional<TaskGroup<Result<HttpResponse>>> group(std::in_place, loop_);
  group->start(client->send(get(server.url(), 1h)));
  turn_until([&] { return server.connections() == 1; });
  const auto begin = std::chrono::steady_clock::now();
  group.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 500ms);
  turn_until([&] { return server.closed_by_client() == 1; });
}

TEST_F(HttpTls, a_ca_file_that_is_none_is_told_at_once) {
  HttpClientOptions options;
  options.ca_file = folder_ + "/absent.pem";
  auto absent = HttpClient::create(loop_, poller_, arena_, options);
  ASSERT_FALSE(absent);
  EXPECT_EQ(absent.error().message, "CA file " + options.ca_file + ": cannot be read");
  options.ca_file = ca_.key_file;
  auto wrong = HttpClient::create(loop_, poller_, arena_, options);
  ASSERT_FALSE(wrong);
  EXPECT_THAT(wrong.error().message, HasSubstr("no PEM certificate"));
}

}  // namespace
}  // namespace keyfs
