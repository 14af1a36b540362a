#include "fs/keys/in_keeping.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include "base/race.h"
#include "fs/keys/record_memory.h"

namespace keyfs {
namespace {

// What a change or a description waits for this host's memory.
constexpr Duration kMemoryPatience = std::chrono::milliseconds(500);

}  // namespace

Task<Result<std::optional<Stored>>> in_keeping(Loop& loop, Store& store, HostMemory& memory,
                                               Stored found, TimePoint deadline,
                                               std::optional<Error>* unsure) {
  const std::string id = found.record.id;
  TaskGroup<Recall> asked(loop);
  asked.start(memory.recall(id));
  const TimePoint until = std::min(deadline, loop.now() + kMemoryPatience);
  const auto told = co_await asked.next(until);
  if (told && told->value.what == Recall::What::kUnknown && unsure != nullptr) {
    *unsure = told->value.why;
  }
  if (!told || !told->value.stored) co_return std::optional<Stored>(std::move(found));
  const Record& before = told->value.stored->record;
  if (!goes_back(before, found.record)) co_return std::optional<Stored>(std::move(found));
  auto again = co_await store.get(id, Read::kStrong, deadline);
  if (!again) co_return fail(again.error().within("could not read the record of key " + id));
  if (!*again) co_return std::optional<Stored>();
  if (const auto why = goes_back(before, (*again)->record)) {
    co_return fail(went_back(id, *why, memory.forget()));
  }
  co_return std::optional<Stored>(std::move(**again));
}

}  // namespace keyfs
