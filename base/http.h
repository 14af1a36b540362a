// HTTP over libcurl, on the loop's thread.
//
//   CurlGlobal curl;                       // first thing in main()
//   CurlPoller poller(curl);
//   Loop loop(clock, poller);
//   auto client = HttpClient::create(loop, poller, arena, options);
//   auto response = co_await (*client)->send(std::move(request));
//
// Thread-safety: CurlPoller::wake() from any thread, all else on the loop's thread.
// Ownership: CurlGlobal outlives every CurlPoller, and everything that libcurl or OpenSSL
// allocated; the poller outlives the loop and the clients; loop and arena outlive the clients, and
// a client its tasks. Blocking: never, except create(). Dropping a task cancels its transfer within
// milliseconds, even during a DNS lookup or a TLS handshake. A hung lookup leaves a thread behind
// until the resolver gives up.
//
// For every request: the server's certificate and host name are verified, TLS is 1.2 or
// newer, redirects are not followed, only the proxy in the options is used, no
// "Expect: 100-continue", no cookies, no compression, only http:// and https://. Connections are
// kept and reused; HTTP/2 is used if the server offers it (ALPN), with many requests on one
// connection.
//
// Errors of a request:
//   kTimeout      the request's deadline passed
//   kUnavailable  the name did not resolve, no connection, reset, reply truncated or larger than
//                 allowed, TLS failed: the message says which, and what to check
//   kInvalid      the URL or an option is wrong
// Messages name the host, never a path, a header or a body.
//
// If a request went out over a kept connection that the server had closed, and no byte of the reply
// has arrived, libcurl sends it once more: so every request may arrive twice (but for
// own_connection), and a failed one may have been carried out.
//
// Secrets: bodies may be SecretBytes in both directions, and header values too; curl and OpenSSL
// get memory functions that wipe whatever they free. HTTP/2 keeps what was last received, and
// headers that were sent, as long as the connection lives: so a request with anything secret in it
// uses HTTP/1.1, with several connections for concurrent requests.
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

// Initializes and cleans up libcurl and OpenSSL. Construct once, in main(), before anything else
// uses OpenSSL: only then can their memory functions be replaced.
class CurlGlobal {
 public:
  CurlGlobal();
  ~CurlGlobal();
  CurlGlobal(const CurlGlobal&) = delete;
  CurlGlobal& operator=(const CurlGlobal&) = delete;

  // False if OpenSSL had already allocated something, so that memory it frees is not wiped.
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
  TimePoint deadline;  // of this attempt, on the loop's clock. TimePoint::max(): none
  std::vector<HttpHeader> headers;
  std::vector<SecretHeader> secret_headers;
  std::string body;         // at most one of the two
  SecretBytes secret_body;  // not copied
  // The reply's body comes in HttpResponse::secret_body.
  bool secret_response = false;
  // Over a connection of its own, so that it arrives once at most.
  bool own_connection = false;
  size_t max_response = size_t{1} << 20;  // bytes of body; a longer one is an error
  // When set, each piece of a 2xx reply's body is handed over as it arrives instead of being
  // collected (max_response then bounds nothing); false ends the transfer with kUnavailable. It is
  // called from inside libcurl: it may take the bytes and wake somebody (OneShot::set,
  // Loop::make_ready, Loop::post), but must neither send nor drop a request.
  std::function<bool(std::string_view piece)> on_data;
};

struct HttpResponse {
  int status = 0;
  std::vector<HttpHeader> headers;  // names in lower case; as received, in order
  std::string body;
  SecretBytes secret_body;  // instead of `body`, if the request asked for it

  bool http2 = false;   // spoken
  bool reused = false;  // used an existing connection
  Duration took{};      // from send() to the last byte

  // The first header of that name (any case), or null.
  const std::string* header(std::string_view name) const;
  // The bytes of whichever body there is. For a secret body the view must not outlive this object.
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
  std::string no_proxy;  // comma separated hosts that are contacted directly
  std::string user_agent = "keyfs";
  bool http2 = true;
};

class HttpClient {
 public:
  // Blocks while it reads the CA file, about 30 ms for the system's. kInvalid for a file that
  // cannot be read or used, kUnavailable without memory.
  static Result<std::unique_ptr<HttpClient>> create(Loop& loop, CurlPoller& poller,
                                                    SecretArena& arena, HttpClientOptions options);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  // The reply. Any HTTP status is a success here: the caller decides what a 503 means. A task, for
  // no longer than the request's deadline; it may wait here for a free connection to the host.
  Task<Result<HttpResponse>> send(HttpRequest request);
  // The same for callers that may send it again: `request` must live until the task is done.
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

// "host" or "host:port" of a URL, for messages; the port only if it is not the scheme's default.
std::string host_of(const std::string& url);

}  // namespace keyfs
