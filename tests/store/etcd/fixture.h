// A real etcd cluster, as tests/support/with_etcd.py starts it, and clients of it.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/http.h"
#include "base/loop.h"
#include "base/secret.h"
#include "store/etcd/store.h"
#include "support/temporary_directory.h"

namespace keyfs::testing {

// One loop, and records under a prefix of their own.
class EtcdWorld {
 public:
  EtcdWorld();
  ~EtcdWorld();

  Loop& loop() { return loop_; }
  const std::string& prefix() const { return prefix_; }
  TimePoint within(Duration duration) { return loop_.now() + duration; }

  enum class Through {
    kTcp,   // TLS is etcd's own
    kHttp,  // proxies that know requests
  };
  EtcdOptions options(Through through = Through::kTcp);
  std::unique_ptr<EtcdStore> open(EtcdOptions options);
  std::unique_ptr<EtcdStore> open() { return open(options()); }

  // Without keyfs's knowledge. What was written is in each member's own copy afterwards.
  std::string read_raw(const std::string& id);
  void write_raw(const std::string& id, const std::string& bytes);
  // Any call to one member, as the user that the records belong to.
  EtcdReply call(size_t member, const std::string& path, const std::string& body);
  int64_t revision();

  // POST to KEYFS_TEST_ETCD_MEMBERS: "/1/kill"; answers with the reply's text.
  std::string act(const std::string& verb);
  // To the HTTP proxy before a member (from 1): "POST", "/faults", R"({"do":...})".
  std::string proxy(int member, const std::string& method, const std::string& what,
                    const std::string& body = "{}", const std::string& kind = "_HTTP_CONTROL");
  // How many requests for that path the HTTP proxy of a member has seen since its reset.
  int calls(int member, const std::string& path);

  // A file's text, and a file with that text and mode.
  static std::string environment(const std::string& name);
  std::string state_dir(const std::string& name) { return folder_.file(name); }
  std::string make_file(const std::string& name, const std::string& text, int mode);

 private:
  std::unique_ptr<HttpClient> plain_http();
  HttpResponse send(HttpRequest request);

  TemporaryDirectory folder_;
  CurlGlobal curl_;
  SecretArena arena_;
  OsRandom random_;
  SystemClock clock_;
  CurlPoller poller_{curl_};
  Loop loop_{clock_, poller_};
  std::string prefix_;
  std::unique_ptr<HttpClient> control_;
  // For changes without keyfs's knowledge.
  EtcdOptions raw_options_;
  EtcdIdentity raw_identity_{"", std::nullopt};
  Worker raw_files_{loop_, "test-files"};
  std::unique_ptr<EtcdClient> raw_;
};

}  // namespace keyfs::testing
