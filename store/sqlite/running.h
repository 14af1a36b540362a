// How SqliteStore and its board run work on the store's threads: for their own source files only.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "base/deadline.h"
#include "base/race.h"
#include "base/worker.h"
#include "store/sqlite/connection.h"
#include "store/sqlite/store.h"

namespace keyfs {

struct SqliteStore::Thread {
  Thread(Loop& loop, const std::string& name, std::unique_ptr<SqliteConnection> opened)
      : connection(std::move(opened)), worker(loop, name) {}
  std::unique_ptr<SqliteConnection> connection;
  Worker worker;  // last: it ends before the connection closes
};

template <class T>
Task<Result<T>> SqliteStore::run(Thread& thread, std::string what, TimePoint deadline,
                                 std::function<Result<T>(SqliteConnection&, TimePoint)> work) {
  const TimePoint give_up = sooner(deadline, loop_.now());
  std::function<Result<T>()> job = [this, &thread, what, give_up,
                                    work = std::move(work)]() -> Result<T> {
    // Its caller is gone: so a backlog of calls that waited for a slow disk clears quickly.
    if (loop_.now() >= give_up) return fail(Code::kTimeout, what + ": timed out");
    return work(*thread.connection, give_up);
  };
  auto on_thread = thread.worker.template run<Result<T>>(std::move(job));
  co_return co_await before(loop_, deadline, std::move(what), std::move(on_thread));
}

}  // namespace keyfs
