// Sends messages (fs/rotation/message.h) to the URL in webhook_file.
//
// The URL is a secret: whoever has it can write there. It is read for each message, so that a new
// one needs no restart; it is kept in locked memory, and neither logged nor told in an error, which
// names its host at most.
//
// Three tries: again after what may pass (no connection, no answer, 408, 425, 429, 5xx), never sooner
// than Retry-After asks for. A message whose answer was lost is sent again, so it may arrive twice.
//
// Thread-safety: none; on the loop's thread. Ownership: the client and its arena outlive it, and it
// outlives its tasks. Blocking: never; the file is read on a thread of its own. Dropping a task gives
// the message up. Errors: kDenied for a file that others can use, kInvalid for what is no URL or is
// refused for good, otherwise those of base/http.h. None of them is a reason to do anything but note
// it: a run is the same without its message.
#pragma once

#include <array>
#include <chrono>
#include <string>

#include "base/clock.h"
#include "base/http.h"
#include "base/lazy_worker.h"
#include "base/result.h"
#include "base/secret.h"
#include "base/task.h"

namespace keyfs {

class Webhook {
 public:
  static constexpr unsigned kTries = 3;
  struct Times {
    Duration try_time = std::chrono::seconds(10);  // for each try, and for reading the file
    // Before the second and the third try, where Retry-After does not ask for more.
    std::array<Duration, kTries - 1> pauses = {std::chrono::seconds(1), std::chrono::seconds(4)};
    // The longest that a Retry-After is waited for; after one that asks for more there is no further
    // try.
    Duration most_pause = std::chrono::minutes(1);
  };

  Webhook(HttpClient& http, std::string file);
  Webhook(HttpClient& http, std::string file, Times times);
  Webhook(const Webhook&) = delete;
  Webhook& operator=(const Webhook&) = delete;

  // Lasts for kTries times try_time and the pauses between, at most.
  Task<Result<void>> send(std::string text);

  // What the file holds: a URL on a line of its own, in a file that is ours and that nobody else can
  // read. Blocks on the disk. For `keyfs check` too.
  static Result<SecretBytes> read_url(SecretArena& arena, const std::string& file);

 private:
  Task<Result<SecretBytes>> url();

  HttpClient& http_;
  const std::string file_;
  const Times times_;
  LazyWorker files_;
};

}  // namespace keyfs
