#include "base/http.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>
#include <limits>
#include <tuple>

#include "base/curl_handles.h"
#include "base/race.h"
#include "base/text.h"

namespace keyfs {
namespace {

constexpr size_t kMaxHeaderBytes = 64 * 1024;

// A line end in a header would make two headers of it.
bool header_safe(std::string_view text) {
  return text.find_first_of(std::string_view("\r\n\0", 3)) == std::string_view::npos;
}

bool is_http(std::string_view url) {
  const std::string scheme = lower(url.substr(0, 8));
  return scheme.starts_with("http://") || scheme == "https://";
}

// What OpenSSL found wrong with a server's certificate. Shared with the SSL_CTX, since a connection
// may outlive the transfer that opened it.
using VerifyError = std::shared_ptr<int>;

int verify_error_index() {
  static const int index = SSL_CTX_get_ex_new_index(
      0, nullptr, nullptr, nullptr, [](void*, void* value, CRYPTO_EX_DATA*, int, long, void*) {
        delete static_cast<VerifyError*>(value);
      });
  return index;
}

int note_verify_error(int ok, X509_STORE_CTX* store_ctx) {
  if (ok == 1) return 1;
  const auto* ssl = static_cast<SSL*>(
      X509_STORE_CTX_get_ex_data(store_ctx, SSL_get_ex_data_X509_STORE_CTX_idx()));
  auto* note =
      static_cast<VerifyError*>(SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), verify_error_index()));
  if (note != nullptr && **note == X509_V_OK) **note = X509_STORE_CTX_get_error(store_ctx);
  return 0;
}

}  // namespace

const std::string* HttpResponse::header(std::string_view name) const {
  const std::string wanted = lower(name);
  for (const auto& header : headers) {
    if (header.name == wanted) return &header.value;
  }
  return nullptr;
}

std::string host_of(const std::string& url) {
  CurlUrl parsed(curl_url());
  char* part = nullptr;
  if (!parsed || curl_url_set(parsed.get(), CURLUPART_URL, url.c_str(), 0) != CURLUE_OK ||
      curl_url_get(parsed.get(), CURLUPART_HOST, &part, 0) != CURLUE_OK) {
    return "(not a URL)";
  }
  CurlText host(part);
  std::string out = host.get();
  if (curl_url_get(parsed.get(), CURLUPART_PORT, &part, CURLU_NO_DEFAULT_PORT) == CURLUE_OK) {
    CurlText port(part);
    out += std::string(":") + port.get();
  }
  return out;
}

// One request that curl is running; destroying it removes it from curl.
class HttpTransfer final : public CurlDone {
 public:
  HttpTransfer(HttpClient& client, HttpRequest& request)
      : client_(client),
        request_(request),
        finished_(client.loop_),
        expire_(*this),
        timer_(client.loop_),
        collected_(client.arena_) {}

  ~HttpTransfer() {
    if (added_) curl_multi_remove_handle(client_.poller_.state_->multi.get(), easy_.get());
  }

  Result<void> start();
  OneShot<CURLcode>& finished() { return finished_; }
  Result<HttpResponse> result(CURLcode code);

 private:
  // The deadline passed; reported as a code that curl never returns here.
  static constexpr CURLcode kDeadline = CURLE_ABORTED_BY_CALLBACK;

  struct Expire : Ready {
    explicit Expire(HttpTransfer& owner)
        : Ready([](Ready& self) { static_cast<Expire&>(self).transfer->finished_.set(kDeadline); }),
          transfer(&owner) {}
    HttpTransfer* transfer;
  };

  void done(CURLcode code) override { finished_.set(code); }

  std::string host() const { return host_of(request_.url); }  // for messages

