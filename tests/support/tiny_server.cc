#include "support/tiny_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace keyfs::testing {
namespace {

void require(bool ok, const char* what) {
  if (ok) return;
  std::perror(what);
  std::abort();
}

void add_extension(X509* cert, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, cert, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str());
  require(extension != nullptr, "X509V3_EXT_conf_nid");
  X509_add_ext(cert, extension, -1);
  X509_EXTENSION_free(extension);
}

template <class T, class Read>
T* read_pem(const std::string& path, Read read) {
  FILE* file = std::fopen(path.c_str(), "re");
  require(file != nullptr, path.c_str());
  T* out = read(file, nullptr, nullptr, nullptr);
  std::fclose(file);
  require(out != nullptr, path.c_str());
  return out;
}

}  // namespace

TestCertificate make_certificate(const std::string& folder, const std::string& stem,
                                 const CertificateOptions& options) {
  static std::atomic<long> serial{1};
  EVP_PKEY* key = EVP_EC_gen("P-256");
  X509* cert = X509_new();
  require(key != nullptr && cert != nullptr, "EVP_EC_gen");
  X509_set_version(cert, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(cert), serial++);
  constexpr long kDay = 24L * 3600;
  X509_gmtime_adj(X509_getm_notBefore(cert), options.valid_from_days * kDay);
  X509_gmtime_adj(X509_getm_notAfter(cert), options.valid_to_days * kDay);
  X509_set_pubkey(cert, key);
  X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(options.name.c_str()), -1, -1,
                             0);
  X509* issuer = cert;
  EVP_PKEY* issuer_key = key;
  if (options.issuer != nullptr) {
    issuer = read_pem<X509>(options.issuer->cert_file, PEM_read_X509);
    issuer_key = read_pem<EVP_PKEY>(options.issuer->key_file, PEM_read_PrivateKey);
  }
  X509_set_issuer_name(cert, X509_get_subject_name(issuer));
  add_extension(cert, issuer, NID_basic_constraints,
                options.is_ca ? "critical,CA:TRUE" : "critical,CA:FALSE");
  if (!options.is_ca) {
    add_extension(cert, issuer, NID_subject_alt_name,
                  "DNS:" + options.name + (options.name == "localhost" ? ",IP:127.0.0.1" : ""));
  }
  require(X509_sign(cert, issuer_key, EVP_sha256()) > 0, "X509_sign");

  TestCertificate out{folder + "/" + stem + ".pem", folder + "/" + stem + ".key"};
  FILE* file = std::fopen(out.cert_file.c_str(), "we");
  require(file != nullptr && PEM_write_X509(file, cert) == 1, out.cert_file.c_str());
  std::fclose(file);
  file = std::fopen(out.key_file.c_str(), "we");
  require(file != nullptr &&
              PEM_write_PrivateKey(file, key, nullptr, nullptr, 0, nullptr, nullptr) == 1,
          out.key_file.c_str());
  std::fclose(file);
  if (options.issuer != nullptr) {
    X509_free(issuer);
    EVP_PKEY_free(issuer_key);
  }
  X509_free(cert);
  EVP_PKEY_free(key);
  return out;
}

ssize_t TinyServer::Connection::read_some(char* data, size_t size) {
  const ssize_t got =
      ssl_ != nullptr ? SSL_read(ssl_, data, static_cast<int>(size)) : ::recv(fd_, data, size, 0);
  if (got <= 0 && !server_->closing_) ++server_->closed_by_client_;
  return got;
}

std::string TinyServer::Connection::read_request() {
  char chunk[16384];
  size_t wanted = std::string::npos;
  for (;;) {
    const size_t end = pending_.find("\r\n\r\n");
    if (end != std::string::npos && wanted == std::string::npos) {
      const size_t at = pending_.substr(0, end).find("Content-Length: ");
      wanted = end + 4;
      if (at != std::string::npos) wanted += std::strtoul(pending_.c_str() + at + 16, nullptr, 10);
    }
    if (wanted != std::string::npos && pending_.size() >= wanted) {
      std::string request = pending_.substr(0, wanted);
      pending_.erase(0, wanted);
      ++server_->requests_;
      return request;
    }
    const ssize_t got = read_some(chunk, sizeof chunk);
    if (got <= 0) return "";
    pending_.append(chunk, static_cast<size_t>(got));
  }
}

void TinyServer::Connection::write(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t put = ssl_ != nullptr
                            ? SSL_write(ssl_, bytes.data(), static_cast<int>(bytes.size()))
                            : ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (put <= 0) return;
    bytes.remove_prefix(static_cast<size_t>(put));
  }
}

