#include "store/sqlite/board.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <utility>

#include "store/sqlite/running.h"
#include "store/sqlite/store.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;

constexpr Duration kLookEvery = 1s;
// After a change, since another one often follows: then twice as long each time.
constexpr Duration kLookAgain = 100ms;
constexpr Duration kLookPatience = 5s;

template <class T>
using Work = std::function<Result<T>(SqliteConnection&, TimePoint)>;

std::string unknown(const std::string& path, const std::string& name, const char* what) {
  return path + ": outcome unknown: document " + name + " may or may not have been " + what;
}

}  // namespace

Task<Result<std::optional<BoardDocument>>> SqliteBoard::get(std::string name, TimePoint deadline) {
  using Found = std::optional<BoardDocument>;
  if (auto ok = check_board_name(name); !ok) co_return fail(std::move(ok.error()));
  std::string what = store_.path_ + ": document " + name + " could not be read";
  Work<Found> work = [name = std::move(name)](SqliteConnection& db, TimePoint until) {
    return db.board().get(name, until);
  };
  co_return co_await store_.run(*store_.reader_, std::move(what), deadline, std::move(work));
}

Task<Result<std::optional<BoardDocument>>> SqliteBoard::peek(std::string name, TimePoint deadline) {
  return get(std::move(name), deadline);
}

Task<Result<BoardWrite>> SqliteBoard::put_if_absent(std::string name, std::string text,
                                                    TimePoint deadline) {
  if (auto ok = check_board_document(name, text); !ok) co_return fail(std::move(ok.error()));
  std::string what = unknown(store_.path_, name, "written");
  Work<BoardWrite> work = [name = std::move(name), text = std::move(text)](SqliteConnection& db,
                                                                           TimePoint until) {
    return db.board().put_if_absent(name, text, until);
  };
  co_return co_await store_.run(*store_.writer_, std::move(what), deadline, std::move(work));
}

Task<Result<BoardWrite>> SqliteBoard::replace(std::string name, std::string text,
                                              std::string revision, TimePoint deadline) {
  if (auto ok = check_board_document(name, text); !ok) co_return fail(std::move(ok.error()));
  std::string what = unknown(store_.path_, name, "replaced");
  Work<BoardWrite> work = [name = std::move(name), text = std::move(text),
                           revision = std::move(revision)](SqliteConnection& db, TimePoint until) {
    return db.board().replace(name, text, revision, until);
  };
  co_return co_await store_.run(*store_.writer_, std::move(what), deadline, std::move(work));
}

Task<Result<BoardWrite>> SqliteBoard::remove(std::string name, std::string revision,
                                             TimePoint deadline) {
  if (auto ok = check_board_name(name); !ok) co_return fail(std::move(ok.error()));
  std::string what = unknown(store_.path_, name, "removed");
  Work<BoardWrite> work = [name = std::move(name), revision = std::move(revision)](
                              SqliteConnection& db, TimePoint until) {
    return db.board().remove(name, revision, until);
  };
  co_return co_await store_.run(*store_.writer_, std::move(what), deadline, std::move(work));
}

Task<Result<BoardPage>> SqliteBoard::list(std::string prefix, std::string after, size_t limit,
                                          TimePoint deadline) {
  if (auto ok = check_board_prefix(prefix); !ok) co_return fail(std::move(ok.error()));
  limit = std::clamp<size_t>(limit, 1, kMaxBoardPage);
  std::string what = store_.path_ + ": documents could not be listed";
  Work<BoardPage> work = [prefix = std::move(prefix), after = std::move(after), limit](
                             SqliteConnection& db, TimePoint until) {
    return db.board().list(prefix, after, limit, until);
  };
  co_return co_await store_.run(*store_.reader_, std::move(what), deadline, std::move(work));
}

Task<Result<std::string>> SqliteBoard::changed(TimePoint deadline) {
  Work<std::string> work = [](SqliteConnection& db, TimePoint until) {
    return db.board().changed(until);
  };
  return store_.run(*store_.reader_, store_.path_ + ": could not be read", deadline,
                    std::move(work));
}

Task<void> SqliteBoard::watch(BoardListener& listener) {
  Loop& loop = store_.loop_;
  std::optional<std::string> last;
  Duration pause = kLookEvery;
  for (;;) {
    const auto now = co_await changed(loop.now() + kLookPatience);
    // What cannot be read now is looked at again, and differs then if it has changed.
    pause = std::min(2 * pause, kLookEvery);
    if (now && (!last || *now != *last)) {
      last = *now;
      pause = kLookAgain;
      listener.on_gap();
    }
    co_await loop.sleep_for(pause);
  }
}

Task<std::vector<CheckItem>> SqliteBoard::check(TimePoint deadline) {
  Work<int64_t> work = [](SqliteConnection& db, TimePoint until) {
    return db.board().count(until);
  };
  const auto documents = co_await store_.run(*store_.reader_, store_.path_ + ": could not be read",
                                             deadline, std::move(work));
  std::vector<CheckItem> items;
  if (documents) {
    items.push_back({"board", true,
                     std::to_string(*documents) + (*documents == 1 ? " document" : " documents") +
                         " in the same file",
                     "", false});
  } else {
    items.push_back({"board", false, documents.error().message, "see the reason", false});
  }
  co_return items;
}

}  // namespace keyfs