  Result<void> add_headers();
  void set_body();
  void set_tls();
  static size_t on_header(char* data, size_t size, size_t count, void* self);
  static size_t on_body(char* data, size_t size, size_t count, void* self);
  static CURLcode on_ssl_ctx(CURL* easy, void* ctx, void* self);
  bool take_header(std::string_view line);
  bool take_body(std::string_view piece);
  bool streams() const { return request_.on_data && response_.status / 100 == 2; }
  // Ends the transfer from within a callback; curl then reports a write error.
  bool give_up(Error error) {
    own_error_.emplace(std::move(error));
    return false;
  }

  HttpClient& client_;
  HttpRequest& request_;
  OneShot<CURLcode> finished_;
  Expire expire_;
  Timer timer_;
  SecretBuffer collected_;
  HttpResponse response_;
  size_t header_bytes_ = 0;
  std::optional<Error> own_error_;
  VerifyError verify_error_ = std::make_shared<int>(X509_V_OK);
  TimePoint begin_{};
  CurlList headers_;  // curl refers to it
  CurlEasy easy_;
  bool added_ = false;
};

Result<void> HttpTransfer::start() {
  const HttpClientOptions& options = client_.options_;
  begin_ = client_.loop_.now();
  if (request_.deadline <= begin_) {
    return fail(Code::kTimeout, host() + ": no time was left to ask");
  }
  if (!is_http(request_.url)) {
    return fail(Code::kInvalid, host() + ": not an http:// or https:// URL");
  }
  easy_.reset(curl_easy_init());
  if (!easy_) return fail(Code::kUnavailable, host() + ": out of memory");
  CURL* easy = easy_.get();
  const auto set = [easy](CURLoption option, auto value) { curl_easy_setopt(easy, option, value); };
  set(CURLOPT_URL, request_.url.c_str());
  set(CURLOPT_PROTOCOLS_STR, "http,https");
  set(CURLOPT_FOLLOWLOCATION, 0L);
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_QUICK_EXIT, 1L);  // removal must not wait for a hung DNS lookup
  set(CURLOPT_TCP_KEEPALIVE, 1L);
  set(CURLOPT_TCP_KEEPIDLE, 30L);
  set(CURLOPT_TCP_KEEPINTVL, 10L);
  set(CURLOPT_MAXAGE_CONN, 300L);
  set(CURLOPT_FRESH_CONNECT, request_.own_connection ? 1L : 0L);
  set(CURLOPT_FORBID_REUSE, request_.own_connection ? 1L : 0L);
  set(CURLOPT_CONNECTTIMEOUT_MS, std::max(1L, static_cast<long>(options.connect_timeout.count())));
  const bool https = lower(std::string_view(request_.url).substr(0, 6)) == "https:";
  // "" also means: do not use the environment's.
  set(CURLOPT_PROXY, (https ? options.https_proxy : options.http_proxy).c_str());
  set(CURLOPT_NOPROXY, options.no_proxy.c_str());
  set(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  set(CURLOPT_USERAGENT, options.user_agent.c_str());
  const bool secret =
      request_.secret_response || !request_.secret_body.empty() || !request_.secret_headers.empty();
  const bool http2 = options.http2 && !secret;
  set(CURLOPT_HTTP_VERSION, http2 ? long{CURL_HTTP_VERSION_2TLS} : long{CURL_HTTP_VERSION_1_1});
  set(CURLOPT_PIPEWAIT, http2 && https ? 1L : 0L);
  set(CURLOPT_SHARE, client_.poller_.state_->share.get());
  set(CURLOPT_PRIVATE, static_cast<CurlDone*>(this));
  set(CURLOPT_HEADERFUNCTION, &HttpTransfer::on_header);
  set(CURLOPT_HEADERDATA, this);
  set(CURLOPT_WRITEFUNCTION, &HttpTransfer::on_body);
  set(CURLOPT_WRITEDATA, this);
  set_tls();
  set_body();
  if (auto ok = add_headers(); !ok) return ok;

  const CURLMcode added = curl_multi_add_handle(client_.poller_.state_->multi.get(), easy);
  if (added != CURLM_OK) {
    return fail(Code::kUnavailable, host() + ": " + curl_multi_strerror(added));
  }
  added_ = true;
  client_.poller_.state_->added = true;
  if (request_.deadline != TimePoint::max()) timer_.start(request_.deadline, expire_);
  return {};
}

