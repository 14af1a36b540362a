#include "store/etcd/auth.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <utility>

#include "base/file.h"
#include "base/secret_json.h"

namespace keyfs {
namespace {

constexpr size_t kMaxPassword = 4096;
constexpr size_t kMaxReply = 64 << 10;
constexpr Duration kLogInTimeout = std::chrono::seconds(10);

EtcdFailure failed(Error error, EtcdNext next) {
  EtcdFailure failure{std::move(error)};
  failure.next = next;
  return failure;
}

// A JSON string (RFC 8259): the only copy is in `out`.
Result<void> append_json_string(SecretBuffer& out, std::string_view text) {
  auto ok = out.append("\"");
  for (const char c : text) {
    if (!ok) return ok;
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      const std::array<char, 2> escaped = {'\\', c};
      ok = out.append(std::string_view(escaped.data(), escaped.size()));
    } else if (byte < 0x20) {
      std::array<char, 7> escaped{};
      std::snprintf(escaped.data(), escaped.size(), "\\u%04x", byte);
      ok = out.append(std::string_view(escaped.data(), 6));
    } else {
      ok = out.append(std::string_view(&c, 1));
    }
  }
  return ok ? out.append("\"") : ok;
}

}  // namespace

EtcdAuth::EtcdAuth(HttpClient& http, Worker& files, std::string user, std::string password_file)
    : http_(http),
      files_(files),
      user_(std::move(user)),
      password_file_(std::move(password_file)),
      log_ins_(http.loop()) {}

Result<SecretBytes> EtcdAuth::read_password(SecretArena& arena, const std::string& path) {
  const auto cannot_read = [&path] {
    const Error why = os_error(path, "cannot be read");
    return fail(why.code == Code::kDenied ? why.code : Code::kInvalid, why.message);
  };
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!file.is_open()) return cannot_read();
  struct stat info {};
  if (::fstat(file.get(), &info) != 0) return cannot_read();
  if (!S_ISREG(info.st_mode)) return fail(Code::kInvalid, path + ": is not a file");
  if ((info.st_mode & 077) != 0) {
    return fail(Code::kInvalid,
                path + ": users other than its owner may read it: chmod 600 " + path);
  }
  auto text = arena.allocate(kMaxPassword + 2);
  if (!text) return text;
  const std::span<uint8_t> room = text->reveal_mutable();
  const ssize_t size = ::read(file.get(), room.data(), room.size());
  if (size < 0) return cannot_read();
  size_t length = static_cast<size_t>(size);
  while (length > 0 && (room[length - 1] == '\n' || room[length - 1] == '\r')) --length;
  if (length == 0 || length > kMaxPassword) {
    return fail(Code::kInvalid, path + ": is empty or too long for a password");
  }
  text->truncate(length);
  return text;
}

Task<tl::expected<EtcdAuth::Token, EtcdAuth::Failure>> EtcdAuth::token(std::string url,
                                                                       TimePoint deadline) {
  if (!user_.empty() && !no_auth_ && !have_token(url)) {
    // It costs a member much work (bcrypt), so later callers wait for a running log-in rather than
    // start another.
    SingleFlight<LoggedIn>::Work work = [this, url](auto& flight) {
      flight.pin();
      return log_in(url, http_.loop().now() + kLogInTimeout);
    };
    TaskGroup<LoggedIn> group(http_.loop());
    group.start(log_ins_.join(url, std::move(work)));
    const auto finished = co_await group.next(deadline);
    if (!finished) {
      co_return tl::unexpected<Failure>(
          failed(Error(Code::kTimeout, "gave no token in time (a log-in needs a quorum)"),
                 EtcdNext::kOtherEndpoint));
    }
    if (finished->value && !have_token(url)) co_return tl::unexpected<Failure>(**finished->value);
  }
  Token out;
  out.number = number_;
  if (!token_.empty()) {
    auto copy = http_.arena().copy_of(token_.reveal());
    if (!copy) {
      co_return tl::unexpected<Failure>(failed(copy.error(), EtcdNext::kGiveUp));
    }
    out.text = std::move(*copy);
  }
  co_return out;
}

bool EtcdAuth::have_token(const std::string& url) const {
  if (token_.empty()) return false;
  const auto refused = refused_.find(url);
  return refused == refused_.end() || refused->second < number_;
}

void EtcdAuth::refused(const std::string& url, uint64_t number) {
  refused_[url] = number;
  no_auth_ = false;
}

Task<EtcdAuth::LoggedIn> EtcdAuth::log_in(std::string url, TimePoint deadline) {
  const auto failing = [](Error error, EtcdNext next) -> LoggedIn {
    return std::make_shared<const Failure>(failed(std::move(error), next));
  };
  auto read = std::make_shared<Result<SecretBytes>>();
  std::function<bool()> job = [read, &arena = http_.arena(), path = password_file_] {
    *read = read_password(arena, path);
    return true;
  };
  co_await files_.run<bool>(std::move(job));
  if (!*read) co_return failing(read->error(), EtcdNext::kGiveUp);

  SecretBuffer body(http_.arena());
  auto built = body.append("{\"name\":")
                   .and_then([&] { return append_json_string(body, user_); })
                   .and_then([&] { return body.append(",\"password\":"); })
                   .and_then([&] { return append_json_string(body, (*read)->reveal_text()); })
                   .and_then([&] { return body.append("}"); });
  read->value().reset();
  if (!built) co_return failing(built.error(), EtcdNext::kGiveUp);

  HttpRequest request("POST", url + "/v3/auth/authenticate", deadline);
  request.headers.push_back({"Content-Type", "application/json"});
  // Without a leader it would wait in vain for seconds.
  request.headers.push_back({"Grpc-Metadata-hasleader", "true"});
  request.secret_body = body.take();
  request.secret_response = true;
  request.max_response = kMaxReply;
  auto response = co_await http_.send(std::move(request));
  if (!response) co_return failing(response.error(), EtcdNext::kOtherEndpoint);
  co_return take_reply(*response);
}

EtcdAuth::LoggedIn EtcdAuth::take_reply(const HttpResponse& response) {
  if (response.status != 200) {
    EtcdFailure failure = to_failure(parse_etcd_refusal(response.text()), response.status, user_);
    if (failure.no_auth) {
      no_auth_ = true;
      return std::nullopt;
    }
    if (failure.next == EtcdNext::kNewToken) failure.next = EtcdNext::kOtherEndpoint;
    return std::make_shared<const Failure>(std::move(failure));
  }
  const auto reply = SecretJson::parse(response.text());
  auto token = reply ? reply->secret(http_.arena(), "token")
                     : Result<std::optional<SecretBytes>>(tl::unexpected<Error>(reply.error()));
  if (!token || !*token || (*token)->empty()) {
    return std::make_shared<const Failure>(
        failed(Error(Code::kUnavailable, "the reply to a log-in is not from etcd"),
               EtcdNext::kOtherEndpoint));
  }
  token_ = std::move(**token);
  ++number_;
  return std::nullopt;
}

}  // namespace keyfs
