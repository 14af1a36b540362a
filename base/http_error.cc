#include <openssl/x509_vfy.h>

#include <cstring>
#include <string>

#include "base/curl_handles.h"

namespace keyfs {
namespace {

std::string untrusted(int verify_error, const std::string& host, const HttpClientOptions& options) {
  switch (verify_error) {
    case X509_V_OK:  // the chain was good, so the host name did not match
      return "the TLS certificate is not for this host name: " + host;
    case X509_V_ERR_CERT_HAS_EXPIRED:
      return "the TLS certificate has expired (or this machine's clock is fast)";
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return "the TLS certificate is not valid yet (or this machine's clock is slow)";
    default:
      break;
  }
  const std::string where =
      options.ca_file.empty() ? "the system's CA certificates" : "the CA file " + options.ca_file;
  return "the TLS certificate is not trusted by " + where + ": " +
         X509_verify_cert_error_string(verify_error);
}

std::string os_reason(CURL* easy) {
  long os_error = 0;
  curl_easy_getinfo(easy, CURLINFO_OS_ERRNO, &os_error);
  if (os_error == 0) return "";
  return std::string(": ") + std::strerror(static_cast<int>(os_error));
}

}  // namespace

// Only our own text and fixed text of the libraries: curl's error buffer may quote the peer.
Error http_error(CURL* easy, CURLcode code, int verify_error, const std::string& host,
                 const HttpClientOptions& options) {
  const auto unavailable = [&host](const std::string& reason) {
    return Error(Code::kUnavailable, host + ": " + reason);
  };
  if (code == CURLE_SSL_CONNECT_ERROR && verify_error != X509_V_OK) {
    code = CURLE_PEER_FAILED_VERIFICATION;  // e.g. a bad signature, which OpenSSL reports
                                            // differently
  }
  switch (code) {
    case CURLE_URL_MALFORMAT:
      return Error(Code::kInvalid, host + ": not an http:// or https:// URL");
    case CURLE_OUT_OF_MEMORY:
      return unavailable("out of memory");
    case CURLE_COULDNT_RESOLVE_HOST:
      return unavailable("could not resolve the host name");
    case CURLE_COULDNT_RESOLVE_PROXY:
      return unavailable("could not resolve the proxy's host name (http_proxy, https_proxy)");
    case CURLE_COULDNT_CONNECT:
      return unavailable("could not connect" + os_reason(easy));
    case CURLE_OPERATION_TIMEDOUT:  // only the connect timeout is curl's; the deadline is ours
      return unavailable("no connection within " + to_text(options.connect_timeout));
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_ISSUER_ERROR:
      return unavailable(untrusted(verify_error, host, options));
    case CURLE_SSL_CONNECT_ERROR:
      return unavailable(
          "TLS handshake failed (no common version or cipher, the client certificate"
          " was refused, or the port does not speak TLS)" +
          os_reason(easy));
    case CURLE_SSL_CERTPROBLEM:
      return unavailable("the client certificate " + options.client_cert + " with key " +
                         options.client_key + " could not be used");
    case CURLE_SEND_ERROR:
      return unavailable("the connection broke while the request was sent" + os_reason(easy));
    case CURLE_RECV_ERROR:
      return unavailable("the connection broke before the reply was complete" + os_reason(easy));
    case CURLE_GOT_NOTHING:
      return unavailable("the server closed the connection without a reply");
    case CURLE_PARTIAL_FILE:
      return unavailable("the reply was truncated");
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
      return unavailable("the HTTP/2 stream was reset");
    case CURLE_UNSUPPORTED_PROTOCOL:  // HTTP/0.9; the URL's scheme was checked before
    case CURLE_WEIRD_SERVER_REPLY:
      return unavailable("the server does not speak HTTP");
    default:
      return unavailable(curl_easy_strerror(code));
  }
}

}  // namespace keyfs