void HttpTransfer::set_tls() {
  const HttpClientOptions& options = client_.options_;
  CURL* easy = easy_.get();
  curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
  curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
  curl_easy_setopt(easy, CURLOPT_SSLVERSION, long{CURL_SSLVERSION_TLSv1_2});
  // curl would read the whole CA file for each connection. It gets our store instead (on_ssl_ctx).
  // CAPATH, which OpenSSL reads only when it looks for a certificate there, merely makes curl's
  // connection cache distinguish connections by CA file.
  curl_easy_setopt(easy, CURLOPT_CAINFO, nullptr);
  curl_easy_setopt(easy, CURLOPT_CAPATH, client_.trust_->file.c_str());
  curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, &HttpTransfer::on_ssl_ctx);
  curl_easy_setopt(easy, CURLOPT_SSL_CTX_DATA, this);
  if (!options.client_cert.empty()) {
    curl_easy_setopt(easy, CURLOPT_SSLCERT, options.client_cert.c_str());
    curl_easy_setopt(easy, CURLOPT_SSLKEY, options.client_key.c_str());
  }
}

CURLcode HttpTransfer::on_ssl_ctx(CURL*, void* ctx, void* self) {
  auto* transfer = static_cast<HttpTransfer*>(self);
  auto* ssl_ctx = static_cast<SSL_CTX*>(ctx);
  SSL_CTX_set1_cert_store(ssl_ctx, transfer->client_.trust_->store.get());
  SSL_CTX_set_options(ssl_ctx, SSL_OP_CLEANSE_PLAINTEXT);
  auto note = std::make_unique<VerifyError>(transfer->verify_error_);
  if (SSL_CTX_set_ex_data(ssl_ctx, verify_error_index(), note.get()) != 1) {
    return CURLE_OUT_OF_MEMORY;
  }
  (void)note.release();  // the SSL_CTX deletes it
  SSL_CTX_set_verify(ssl_ctx, SSL_VERIFY_PEER, note_verify_error);
  return CURLE_OK;
}

void HttpTransfer::set_body() {
  CURL* easy = easy_.get();
  const std::string_view body =
      request_.secret_body.empty() ? request_.body : request_.secret_body.reveal_text();
  if (request_.method == "HEAD") {
    curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
  } else if (request_.method != "GET" || !body.empty()) {
    curl_easy_setopt(easy, CURLOPT_POST, 1L);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body.size()));
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body.empty() ? "" : body.data());  // not copied
  }
  curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request_.method.c_str());
}

Result<void> HttpTransfer::add_headers() {
  const auto append = [this](const char* line) {
    curl_slist* list = curl_slist_append(headers_.get(), line);
    if (list == nullptr) return false;
    (void)headers_.release();
    headers_.reset(list);
    return true;
  };
  const auto out_of_memory = [this] {
    return fail(Code::kUnavailable, host() + ": out of memory");
  };
  bool content_type = false;
  for (const auto& header : request_.headers) {
    if (!header_safe(header.name) || !header_safe(header.value)) {
      return fail(Code::kInvalid, host() + ": a line end in the header " + header.name);
    }
    content_type = content_type || lower(header.name) == "content-type";
    // "Name:" would remove the header; "Name;" sends it empty.
    const std::string line =
        header.value.empty() ? header.name + ";" : header.name + ": " + header.value;
    if (!append(line.c_str())) return out_of_memory();
  }
  for (const auto& header : request_.secret_headers) {
    if (!header_safe(header.name) || !header_safe(header.value.reveal_text())) {
      return fail(Code::kInvalid, host() + ": a line end in the header " + header.name);
    }
    SecretBuffer line(client_.arena_);
    auto ok = line.append(header.name + ": ")
                  .and_then([&] { return line.append(header.value.reveal_text()); })
                  .and_then([&] { return line.append(std::string_view("\0", 1)); });
    if (!ok) return fail(ok.error());
    if (!append(line.reveal_text().data())) return out_of_memory();
  }
  if (!append("Expect:") || (!content_type && !append("Content-Type:"))) return out_of_memory();
  curl_easy_setopt(easy_.get(), CURLOPT_HTTPHEADER, headers_.get());
  return {};
}

