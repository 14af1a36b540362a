#include "fs/keys/creation_gate.h"

#include <utility>

#include "base/race.h"

namespace keyfs {

Result<CreationPass> judge_creation(const std::string& id, const Recall& recall, bool seen_here,
                                    const std::string& forget) {
  if (seen_here || recall.what == Recall::What::kKnown) {
    const std::string text = "the store no longer has the record of key " + id +
                             ", which this host has seen; no new key is created. Restore the "
                             "store, or, if the loss is intended, " +
                             forget;
    return fail(Code::kCorrupt, text);
  }
  if (recall.what == Recall::What::kUnknown) {
    std::string text = "key " + id +
                       " is not created: the store has no record of it, and this host cannot tell "
                       "now whether it has ever seen one";
    if (recall.why) text += ": " + recall.why->message;
    return fail(Code::kUnavailable, std::move(text));
  }
  return CreationPass(id);
}

Task<Result<CreationPass>> ask_to_create(Loop& loop, HostMemory& memory, std::string id,
                                         TimePoint deadline) {
  TaskGroup<Recall> asked(loop);
  asked.start(memory.recall(id));
  auto told = co_await asked.next(deadline);
  if (!told) {
    const Recall silent = Recall::unknown(
        Error(Code::kTimeout, "this host's memory of records (state_dir) did not answer in time"));
    co_return judge_creation(id, silent, false, memory.forget());
  }
  co_return judge_creation(id, told->value, false, memory.forget());
}

}  // namespace keyfs
