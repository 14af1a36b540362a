// What is answered without any keys, and the pieces of the handshake.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <nlohmann/json.hpp>

#include "fs/spire/handshake.h"
#include "fs/spire/key_service.h"
#include "fs/spire/log_lines.h"
#include "fs/spire/messages.h"
#include "fs/spire/plugin.h"
#include "fs/spire/prefixed_custody.h"
#include "fs/spire/wire.h"
#include "support/temporary_directory.h"

namespace keyfs {
namespace {

std::string key_request(const std::string& id, uint64_t type) {
  std::string out;
  put_bytes(out, 1, id);
  put_number(out, 2, type);
  return out;
}

std::string sign_request(const std::string& id, std::optional<uint64_t> hash, bool pss) {
  std::string out;
  put_bytes(out, 1, id);
  put_bytes(out, 2, std::string(32, 'd'));
  if (!hash) return out;
  std::string options;
  put_number(options, 1, 32);
  put_number(options, 2, *hash);
  if (pss) {
    put_element(out, 4, options);
  } else {
    out += '\x18';  // also if it is 0, as a oneof is
    out += static_cast<char>(*hash);
  }
  return out;
}

std::string refusal(KeyMethod method, std::string_view request) {
  const auto answer = refuse(method, request);
  if (!answer) return "";
  EXPECT_EQ(answer->code, RpcCode::kInvalidArgument);
  return answer->text;
}

TEST(KeyService, requests_that_lack_something_are_refused_in_spires_words) {
  EXPECT_EQ(refusal(KeyMethod::kGenerateKey, key_request("", 1)), "key id is required");
  EXPECT_EQ(refusal(KeyMethod::kGenerateKey, key_request("a", 0)), "key type is required");
  EXPECT_EQ(refusal(KeyMethod::kGenerateKey, key_request("a", 5)), "unsupported key type: 5");
  EXPECT_EQ(refusal(KeyMethod::kGenerateKey, key_request("a", 4)), "");
  EXPECT_EQ(refusal(KeyMethod::kGetPublicKey, ""), "key id is required");
  EXPECT_EQ(refusal(KeyMethod::kSignData, sign_request("", 5, false)), "key id is required");
  EXPECT_EQ(refusal(KeyMethod::kSignData, sign_request("a", {}, false)), "signer opts is required");
  EXPECT_EQ(refusal(KeyMethod::kSignData, sign_request("a", 0, false)),
            "hash algorithm is required");
  EXPECT_EQ(refusal(KeyMethod::kSignData, sign_request("a", 0, true)),
            "hash algorithm is required");
  EXPECT_EQ(refusal(KeyMethod::kSignData, sign_request("a", 5, true)), "");
  EXPECT_EQ(refusal(KeyMethod::kSignData, "\x0a\xff"), "the request could not be read");
  EXPECT_EQ(not_found("a\"b"), "key \"a\\\"b\" not found");
}

TEST(KeyService, there_are_14_combinations) {
  size_t found = 0;
  for (uint64_t type = 0; type < 8; ++type) {
    const auto key_type = key_type_of(type);
    if (!key_type) continue;
    for (const bool pss : {false, true}) {
      for (uint64_t hash = 0; hash < 20; ++hash) {
        const auto algorithm = algorithm_of(*key_type, pss, hash);
        if (!algorithm) continue;
        ++found;
        EXPECT_TRUE(signs_with(*key_type, *algorithm));
        EXPECT_EQ(digest_bytes(*algorithm), hash == 5 ? 32u : hash == 6 ? 48u : 64u);
      }
    }
  }
  EXPECT_EQ(found, 14u);
  EXPECT_FALSE(algorithm_of(SigningKeyType::kEcP256, true, 5)) << "PSS on EC";
}

TEST(KeyService, each_error_has_its_status) {
  EXPECT_EQ(rpc_code(Code::kInvalid), RpcCode::kInvalidArgument);
  EXPECT_EQ(rpc_code(Code::kTimeout), RpcCode::kDeadlineExceeded);
  EXPECT_EQ(rpc_code(Code::kUnavailable), RpcCode::kUnavailable);
  EXPECT_EQ(rpc_code(Code::kRevoked), RpcCode::kFailedPrecondition);
  EXPECT_EQ(rpc_code(Code::kDenied), RpcCode::kPermissionDenied);
}

class KeptCall final : public RpcCall {
 public:
  explicit KeptCall(std::optional<RpcAnswer>& answer) : answer_(answer) {}
  void answer(RpcAnswer answer) override {
    if (!answer_) answer_ = std::move(answer);
  }
  TimePoint deadline() const override { return TimePoint::max(); }
  void on_cancel(std::function<void()>) override {}