size_t HttpTransfer::on_header(char* data, size_t size, size_t count, void* self) {
  const std::string_view line(data, size * count);
  return static_cast<HttpTransfer*>(self)->take_header(line) ? line.size() : 0;
}

bool HttpTransfer::take_header(std::string_view line) {
  header_bytes_ += line.size();
  if (header_bytes_ > kMaxHeaderBytes) {
    return give_up(Error(Code::kUnavailable, host() + ": the reply's headers are too large"));
  }
  while (!line.empty() && (line.back() == '\r' || line.back() == '\n')) line.remove_suffix(1);
  if (line.starts_with("HTTP/")) {  // the final reply after a 1xx starts over
    response_.headers.clear();
    return true;
  }
  if (line.empty()) {
    long status = 0;
    curl_easy_getinfo(easy_.get(), CURLINFO_RESPONSE_CODE, &status);
    response_.status = static_cast<int>(status);
    return true;
  }
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos) return true;
  std::string_view value = line.substr(colon + 1);
  while (!value.empty() && (value.front() == ' ' || value.front() == '\t')) value.remove_prefix(1);
  while (!value.empty() && (value.back() == ' ' || value.back() == '\t')) value.remove_suffix(1);
  response_.headers.push_back({lower(line.substr(0, colon)), std::string(value)});
  return true;
}

size_t HttpTransfer::on_body(char* data, size_t size, size_t count, void* self) {
  const std::string_view piece(data, size * count);
  return static_cast<HttpTransfer*>(self)->take_body(piece) ? piece.size() : 0;
}

bool HttpTransfer::take_body(std::string_view piece) {
  if (streams()) {
    if (request_.on_data(piece)) return true;
    return give_up(Error(Code::kUnavailable, host() + ": the stream was closed on this side"));
  }
  const size_t so_far = request_.secret_response ? collected_.size() : response_.body.size();
  if (piece.size() > request_.max_response - std::min(so_far, request_.max_response)) {
    return give_up(Error(Code::kUnavailable, host() + ": the reply is larger than the " +
                                                 std::to_string(request_.max_response) +
                                                 " bytes allowed"));
  }
  if (!request_.secret_response) {
    response_.body.append(piece);
    return true;
  }
  if (auto ok = collected_.append(piece); !ok) return give_up(ok.error().within(host()));
  return true;
}

Result<HttpResponse> HttpTransfer::result(CURLcode code) {
  timer_.cancel();
  const Duration took = client_.loop_.now() - begin_;
  if (own_error_) return fail(*own_error_);
  if (code == kDeadline) {
    // What it was waiting for helps to distinguish a dead network from a slow server.
    curl_off_t connected = 0;
    curl_easy_getinfo(easy_.get(), CURLINFO_PRETRANSFER_TIME_T, &connected);
    return fail(
        Code::kTimeout,
        host() + (connected == 0 ? ": not connected after " : ": no reply after ") + to_text(took));
  }
  if (code != CURLE_OK) {
    return fail(http_error(easy_.get(), code, *verify_error_, host(), client_.options_));
  }
  long version = 0;
  long connects = 0;
  long status = 0;
  curl_easy_getinfo(easy_.get(), CURLINFO_HTTP_VERSION, &version);
  curl_easy_getinfo(easy_.get(), CURLINFO_NUM_CONNECTS, &connects);
  curl_easy_getinfo(easy_.get(), CURLINFO_RESPONSE_CODE, &status);
  response_.status = static_cast<int>(status);
  response_.http2 = version == CURL_HTTP_VERSION_2_0;
  response_.reused = connects == 0;
  response_.took = took;
  if (request_.secret_response) response_.secret_body = collected_.take();
  return std::move(response_);
}

