// Measures signatures through the mount, in turns with what they are held against.
//
//   sign_bench wrapped --mount DIR --id ID --type TYPE --key NAME [--rounds N] [--round-ms M]
//       signature  open, read and close of .keyfs/sign/ID/ALGORITHM/<a digest that is new>
//       own        EVP_PKEY_sign by a key of that type that is kept parsed
//       verify     EVP_PKEY_verify: keyfs verifies every signature before it hands it out
//       open       open, read and close of the data key NAME, warm
//   sign_bench kms --mount DIR --id ID --port PORT --region REGION [--rounds N] [--round-ms M]
//       signature  as above
//       bare       the call of Sign by libcurl, over a kept connection, signed by libcurl
//
// Prints one JSON object: of each, nanoseconds of one operation in each round.
#include <curl/curl.h>
#include <fcntl.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "stolen_time.h"

namespace {

using nlohmann::json;
using SteadyClock = std::chrono::steady_clock;

[[noreturn]] void die(const std::string& what) {
  std::fprintf(stderr, "sign_bench: %s\n", what.c_str());
  std::_Exit(1);
}

struct Plan {
  std::string operation, mount, id, type = "EC_P256", key, region;
  uint16_t port = 0;
  size_t rounds = 7;
  size_t round_ms = 150;
};

void read_file(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  char bytes[1024];
  if (fd < 0 || read(fd, bytes, sizeof bytes) <= 0) die(path + ": " + std::strerror(errno));
  close(fd);
}

// Each digest once.
class Digests {
 public:
  explicit Digests(size_t bytes) : bytes_(bytes) {}
  std::string hex() {
    std::string text;
    char part[17];
    while (text.size() < 2 * bytes_) {
      std::snprintf(part, sizeof part, "%016llx", static_cast<unsigned long long>(random_()));
      text += part;
    }
    return text;
  }
  std::string raw() {
    std::string bytes(bytes_, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random_());
    return bytes;
  }

 private:
  const size_t bytes_;
  std::mt19937_64 random_{std::random_device()()};
};

// OpenSSL's own, with a key of that type.
class OwnKey {
 public:
  explicit OwnKey(const std::string& type) : rsa_(type.starts_with("RSA")) {
    key_.reset(rsa_ ? EVP_RSA_gen(type == "RSA_4096" ? 4096 : 2048)
                    : EVP_EC_gen(type == "EC_P384" ? "P-384" : "P-256"));
    if (!key_) die("no key");
    signer_ = context(true);
    verifier_ = context(false);
  }
  void sign(const std::string& digest) {
    size_t size = signature_.size();
    if (EVP_PKEY_sign(signer_.get(), signature_.data(), &size, bytes(digest), digest.size()) != 1) {
      die("EVP_PKEY_sign failed");
    }
    used_ = size;
  }
  void verify(const std::string& digest) {
    if (EVP_PKEY_verify(verifier_.get(), signature_.data(), used_, bytes(digest), digest.size()) !=
        1) {
      die("EVP_PKEY_verify failed");
    }
  }

 private:
  template <auto free>
  struct Free {
    template <class T>
    void operator()(T* what) const {
      free(what);
    }
  };
  using Context = std::unique_ptr<EVP_PKEY_CTX, Free<EVP_PKEY_CTX_free>>;

  static const unsigned char* bytes(const std::string& text) {
    return reinterpret_cast<const unsigned char*>(text.data());
  }
  Context context(bool signs) {
    Context made(EVP_PKEY_CTX_new(key_.get(), nullptr));
    const int begun = signs ? EVP_PKEY_sign_init(made.get()) : EVP_PKEY_verify_init(made.get());
    if (begun != 1) die("no context");
    if (rsa_ && (EVP_PKEY_CTX_set_rsa_padding(made.get(), RSA_PKCS1_PADDING) != 1 ||
                 EVP_PKEY_CTX_set_signature_md(made.get(), EVP_sha256()) != 1)) {
      die("no RSA");
    }
    return made;
  }

  const bool rsa_;
  std::unique_ptr<EVP_PKEY, Free<EVP_PKEY_free>> key_;
  Context signer_, verifier_;
  std::vector<unsigned char> signature_ = std::vector<unsigned char>(1024);
  size_t used_ = 0;
};

// Sign as KMS is asked for it; the handle keeps its connection.
class BareSign {
 public:
  BareSign(const Plan& plan, std::string arn) : arn_(std::move(arn)), curl_(curl_easy_init()) {
    headers_ = curl_slist_append(nullptr, "X-Amz-Target: TrentService.Sign");
    headers_ = curl_slist_append(headers_, "Content-Type: application/x-amz-json-1.1");
    const std::string url = "http://127.0.0.1:" + std::to_string(plan.port) + "/";
    const std::string signature = "aws:amz:" + plan.region + ":kms";
    curl_easy_setopt(curl_, CURLOPT_URL, url.c_str());
    curl_easy_setopt(curl_, CURLOPT_USERPWD, "test:test");
    curl_easy_setopt(curl_, CURLOPT_AWS_SIGV4, signature.c_str());
    curl_easy_setopt(curl_, CURLOPT_TCP_NODELAY, 1L);
    curl_easy_setopt(curl_, CURLOPT_HTTPHEADER, headers_);
    curl_easy_setopt(
        curl_, CURLOPT_WRITEFUNCTION, +[](char* data, size_t, size_t size, void* to) {
          static_cast<std::string*>(to)->append(data, size);
          return size;
        });
    curl_easy_setopt(curl_, CURLOPT_WRITEDATA, &reply_);
  }
  BareSign(const BareSign&) = delete;
  BareSign& operator=(const BareSign&) = delete;
  ~BareSign() {
    curl_slist_free_all(headers_);
    curl_easy_cleanup(curl_);
  }

