// A server on 127.0.0.1 that the test scripts completely: it reads requests and answers, cuts,
// hangs or resets. One thread per server, one per connection.
#pragma once

#include <openssl/ssl.h>

#include <atomic>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace keyfs::testing {

// A CA, or a certificate that it signed, each in its own files.
struct TestCertificate {
  std::string cert_file;
  std::string key_file;
};
struct CertificateOptions {
  std::string name = "localhost";  // of the subject, and DNS and IP alternative name
  bool is_ca = false;
  const TestCertificate* issuer = nullptr;  // null: self-signed
  int valid_from_days = -1;
  int valid_to_days = 30;
};
// In `folder`, which must exist.
TestCertificate make_certificate(const std::string& folder, const std::string& stem,
                                 const CertificateOptions& options);

class TinyServer {
 public:
  class Connection {
   public:
    // The next request with its body (Content-Length), or empty at the end of the connection.
    std::string read_request();
    void write(std::string_view bytes);
    // "HTTP/1.1 <status>", Content-Length, the headers, the body.
    void reply(std::string_view status, std::string_view body, std::string_view headers = "");
    // Sends RST instead of FIN.
    void reset();
    // Waits until the other side or the server closes.
    void hang();
    int number() const { return number_; }  // from 1, in the order of accept

   private:
    friend class TinyServer;
    ssize_t read_some(char* data, size_t size);
    TinyServer* server_ = nullptr;
    int fd_ = -1;
    int number_ = 0;
    SSL* ssl_ = nullptr;
    std::string pending_;
  };
  using Serve = std::function<void(Connection&)>;

  struct Tls {
    TestCertificate certificate;
    std::string client_ca_file;  // asks for a client certificate signed by it
    int max_version = 0;         // e.g. TLS1_1_VERSION
    bool hang_in_handshake = false;
  };

  explicit TinyServer(Serve serve);
  TinyServer(Serve serve, Tls tls);
  ~TinyServer();
  TinyServer(const TinyServer&) = delete;
  TinyServer& operator=(const TinyServer&) = delete;

  int port() const { return port_; }
  std::string url(std::string_view path = "/") const;
  int connections() const { return accepted_; }
  int requests() const { return requests_; }
  // Connections whose other end has closed.
  int closed_by_client() const { return closed_by_client_; }

 private:
  void listen();
  void accept_until_closed();
  void serve_one(Connection& connection);

  Serve serve_;
  std::unique_ptr<Tls> tls_;
  SSL_CTX* ssl_ctx_ = nullptr;
  int listen_fd_ = -1;
  int port_ = 0;
  std::atomic<bool> closing_{false};
  std::atomic<int> accepted_{0};
  std::atomic<int> requests_{0};
  std::atomic<int> closed_by_client_{0};
  std::mutex mutex_;
  std::list<Connection> live_;
  std::vector<std::thread> threads_;
  std::thread acceptor_;
};

}  // namespace keyfs::testing
