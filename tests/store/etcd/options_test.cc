#include "store/etcd/options.h"

#include <gtest/gtest.h>

namespace keyfs {
namespace {

// "" when it is accepted.
std::string mistake(const std::string& endpoints, const std::string& more = "") {
  const auto file =
      ConfigFile::parse("[store]\ntype = etcd\nendpoints = " + endpoints + "\n" + more, "f.ini");
  if (!file) return file.error().message;
  const auto options = read_etcd_options(file->sections().front());
  return options ? "" : options.error().message;
}

TEST(EtcdOptions, plain_http_to_another_machine_must_be_asked_for) {
  for (const char* url : {"http://etcd-1:2379", "http://10.0.0.1:2379", "http://[fd00::1]:2379/",
                          "http://127.0.0.1.example.com:2379", "http://localhost.example.com",
                          "https://a:2379, http://b:2379"}) {
    EXPECT_NE(mistake(url).find("set allow_plain_http = yes"), std::string::npos) << url;
    EXPECT_NE(mistake(url).find("f.ini:3: [store] endpoints: "), std::string::npos) << url;
    EXPECT_EQ(mistake(url, "allow_plain_http = yes\n"), "") << url;
  }
}

TEST(EtcdOptions, https_and_this_machine_need_no_word) {
  for (const char* url : {"https://etcd-1:2379", "http://127.0.0.1:2379", "http://localhost:2379/",
                          "http://[::1]:2379", "http://127.77.0.1"}) {
    EXPECT_EQ(mistake(url), "") << url;
  }
}

}  // namespace
}  // namespace keyfs