HttpClient::HttpClient(Loop& loop, CurlPoller& poller, SecretArena& arena,
                       HttpClientOptions options)
    : loop_(loop), poller_(poller), arena_(arena), options_(std::move(options)) {}

HttpClient::~HttpClient() = default;

Result<std::unique_ptr<HttpClient>> HttpClient::create(Loop& loop, CurlPoller& poller,
                                                       SecretArena& arena,
                                                       HttpClientOptions options) {
  auto trust = std::make_shared<Trust>();
  trust->file = options.ca_file;
  if (trust->file.empty()) {
    const char* system_file = curl_version_info(CURLVERSION_NOW)->cainfo;
    trust->file = system_file != nullptr ? system_file : X509_get_default_cert_file();
  }
  trust->store.reset(X509_STORE_new());
  if (!trust->store) return fail(Code::kUnavailable, "out of memory");
  const auto readable = [](const std::string& path) { return std::ifstream(path).good(); };
  ERR_clear_error();
  if (X509_STORE_load_file(trust->store.get(), trust->file.c_str()) != 1) {
    ERR_clear_error();
    if (!options.ca_file.empty()) {
      return fail(Code::kInvalid,
                  "CA file " + trust->file +
                      (readable(trust->file) ? ": no PEM certificate in it" : ": cannot be read"));
    }
    // A machine without CA certificates (plain HTTP to a local endpoint) gets an error only if it
    // matters.
  }
  for (const auto* path : {&options.client_cert, &options.client_key}) {
    if (!path->empty() && !readable(*path)) return fail(Code::kInvalid, *path + ": cannot be read");
  }
  if (options.client_cert.empty() != options.client_key.empty()) {
    return fail(Code::kInvalid, "a client certificate and its key go together");
  }
  std::unique_ptr<HttpClient> client(new HttpClient(loop, poller, arena, std::move(options)));
  client->trust_ = std::move(trust);
  return client;
}

Task<Result<HttpResponse>> HttpClient::send(HttpRequest request) {
  co_return co_await exchange(request);
}

// A stampede waits for its turn rather than open a connection for each request. curl has such a
// limit as well (CURLMOPT_MAX_HOST_CONNECTIONS), but 8.14 counts the waiting as time to connect in,
// so that those who wait would fail as if nobody could be reached.
Task<Result<FairTurns::Turn>> HttpClient::take_turn(const HttpRequest& request) {
  constexpr size_t kAtOnce = 64;                     // to one host
  if (request.on_data) co_return FairTurns::Turn();  // a stream would keep it for ever
  const std::string_view origin(request.url.data(),
                                std::min(request.url.find('/', 8), request.url.size()));
  auto turns = turns_.find(origin);
  if (turns == turns_.end()) {
    turns = turns_
                .emplace(std::piecewise_construct, std::forward_as_tuple(origin),
                         std::forward_as_tuple(loop_, kAtOnce, FairTurns::Shares::kNone))
                .first;
  }
  FairTurns::Ticket ticket(std::nullopt);
  if (turns->second.free() > 0) co_return co_await turns->second.take(ticket);
  TaskGroup<FairTurns::Turn> waiting(loop_);
  waiting.start(turns->second.take(ticket));
  auto taken = co_await waiting.next(request.deadline);
  if (!taken) {
    co_return fail(Code::kTimeout, host_of(request.url) + ": " + std::to_string(kAtOnce) +
                                       " requests to it were under way all the time");
  }
  co_return std::move(taken->value);
}

Task<Result<HttpResponse>> HttpClient::exchange(HttpRequest& request) {
  const auto turn = co_await take_turn(request);
  if (!turn) co_return fail(turn.error());
  HttpTransfer transfer(*this, request);
  if (auto ok = transfer.start(); !ok) co_return fail(ok.error());
  const CURLcode code = co_await transfer.finished();
  co_return transfer.result(code);
}

}  // namespace keyfs
