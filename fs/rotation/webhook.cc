#include "fs/rotation/webhook.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <functional>
#include <optional>
#include <span>
#include <utility>

#include "base/http_date.h"
#include "base/private_file.h"
#include "base/race.h"
#include "base/retry.h"
#include "base/text.h"
#include "fs/rotation/message.h"

namespace keyfs {
namespace {

constexpr size_t kMaxUrl = 2048;
constexpr size_t kMaxReply = size_t{64} << 10;

bool is_url(std::string_view text) {
  const std::string scheme = lower(text.substr(0, std::string_view("https://").size()));
  const size_t host = scheme == "https://"            ? scheme.size()
                      : scheme.starts_with("http://") ? std::string_view("http://").size()
                                                      : 0;
  return host != 0 && text.size() > host && std::all_of(text.begin(), text.end(), [](char c) {
           return static_cast<unsigned char>(c) > 0x20 && static_cast<unsigned char>(c) < 0x7f;
         });
}

// A request whose URL is wiped with it.
struct SecretRequest : HttpRequest {
  SecretRequest(const SecretBytes& secret_url, TimePoint by)
      : HttpRequest("POST", std::string(secret_url.reveal_text()), by) {}
  ~SecretRequest() { wipe({reinterpret_cast<uint8_t*>(url.data()), url.size()}); }
  SecretRequest(const SecretRequest&) = delete;
  SecretRequest& operator=(const SecretRequest&) = delete;
};

struct Tried {
  std::optional<Error> error;           // none: it has arrived
  std::optional<Duration> retry_after;  // as the other side asks
};

Tried judge(const Result<HttpResponse>& reply, const std::string& host, WallTime now) {
  if (!reply) return {reply.error(), std::nullopt};
  const int status = reply->status;
  if (status / 100 == 2) return {};
  const bool passes = status == 408 || status == 425 || status == 429 || status / 100 == 5;
  // The reply's text is not quoted: it may hold the URL.
  Tried tried{Error(passes ? Code::kUnavailable : Code::kInvalid,
                    host + ": HTTP " + std::to_string(status)),
              std::nullopt};
  if (const std::string* asked = reply->header("retry-after"); passes && asked != nullptr) {
    tried.retry_after = from_retry_after(*asked, reply->header("date"), now);
  }
  return tried;
}

}  // namespace

Webhook::Webhook(HttpClient& http, std::string file) : Webhook(http, std::move(file), Times()) {}

Webhook::Webhook(HttpClient& http, std::string file, Times times)
    : http_(http), file_(std::move(file)), times_(times), files_(http.loop(), "keyfs-webhook") {}

Result<SecretBytes> Webhook::read_url(SecretArena& arena, const std::string& file) {
  const auto opened = open_private_file(file, O_RDONLY, Guard::kSecret);
  if (!opened) return fail(opened.error().within("webhook_file"));
  auto text = arena.allocate(kMaxUrl + 2);
  if (!text) return text;
  const std::span<uint8_t> room = text->reveal_mutable();
  size_t length = 0;
  while (length < room.size()) {
    const ssize_t got = ::read(opened->get(), room.data() + length, room.size() - length);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(os_error(file, "cannot be read").within("webhook_file"));
    if (got == 0) break;
    length += static_cast<size_t>(got);
  }
  while (length > 0 && std::strchr("\r\n \t", room[length - 1]) != nullptr) --length;
  if (length > kMaxUrl || !is_url(text->reveal_text().substr(0, length))) {
    return fail(Code::kInvalid, "webhook_file: " + file +
                                    ": must hold one line, a URL that begins with https:// (or "
                                    "http://)");
  }
  text->truncate(length);
  return text;
}

Task<Result<SecretBytes>> Webhook::url() {
  std::function<Result<SecretBytes>()> job = [&arena = http_.arena(), file = file_] {
    return read_url(arena, file);
  };
  TaskGroup<Result<SecretBytes>> reading(http_.loop());
  reading.start(files_.run(std::move(job)));
  auto read = co_await reading.next(http_.loop().now() + times_.try_time);
  if (!read) {
    co_return fail(Code::kTimeout, "webhook_file: " + file_ + ": its disk does not answer");
  }
  co_return std::move(read->value);
}

Task<Result<void>> Webhook::send(std::string text) {
  const auto secret = co_await url();
  if (!secret) co_return fail(secret.error());
  const std::string body = webhook_body(text);
  Loop& loop = http_.loop();
  for (unsigned number = 1;; ++number) {
    Tried tried;
    {
      SecretRequest request(*secret, loop.now() + times_.try_time);
      request.headers.push_back({"Content-Type", "application/json; charset=utf-8"});
      request.body = body;
      request.max_response = kMaxReply;
      // So that HTTP/1.1 is spoken: HTTP/2 keeps the path of what was sent.
      request.secret_response = true;
      const auto reply = co_await http_.exchange(request);
      tried = judge(reply, host_of(request.url), loop.clock().wall());
    }
    if (!tried.error) co_return Result<void>();
    if (number == kTries || !may_pass(tried.error->code)) {
      const std::string tries = number == 1 ? "" : " (" + std::to_string(number) + " tries)";
      co_return fail(tried.error->code, tried.error->message + tries);
    }
    const Duration pause =
        std::max(times_.pauses.at(number - 1), tried.retry_after.value_or(Duration::zero()));
    if (pause > times_.most_pause) {
      co_return fail(Code::kThrottled, tried.error->message + ", and asks to wait for " +
                                           to_text(pause) + ", which is too long");
    }
    co_await loop.sleep_for(pause);
  }
}

}  // namespace keyfs
