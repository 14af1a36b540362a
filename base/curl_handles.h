// RAII for libcurl and OpenSSL types, and what the .cc files of base/http share. Internal to base:
// included by http*.cc and curl_poller.cc only.
#pragma once

#include <curl/curl.h>
#include <openssl/x509.h>

#include <memory>
#include <string>

#include "base/http.h"

namespace keyfs {

struct CurlEasyDelete {
  void operator()(CURL* easy) const { curl_easy_cleanup(easy); }
};
struct CurlMultiDelete {
  void operator()(CURLM* multi) const { curl_multi_cleanup(multi); }
};
struct CurlShareDelete {
  void operator()(CURLSH* share) const { curl_share_cleanup(share); }
};
struct CurlUrlDelete {
  void operator()(CURLU* url) const { curl_url_cleanup(url); }
};
struct CurlTextDelete {
  void operator()(char* text) const { curl_free(text); }
};
struct CurlListDelete {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};
struct X509StoreDelete {
  void operator()(X509_STORE* store) const { X509_STORE_free(store); }
};
using CurlEasy = std::unique_ptr<CURL, CurlEasyDelete>;
using CurlMulti = std::unique_ptr<CURLM, CurlMultiDelete>;
using CurlShare = std::unique_ptr<CURLSH, CurlShareDelete>;
using CurlUrl = std::unique_ptr<CURLU, CurlUrlDelete>;
using CurlText = std::unique_ptr<char, CurlTextDelete>;
using CurlList = std::unique_ptr<curl_slist, CurlListDelete>;
using X509StorePtr = std::unique_ptr<X509_STORE, X509StoreDelete>;

// The certificates that a client trusts, read once.
struct HttpClient::Trust {
  std::string file;
  X509StorePtr store;
};

struct CurlPoller::State {
  CurlMulti multi;
  CurlShare share;     // TLS sessions, so that new connections to a known server resume one
  bool added = false;  // a transfer that curl has not seen yet
};

// One transfer that curl is running; CURLOPT_PRIVATE identifies it when it is done.
struct CurlDone {
  virtual void done(CURLcode code) = 0;

 protected:
  ~CurlDone() = default;
};

// What went wrong, for the operator: "kms.eu-west-1.amazonaws.com: could not resolve the host
// name". `verify_error` is an X509_V_ code: what is wrong with the server's certificate.
Error http_error(CURL* easy, CURLcode code, int verify_error, const std::string& host,
                 const HttpClientOptions& options);

}  // namespace keyfs
