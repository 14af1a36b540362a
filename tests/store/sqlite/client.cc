// One of several processes on one SQLite file.
//   sqlite_client PATH race MARK COUNT   puts COUNT ids, prints "id creator" of each winner
//   sqlite_client PATH write             puts ids endlessly, prints each once acknowledged
#include <cstdio>
#include <cstdlib>
#include <string>

#include "store/sqlite/store.h"
#include "store/store_contract.h"

namespace {

using namespace keyfs;

[[noreturn]] void give_up(const Error& error) {
  std::fprintf(stderr, "%s\n", error.message.c_str());
  std::exit(1);
}

PutResult put(Loop& loop, Store& store, const std::string& id, const std::string& mark) {
  const TimePoint deadline = loop.now() + std::chrono::seconds(60);
  auto put = loop.run_task(store.put_if_absent(keyfs::testing::example_record(id, mark), deadline));
  if (!put) give_up(put.error());
  return std::move(*put);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  SystemClock clock;
  IdlePoller poller;
  Loop loop(clock, poller);
  auto store = SqliteStore::open(loop, argv[1], loop.now() + std::chrono::seconds(60));
  if (!store) give_up(store.error());
  if (std::string(argv[2]) == "race" && argc == 5) {
    for (int i = 0; i < std::atoi(argv[4]); ++i) {
      const auto done = put(loop, **store, "key" + std::to_string(i), argv[3]);
      std::printf("%s %s\n", done.winner.record.id.c_str(),
                  done.winner.record.versions.at(1).creator.c_str());
    }
    return 0;
  }
  for (long i = 0;; ++i) {
    const std::string id = "key" + std::to_string(i);
    if (put(loop, **store, id, "a").stored) std::printf("%s\n", id.c_str());
    std::fflush(stdout);
  }
}