void TinyServer::Connection::reply(std::string_view status, std::string_view body,
                                   std::string_view headers) {
  std::string out = "HTTP/1.1 " + std::string(status) +
                    "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" +
                    std::string(headers) + "\r\n";
  out += body;
  write(out);
}

void TinyServer::Connection::reset() {
  const linger hard{1, 0};
  setsockopt(fd_, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
}

void TinyServer::Connection::hang() {
  char chunk[1024];
  while (read_some(chunk, sizeof chunk) > 0) {
  }
}

TinyServer::TinyServer(Serve serve) : serve_(std::move(serve)) { listen(); }

TinyServer::TinyServer(Serve serve, Tls tls)
    : serve_(std::move(serve)), tls_(std::make_unique<Tls>(std::move(tls))) {
  ssl_ctx_ = SSL_CTX_new(TLS_server_method());
  require(ssl_ctx_ != nullptr, "SSL_CTX_new");
  require(SSL_CTX_use_certificate_chain_file(ssl_ctx_, tls_->certificate.cert_file.c_str()) == 1 &&
              SSL_CTX_use_PrivateKey_file(ssl_ctx_, tls_->certificate.key_file.c_str(),
                                          SSL_FILETYPE_PEM) == 1,
          "server certificate");
  SSL_CTX_set_options(ssl_ctx_, SSL_OP_CLEANSE_PLAINTEXT);
  if (tls_->max_version != 0) {
    SSL_CTX_set_security_level(ssl_ctx_, 0);
    SSL_CTX_set_min_proto_version(ssl_ctx_, 0);
    SSL_CTX_set_max_proto_version(ssl_ctx_, tls_->max_version);
  }
  if (!tls_->client_ca_file.empty()) {
    require(SSL_CTX_load_verify_locations(ssl_ctx_, tls_->client_ca_file.c_str(), nullptr) == 1,
            "client CA");
    SSL_CTX_set_verify(ssl_ctx_, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  }
  listen();
}

void TinyServer::listen() {
  std::signal(SIGPIPE, SIG_IGN);
  listen_fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  require(bind(listen_fd_, reinterpret_cast<sockaddr*>(&address), size) == 0, "bind");
  require(::listen(listen_fd_, 128) == 0, "listen");
  require(getsockname(listen_fd_, reinterpret_cast<sockaddr*>(&address), &size) == 0,
          "getsockname");
  port_ = ntohs(address.sin_port);
  acceptor_ = std::thread([this] { accept_until_closed(); });
}

std::string TinyServer::url(std::string_view path) const {
  return (tls_ ? "https://localhost:" : "http://127.0.0.1:") + std::to_string(port_) +
         std::string(path);
}

void TinyServer::accept_until_closed() {
  for (;;) {
    const int fd = ::accept4(listen_fd_, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) return;
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    std::lock_guard lock(mutex_);
    if (closing_) {
      ::close(fd);
      return;
    }
    Connection& connection = live_.emplace_back();
    connection.server_ = this;
    connection.fd_ = fd;
    connection.number_ = ++accepted_;
    threads_.emplace_back([this, &connection] { serve_one(connection); });
  }
}

void TinyServer::serve_one(Connection& connection) {
  bool open = true;
  if (tls_ && tls_->hang_in_handshake) {
    connection.hang();
    open = false;
  } else if (tls_) {
    connection.ssl_ = SSL_new(ssl_ctx_);
    SSL_set_fd(connection.ssl_, connection.fd_);
    open = SSL_accept(connection.ssl_) == 1;
  }
  if (open) serve_(connection);
  if (connection.ssl_ != nullptr) {
    SSL_free(connection.ssl_);
    connection.ssl_ = nullptr;
  }
  std::lock_guard lock(mutex_);
  ::close(connection.fd_);
  connection.fd_ = -1;
}

TinyServer::~TinyServer() {
  {
    std::lock_guard lock(mutex_);
    closing_ = true;
    for (Connection& connection : live_) {
      if (connection.fd_ >= 0) ::shutdown(connection.fd_, SHUT_RDWR);
    }
  }
  ::shutdown(listen_fd_, SHUT_RDWR);
  acceptor_.join();
  for (std::thread& thread : threads_) thread.join();
  ::close(listen_fd_);
  if (ssl_ctx_ != nullptr) SSL_CTX_free(ssl_ctx_);
}

}  // namespace keyfs::testing
