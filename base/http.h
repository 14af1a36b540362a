// HTTP over libcurl, on the loop's thread.
//
//   CurlGlobal curl;                       // first thing in main()
//   CurlPoller poller(curl);
//   Loop loop(clock, poller);
//   auto client = HttpClient::create(loop, poller, arena, options);
//   auto response = co_await (*client)->send(std::move(request));
//
// Thread-safety: CurlPoller::wake() from any thread, all else on the loop's thread.
// Ownership: CurlGlobal outlives every CurlPoller, and what libcurl or OpenSSL allocated; the
// poller outlives the loop and the clients; loop and arena outlive the clients, and a client its
// tasks. Blocking: never, except HttpClient::create, which reads the CA file (some 30 ms for the
// system's). Dropping a task cancels its transfer within milliseconds, also during a DNS look-up
// or a TLS handshake. A hung look-up leaves a thread behind until the resolver gives up.
//
// What holds for every request: the server's certificate and host name are verified, TLS is 1.2 or
// newer, redirects are not followed, no proxy is used but the one in the options, no
// "Expect: 100-continue", no cookies, no compression, only http:// and https://. Connections are
// kept and used again; HTTP/2 is spoken where the server offers it (ALPN), many requests on one
// connection.
//
// Any HTTP status is a success here: what a 503 means is the caller's business. Errors:
//   kTimeout      the request's deadline passed
//   kUnavailable  the name did not resolve, no connection, reset, reply cut short or larger than
//                 allowed, TLS failed: the message says which, and what to look at
//   kInvalid      the URL or an option is wrong
// Messages name the host, never a path, a header or a body.
//
// A request that went out over a kept connection which the server had closed in the meantime is
// sent once more by libcurl when not one byte of the reply has come: so every request may arrive
// twice, and one that failed may have been carried out.
//
// Secrets: bodies may be SecretBytes in both directions, and header values too; curl and OpenSSL
// get memory functions that wipe whatever they free. HTTP/2 keeps what was last received, and
// headers that were sent, for as long as the connection lives: so a request that has anything
// secret about it goes by HTTP/1.1, over several connections when there are several at once.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/fair_turns.h"
#include "base/loop.h"
#include "base/result.h"
#include "base/secret.h"
#include "base/task.h"

namespace keyfs {

// libcurl's and OpenSSL's start and end. Built once, in main(), before anything else uses OpenSSL:
// their memory functions can only be replaced then.
class CurlGlobal {
 public:
  CurlGlobal();
  ~CurlGlobal();
  CurlGlobal(const CurlGlobal&) = delete;
  CurlGlobal& operator=(const CurlGlobal&) = delete;

  // False when OpenSSL had already allocated something, so that what it frees is not wiped.
  bool wipes_openssl() const { return wipes_openssl_; }

 private:
  bool wipes_openssl_ = false;
};

// Sleeps in curl_multi_poll and drives all transfers.
class CurlPoller final : public Poller {
 public:
  explicit CurlPoller(CurlGlobal& global);
  ~CurlPoller() override;

  void wait(std::optional<Duration> timeout) override;
  void wake() override;

 private:
  friend class HttpClient;
  friend class HttpTransfer;
  struct State;
  std::unique_ptr<State> state_;
};

struct HttpHeader {
  std::string name;
  std::string value;
};

struct SecretHeader {
  std::string name;
  SecretBytes value;
};

struct HttpRequest {
  HttpRequest(std::string request_method, std::string request_url, TimePoint request_deadline)
      : method(std::move(request_method)),
        url(std::move(request_url)),
        deadline(request_deadline) {}

  std::string method;  // "GET", "POST"...
  std::string url;     // absolute; must be percent-encoded already
  TimePoint deadline;  // of this attempt, by the loop's clock. TimePoint::max(): none
  std::vector<HttpHeader> headers;
  std::vector<SecretHeader> secret_headers;
  std::string body;         // at most one of the two
  SecretBytes secret_body;  // not copied
  // The reply's body comes in HttpResponse::secret_body.
  bool secret_response = false;
  size_t max_response = size_t{1} << 20;  // bytes of body; more is an error
  // When set, each piece of a 2xx reply's body is handed over as it arrives instead of being
  // collected (max_response then bounds nothing); false ends the transfer with kUnavailable. It is
  // called from inside libcurl: it takes the bytes and wakes somebody (OneShot::set,
  // Loop::make_ready, Loop::post), and neither sends nor drops a request itself.
  std::function<bool(std::string_view piece)> on_data;
};

struct HttpResponse {
  int status = 0;
  std::vector<HttpHeader> headers;  // names in lower case; as received, in order
  std::string body;
  SecretBytes secret_body;  // instead of `body`, when the request said so

  bool http2 = false;   // spoken
  bool reused = false;  // went over a connection that was already there
  Duration took{};      // from send() to the last byte

  // The first header of that name (any case), or null.
  const std::string* header(std::string_view name) const;
  // Of whichever body there is. Whoever calls it on a secret body must not let it outlive this.
  std::string_view text() const { return body.empty() ? secret_body.reveal_text() : body; }
};

struct HttpClientOptions {
  std::chrono::milliseconds connect_timeout{2000};  // DNS, TCP and TLS together
  std::string ca_file;                              // PEM; empty: the system's
  std::string client_cert;                          // PEM file; empty: none
  std::string client_key;                           // PEM file, not encrypted
  // Of https:// and of http:// URLs: http://proxy:3128; empty: none, whatever the environment says.
  std::string https_proxy;
  std::string http_proxy;
  std::string no_proxy;  // comma separated hosts that are asked directly
  std::string user_agent = "keyfs";
  bool http2 = true;
};

class HttpClient {
 public:
  static Result<std::unique_ptr<HttpClient>> create(Loop& loop, CurlPoller& poller,
                                                    SecretArena& arena, HttpClientOptions options);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  Task<Result<HttpResponse>> send(HttpRequest request);
  // The same for one who may want to send it again: `request` must live until the task is done.
  Task<Result<HttpResponse>> exchange(HttpRequest& request);

  Loop& loop() { return loop_; }
  SecretArena& arena() { return arena_; }
  const HttpClientOptions& options() const { return options_; }

 private:
  friend class HttpTransfer;
  struct Trust;
  HttpClient(Loop& loop, CurlPoller& poller, SecretArena& arena, HttpClientOptions options);

  Task<Result<FairTurns::Turn>> take_turn(const HttpRequest& request);

  Loop& loop_;
  CurlPoller& poller_;
  SecretArena& arena_;
  HttpClientOptions options_;
  std::shared_ptr<Trust> trust_;
  std::map<std::string, FairTurns, std::less<>> turns_;  // by scheme, host and port
};

// "host" or "host:port" of a URL, for messages; the port only where it is not the scheme's own.
std::string host_of(const std::string& url);

}  // namespace keyfs
