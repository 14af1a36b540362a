// What this host remembers of the records it has seen: for when the store is out, and to hold what
// the store says later against what it said once.
//
// recall() tells apart three answers, since a law hangs on each of them:
//   kKnown    the id was seen here; with its record, or none when that is damaged
//   kNever    this host has never seen it, for certain
//   kUnknown  that can't be told now: whoever is bound by the answer takes it for the worst
//
// Thread-safety: none, on the loop's thread; trouble() from any. Ownership: callers refer to it; it
// outlives their tasks. Blocking: never. Errors: are answers (kUnknown). recall() may take as long
// as a disk hangs: callers bound it.
#pragma once

#include <optional>
#include <string>
#include <utility>

#include "base/clock.h"
#include "base/result.h"
#include "base/task.h"
#include "store/store.h"

namespace keyfs {

struct Recall {
  enum class What { kKnown, kNever, kUnknown };
  What what = What::kUnknown;
  std::optional<Stored> stored;    // of kKnown, unless it is damaged
  Duration age = Duration::max();  // since it was last confirmed; max(): that can't be told
  std::optional<Error> why;        // of kUnknown, and of kKnown without a record

  static Recall unknown(Error error) {
    Recall recall;
    recall.why = std::move(error);
    return recall;
  }
};

class HostMemory {
 public:
  virtual ~HostMemory() = default;

  virtual Task<Recall> recall(std::string id) = 0;

  // The record was read and found right. `strong`: and was current just now; otherwise the time at
  // which it was last confirmed stays. Returns at once. What would take back what is remembered is
  // not taken.
  virtual void note(const Stored& stored, bool strong) = 0;

  // What was noted of the id is where a restart finds it again. An error when it can't be put there
  // now: then nothing that was made may be handed out, since this host might make it once more.
  virtual Task<Result<void>> kept(std::string id) = 0;

  // The feed of changes: see ChangeListener. `doubt`: a change was announced and not carried.
  virtual void doubt(const std::string& id) = 0;
  virtual void on_live(bool live) = 0;
  virtual void on_gap() = 0;

  // Why nothing is created on this host now; empty: nothing stands in the way.
  virtual std::string trouble() const = 0;
  // What an operator does to have everything forgotten, for messages: "stop keyfs and remove ...".
  virtual std::string forget() const = 0;
};

// In place of a memory that can't be used: it knows nothing, and says so, so that no key is made.
class BrokenMemory final : public HostMemory {
 public:
  BrokenMemory(Error why, std::string forget) : why_(std::move(why)), forget_(std::move(forget)) {}
  Task<Recall> recall(std::string) override { co_return Recall::unknown(why_); }
  void note(const Stored&, bool) override {}
  Task<Result<void>> kept(std::string) override { co_return fail(why_); }
  void doubt(const std::string&) override {}
  void on_live(bool) override {}
  void on_gap() override {}
  std::string trouble() const override { return why_.message; }
  std::string forget() const override { return forget_; }

 private:
  const Error why_;
  const std::string forget_;
};

}  // namespace keyfs
