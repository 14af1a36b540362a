// What libcurl and OpenSSL leave behind in memory. The servers are other processes, so every copy
// found is the client's.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>

#include "base/http.h"
#include "support/memory_scan.h"
#include "support/tiny_server.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;
using testing::CertificateOptions;
using testing::make_certificate;
using testing::Needle;
using testing::TestCertificate;
using testing::TinyServer;

// Runs in a process of its own, which ends with this object.
class Child {
 public:
  // `run` tells its port and never returns.
  template <class Run>
  explicit Child(Run run) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) std::abort();
    pid_ = fork();
    if (pid_ == 0) {
      run([&](int port) {
        if (write(ends[1], &port, sizeof port) != sizeof port) _exit(1);
      });
      _exit(0);
    }
    close(ends[1]);
    if (read(ends[0], &port_, sizeof port_) != sizeof port_) std::abort();
    close(ends[0]);
  }
  ~Child() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  int port() const { return port_; }

 private:
  pid_t pid_ = -1;
  int port_ = 0;
};

class HttpMemory : public ::testing::Test {
 protected:
  HttpMemory() {
    char pattern[] = "/tmp/keyfs-http-memory-XXXXXX";
    folder_ = mkdtemp(pattern);
    CertificateOptions ca;
    ca.name = "keyfs test CA";
    ca.is_ca = true;
    ca_ = make_certificate(folder_, "ca", ca);
    CertificateOptions leaf;
    leaf.issuer = &ca_;
    server_ = make_certificate(folder_, "server", leaf);
    HttpClientOptions options;
    options.ca_file = ca_.cert_file;
    auto client = HttpClient::create(loop_, poller_, arena_, options);
    EXPECT_TRUE(client) << client.error().message;
    client_ = std::move(*client);
  }
  ~HttpMemory() override { std::filesystem::remove_all(folder_); }

  // Answers every request with `needle`, among other things, over TLS or not.
  Child serve(bool tls, const Needle& needle, size_t padding) {
    return Child([this, tls, &needle, padding](auto tell_port) {
      const auto answer = [&](TinyServer::Connection& connection) {
        while (!connection.read_request().empty()) {
          connection.reply("200 OK", "{\"Plaintext\":\"" + needle.reveal() + "\",\"pad\":\"" +
                                         std::string(padding, 'x') + "\"}");
        }
      };
      std::optional<TinyServer> server;
      if (tls) {
        server.emplace(answer, TinyServer::Tls{server_, "", 0, false});
      } else {
        server.emplace(answer);
      }
      tell_port(server->port());
      for (;;) pause();
    });
  }

  Result<HttpResponse> send(HttpRequest request) {
    return loop_.run_task(client_->send(std::move(request)));
  }

  std::string folder_;
  CurlGlobal curl_;
  SecretArena arena_;
  SystemClock clock_;
  CurlPoller poller_{curl_};
  Loop loop_{clock_, poller_};
  TestCertificate ca_;
  TestCertificate server_;
  std::unique_ptr<HttpClient> client_;
};

class HttpMemoryOver : public HttpMemory, public ::testing::WithParamInterface<bool> {};

TEST_P(HttpMemoryOver, a_secret_reply_is_gone_once_it_was_dropped) {
  const bool tls = GetParam();
  for (const size_t padding : {0, 100, 20'000, 200'000}) {
    const Needle needle("reply " + std::to_string(padding));
    const Child child = serve(tls, needle, padding);
    ASSERT_EQ(needle.copies(), 0u);
    const std::string url = (tls ? "https" : "http") + std::string("://localhost:") +
                            std::to_string(child.port()) + "/";
    for (int round = 0; round < 2; ++round) {  // on a new connection, and on a kept one
      HttpRequest request("POST", url, loop_.now() + 10s);
      request.secret_response = true;
      auto response = send(std::move(request));
      ASSERT_TRUE(response) << response.error().message;
      EXPECT_EQ(response->reused, round == 1);
      EXPECT_EQ(needle.copies(), 1u);  // the scan finds it while it exists
      response->secret_body.reset();
      EXPECT_EQ(needle.copies(), 0u) << "padding " << padding;
    }
  }
}