 private:
  std::optional<RpcAnswer>& answer_;
};

TEST(Plugin, answers_before_it_is_configured) {
  CurlGlobal curl;
  SystemClock clock;
  struct Silent final : LogSink {
    void write(LogLevel, std::string_view) noexcept override {}
    uint64_t lost() const noexcept override { return 0; }
  } silent;
  Log log(silent, clock);
  int ends = 0;
  Plugin plugin({curl, clock, log, [&ends] { ++ends; }});
  const auto ask = [&plugin](std::string_view method, std::string request) {
    std::optional<RpcAnswer> answer;
    plugin.call(method, std::move(request), std::make_shared<KeptCall>(answer));
    return answer.value_or(RpcAnswer(RpcCode::kInternal, "none"));
  };
  const std::string keys = "/spire.plugin.server.keymanager.v1.KeyManager/";
  EXPECT_EQ(ask(keys + "GetPublicKeys", "").text, "not configured");
  EXPECT_EQ(ask(keys + "GetPublicKeys", "").code, RpcCode::kFailedPrecondition);
  EXPECT_EQ(ask(keys + "GenerateKey", key_request("", 1)).text, "key id is required");
  EXPECT_EQ(ask("/spire.service.private.init.v1.Init/Init", "").text,
            names_response({"spire.plugin.server.keymanager.v1.KeyManager",
                            "spire.service.common.config.v1.Config"}));
  EXPECT_EQ(ask("/grpc.health.v1.Health/Check", names_response({"plugin"})).text, "\x08\x01");
  EXPECT_EQ(ask("/grpc.health.v1.Health/Check", names_response({"x"})).code, RpcCode::kNotFound);
  for (const char* method : {"", "/", "x", "/x/y", "/plugin.GRPCController/", "//"}) {
    EXPECT_EQ(ask(method, "").code, RpcCode::kUnimplemented) << method;
  }
  EXPECT_EQ(ends, 0);
  EXPECT_EQ(ask("/plugin.GRPCController/Shutdown", "").code, RpcCode::kOk);
  EXPECT_EQ(ends, 1);
}

TEST(Wire, what_is_no_message_is_refused) {
  EXPECT_FALSE(
      parse_name("\x0a\x05"
                 "ab"));
  EXPECT_FALSE(parse_name("\x0a\x02\xff\xfe")) << "not UTF-8";
  EXPECT_FALSE(parse_name(std::string(11, '\xff')));
  EXPECT_FALSE(parse_name("\x0b")) << "a group";
  EXPECT_EQ(parse_name("\x10\x01\x0a\x01x\x1d...."), "x") << "unknown fields";
  EXPECT_EQ(parse_configure("\x0a\x05\x0a\x03"
                            "a.b\x12\x01x")
                ->trust_domain,
            "a.b");
}

TEST(IdParts, different_texts_stay_different_and_hold_no_separator) {
  EXPECT_EQ(escape_id_part("a.b_c-D+9"), "a.b_c-D+9");
  EXPECT_EQ(escape_id_part("a/b~c=d e"), "a=2fb=7ec=3dd=20e");
  for (const std::string text : {"", "a~", "=7e", "~", "\xc3\xa9", "a/b"}) {
    EXPECT_EQ(unescape_id_part(escape_id_part(text)), text);
  }
  EXPECT_EQ(unescape_id_part("=41"), std::nullopt) << "A is not written so";
  EXPECT_EQ(unescape_id_part("=4"), std::nullopt);
  EXPECT_EQ(wrapped_prefix("example.org", "a/b"), "spire~example.org~a=2fb~");
}

TEST(Handshake, the_socket_is_in_a_directory_of_its_own_that_goes_with_it) {
  const testing::TemporaryDirectory dir;
  const Environment environment = [&](const std::string& name) -> std::optional<std::string> {
    if (name == "PLUGIN_UNIX_SOCKET_DIR") return std::string(200, 'x');  // too long for a socket
    if (name == "TMPDIR") return dir.path();
    return std::nullopt;
  };
  EXPECT_FALSE(started_by_spire(environment));
  std::string socket;
  {
    const auto place = SocketPlace::make(environment);
    ASSERT_TRUE(place) << place.error().message;
    socket = place->socket();
    EXPECT_TRUE(socket.starts_with(dir.path() + "/")) << socket;
    struct stat about {};
    ASSERT_EQ(::stat(socket.substr(0, socket.rfind('/')).c_str(), &about), 0);
    EXPECT_EQ(about.st_mode & 0777, 0700u);
    EXPECT_EQ(handshake_line(socket), "1|1|unix|" + socket + "|grpc\n");
  }
  struct stat about {};
  EXPECT_NE(::stat(socket.substr(0, socket.rfind('/')).c_str(), &about), 0);
}

TEST(SpireLog, lines_are_as_hclog_wants_them) {
  struct Kept final : LogSink {
    void write(LogLevel, std::string_view line) noexcept override { lines.emplace_back(line); }
    uint64_t lost() const noexcept override { return 0; }
    std::vector<std::string> lines;
  } kept;
  SystemClock clock;
  SpireLogSink sink(kept, clock);
  Log log(sink, clock, spire_log_options());
  log.warn("region \"x\"", {{"region", "us-east-1"}});
  ASSERT_EQ(kept.lines.size(), 1u);
  const auto line = nlohmann::json::parse(kept.lines[0]);
  EXPECT_EQ(line["@level"], "warn");
  EXPECT_EQ(line["@message"], "region \"x\"");
  EXPECT_EQ(line["region"], "us-east-1");
  EXPECT_THAT(line["@timestamp"].get<std::string>(),
              ::testing::MatchesRegex("....-..-..T..:..:..[.]......Z"));
}

}  // namespace
}  // namespace keyfs
