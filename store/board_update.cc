#include "store/board_update.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/retry.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;

// Somebody else has got on each time, so there is no need for jitter.
constexpr Backoff kBackoff{2ms, 200ms};

}  // namespace

Task<Result<std::optional<BoardDocument>>> update_document(Board& board, Loop& loop,
                                                           std::string name, ChangeDocument change,
                                                           TimePoint deadline) {
  auto there = co_await board.get(name, deadline);
  if (!there) co_return there;
  for (unsigned number = 0;; ++number) {
    auto text = change(*there ? &**there : nullptr);
    if (!text) co_return fail(std::move(text.error()));
    if (!*text) co_return there;
    auto written = *there ? board.replace(name, std::move(**text), (*there)->revision, deadline)
                          : board.put_if_absent(name, std::move(**text), deadline);
    auto result = co_await std::move(written);
    if (!result) co_return fail(std::move(result.error()));
    if (result->done) co_return std::move(result->now);
    there = std::move(result->now);
    if (loop.now() >= deadline) {
      co_return fail(Code::kTimeout,
                     "document " + name + ": others changed it until the time was up");
    }
    co_await loop.sleep_until(std::min(deadline, loop.now() + kBackoff.longest(number)));
  }
}

}  // namespace keyfs