TEST_P(HttpMemoryOver, a_secret_that_was_sent_is_gone_once_the_request_is_over) {
  const bool tls = GetParam();
  const Child child = serve(tls, Needle("what the server says"), 0);
  for (const size_t padding : {0, 100, 20'000, 200'000}) {
    const Needle body("body " + std::to_string(padding));
    const Needle header("header " + std::to_string(padding));
    HttpRequest request("POST",
                        (tls ? "https" : "http") + std::string("://localhost:") +
                            std::to_string(child.port()) + "/",
                        loop_.now() + 10s);
    SecretBuffer buffer(arena_);
    {
      std::string text = body.reveal();
      ASSERT_TRUE(buffer.append(text));
      ASSERT_TRUE(buffer.append(std::string(padding, 'x')));
      wipe({reinterpret_cast<uint8_t*>(text.data()), text.size()});
      text = header.reveal();
      request.secret_headers.push_back({"X-Amz-Security-Token", *arena_.copy_of(text)});
      wipe({reinterpret_cast<uint8_t*>(text.data()), text.size()});
    }
    request.secret_body = buffer.take();
    EXPECT_EQ(body.copies(), 1u);
    EXPECT_EQ(header.copies(), 1u);
    auto response = send(std::move(request));
    ASSERT_TRUE(response) << response.error().message;
    EXPECT_EQ(body.copies(), 0u) << "padding " << padding;
    EXPECT_EQ(header.copies(), 0u) << "padding " << padding;
  }
}

INSTANTIATE_TEST_SUITE_P(TlsOrNot, HttpMemoryOver, ::testing::Bool());

// nginx speaks both HTTP/2 and HTTP/1.1, as the client asks.
class HttpTwo : public HttpMemory {
 protected:
  void start_nginx(const Needle& needle) {
    std::ofstream(folder_ + "/secret") << needle.reveal();
    std::ofstream(folder_ + "/open") << "nothing to see";
    // A free port, which nginx takes a moment later.
    {
      TinyServer probe([](auto&) {});
      port_ = probe.port();
    }
    std::ofstream(folder_ + "/nginx.conf")
        << "daemon off; master_process off; pid " << folder_ << "/pid; error_log " << folder_
        << "/error.log;\nevents {}\nhttp { access_log off; client_body_temp_path " << folder_
        << "/t1; proxy_temp_path " << folder_ << "/t2; fastcgi_temp_path " << folder_
        << "/t3; uwsgi_temp_path " << folder_ << "/t4; scgi_temp_path " << folder_
        << "/t5;\nserver { listen 127.0.0.1:" << port_ << " ssl http2; root " << folder_
        << "; ssl_certificate " << server_.cert_file << "; ssl_certificate_key " << server_.key_file
        << "; } }\n";
    pid_ = fork();
    if (pid_ == 0) {
      execlp("nginx", "nginx", "-e", (folder_ + "/error.log").c_str(), "-c",
             (folder_ + "/nginx.conf").c_str(), nullptr);
      execl("/usr/sbin/nginx", "nginx", "-e", (folder_ + "/error.log").c_str(), "-c",
            (folder_ + "/nginx.conf").c_str(), nullptr);
      _exit(127);
    }
  }
  ~HttpTwo() override {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  HttpRequest get(const std::string& path) {
    return HttpRequest("GET", "https://localhost:" + std::to_string(port_) + path,
                       loop_.now() + 10s);
  }
  // Retries until nginx listens.
  Result<HttpResponse> first(const std::string& path) {
    for (const auto give_up = loop_.now() + 10s;;) {
      auto response = send(get(path));
      if (response || loop_.now() > give_up) return response;
      loop_.run_task([](Loop& loop) -> Task<bool> {
        co_await loop.sleep_for(20ms);
        co_return true;
      }(loop_));
    }
  }
  int port_ = 0;
  pid_t pid_ = -1;
};

TEST_F(HttpTwo, http2_is_spoken_where_it_is_offered_on_one_connection) {
  start_nginx(Needle("unused"));
  auto response = first("/open");
  ASSERT_TRUE(response) << response.error().message;
  EXPECT_TRUE(response->http2);
  for (int i = 0; i < 3; ++i) {
    auto again = send(get("/open"));
    ASSERT_TRUE(again);
    EXPECT_TRUE(again->http2);
    EXPECT_TRUE(again->reused);
  }
}

TEST_F(HttpTwo, a_secret_reply_goes_by_http_1_even_where_an_http2_connection_is_there) {
  const Needle needle("over http2 or not");
  start_nginx(needle);
  ASSERT_TRUE(first("/open"));
  for (int round = 0; round < 2; ++round) {
    auto request = get("/secret");
    request.secret_response = true;
    auto response = send(std::move(request));
    ASSERT_TRUE(response) << response.error().message;
    EXPECT_FALSE(response->http2);
    EXPECT_EQ(response->reused, round == 1);
    EXPECT_EQ(needle.copies(), 1u);
    response->secret_body.reset();
    EXPECT_EQ(needle.copies(), 0u);
  }
  auto again = send(get("/open"));
  ASSERT_TRUE(again);
  EXPECT_TRUE(again->http2);
}

}  // namespace
}  // namespace keyfs