  void operator()(const std::string& digest) {
    std::string coded(2 * digest.size(), '\0');
    coded.resize(static_cast<size_t>(EVP_EncodeBlock(
        reinterpret_cast<unsigned char*>(coded.data()),
        reinterpret_cast<const unsigned char*>(digest.data()), static_cast<int>(digest.size()))));
    const std::string body = json{
        {"KeyId", arn_},
        {"Message", coded},
        {"MessageType", "DIGEST"},
        {"SigningAlgorithm",
         "ECDSA_SHA_256"}}.dump();
    reply_.clear();
    curl_easy_setopt(curl_, CURLOPT_POSTFIELDS, body.c_str());
    curl_easy_setopt(curl_, CURLOPT_POSTFIELDSIZE, static_cast<long>(body.size()));
    if (const CURLcode code = curl_easy_perform(curl_); code != CURLE_OK) {
      die(curl_easy_strerror(code));
    }
    if (reply_.find("\"Signature\"") == std::string::npos) die("unexpected reply: " + reply_);
  }

 private:
  const std::string arn_;
  CURL* curl_;
  curl_slist* headers_ = nullptr;
  std::string reply_;
};

struct Turn {
  const char* name;
  std::function<void()> once;
};

// Rounds of one turn each, one after the other; a disturbed one is repeated.
json in_turns(const Plan& plan, const std::vector<Turn>& turns) {
  json found;
  for (const Turn& turn : turns) turn.once();
  for (size_t round = 0, tries = 0; round < plan.rounds;) {
    std::map<const char*, double> cost;
    const StolenTime stolen;
    for (const Turn& turn : turns) {
      size_t count = 0;
      const auto begin = SteadyClock::now();
      const auto end = begin + std::chrono::milliseconds(plan.round_ms);
      auto now = begin;
      for (; now < end; now = SteadyClock::now()) {
        turn.once();
        ++count;
      }
      cost[turn.name] = static_cast<double>(std::chrono::nanoseconds(now - begin).count()) /
                        static_cast<double>(count);
    }
    if (stolen.much() && ++tries < 3 * plan.rounds) continue;
    for (const auto& [name, ns] : cost) found[name].push_back(ns);
    ++round;
  }
  return found;
}

}  // namespace

int main(int argc, char** argv) {
  Plan plan;
  std::string arn;
  CLI::App app("signatures through the mount");
  app.add_option("operation", plan.operation)->required();
  app.add_option("--mount", plan.mount)->required();
  app.add_option("--id", plan.id)->required();
  app.add_option("--type", plan.type);
  app.add_option("--key", plan.key);
  app.add_option("--arn", arn);
  app.add_option("--port", plan.port);
  app.add_option("--region", plan.region);
  app.add_option("--rounds", plan.rounds);
  app.add_option("--round-ms", plan.round_ms);
  CLI11_PARSE(app, argc, argv);

  const std::string algorithm = plan.type == "EC_P256"   ? "ECDSA_SHA_256"
                                : plan.type == "EC_P384" ? "ECDSA_SHA_384"
                                                         : "RSASSA_PKCS1_V1_5_SHA_256";
  Digests digests(plan.type == "EC_P384" ? 48 : 32);
  const std::string folder = plan.mount + "/.keyfs/sign/" + plan.id + "/" + algorithm + "/";
  std::vector<Turn> turns = {{"signature", [&] { read_file(folder + digests.hex()); }}};
  if (plan.operation == "wrapped") {
    OwnKey own(plan.type);
    std::string last = digests.raw();
    turns.push_back({"own", [&] { own.sign(last = digests.raw()); }});
    turns.push_back({"verify", [&] { own.verify(last); }});
    turns.push_back({"open", [&] { read_file(plan.mount + "/" + plan.key); }});
    std::puts(in_turns(plan, turns).dump().c_str());
  } else if (plan.operation == "kms") {
    BareSign bare(plan, arn);
    turns.push_back({"bare", [&] { bare(digests.raw()); }});
    std::puts(in_turns(plan, turns).dump().c_str());
  } else {
    die("no such operation: " + plan.operation);
  }
  return 0;
}
