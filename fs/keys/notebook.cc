#include "fs/keys/notebook.h"

#include <utility>

#include "base/race.h"

namespace keyfs {

Task<std::optional<Error>> done_by(Loop& loop, Task<Result<void>> noting, TimePoint until) {
  TaskGroup<Result<void>> group(loop);
  group.start(std::move(noting));
  const auto noted = co_await group.next(until);
  if (!noted) {
    co_return Error(Code::kTimeout,
                    "this host's memory of records (state_dir) did not answer in time");
  }
  if (!noted->value) co_return noted->value.error();
  co_return std::nullopt;
}

}  // namespace keyfs
