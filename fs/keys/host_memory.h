// What this host remembers of the records it has seen: for when the store is down, and to compare
// the store's later answers with.
//
// recall() distinguishes three answers, because promises depend on each:
//   kKnown    the id was seen here; with its record, or without one if that is damaged
//   kNever    this host has never seen it, for certain
//   kUnknown  not known now: callers must assume the worst
//
// Thread-safety: none, on the loop's thread; trouble() from any. Ownership: callers refer to it; it
// outlives their tasks. Blocking: never.
#pragma once

#include <optional>
#include <string>
#include <utility>

#include "base/clock.h"
#include "base/result.h"
#include "base/task.h"
#include "store/rkms.h"
#include "store/store.h"

namespace keyfs {

// What was seen of a record of which nothing is remembered but that there was one.
enum class Sighting {
  kRkms,      // written by RKMS, whether or not the configuration accepts that
  kUnproven,  // damaged, or its key was not unwrapped and verified: it may have been keyfs's
};
inline Sighting sighting_of(const Record& record) {
  return record.from_rkms ? Sighting::kRkms : Sighting::kUnproven;
}

// Of the record that could not be read with this error.
inline Sighting sighting_of(const Error& error) {
  return is_rkms_not_accepted(error) ? Sighting::kRkms : Sighting::kUnproven;
}

struct Recall {
  enum class What { kKnown, kNever, kUnknown };
  What what = What::kUnknown;
  // For kKnown, unless only its existence is known; and for kUnknown where another memory than the
  // one that what was seen is in has a record.
  std::optional<Stored> stored;
  Duration age = Duration::max();  // since it was last confirmed; max(): unknown
  // For kUnknown. For kKnown: why there is no record here, which may have been one of keyfs's.
  std::optional<Error> why;

  static Recall unknown(Error error) {
    Recall recall;
    recall.why = std::move(error);
    return recall;
  }
};

// Recall::why for a record that was seen, and not proven: any other reason is damage.
Error seen_unproven(const std::string& id);

class HostMemory {
 public:
  virtual ~HostMemory() = default;

  // What is remembered of an id; whatever fails is kUnknown. It may take as long as a disk hangs:
  // callers limit the time.
  virtual Task<Recall> recall(std::string id) = 0;

  // Notes a record that was read and verified. `strong`: it is current now; otherwise the time of
  // its last confirmation stays. Returns immediately. A record that goes back from what is
  // remembered is ignored.
  virtual void note(const Stored& stored, bool strong) = 0;

  // The store holds a record of the id, of which nothing binds except that the id exists. Returns
  // at once.
  virtual void note_seen(const std::string& id, Sighting what) = 0;

  // Waits until what was noted about the id survives a restart. On an error a created key must not
  // be handed out, since this host might create it a second time. As slow as recall().
  virtual Task<Result<void>> kept(std::string id) = 0;

  // The feed of changes: see ChangeListener. `doubt`: a change was announced without its record.
  virtual void doubt(const std::string& id) = 0;
  virtual void on_live(bool live) = 0;
  virtual void on_gap() = 0;

  // Why this host creates nothing now; empty: it may create.
  virtual std::string trouble() const = 0;
  // How an operator makes this host forget everything, for messages: "stop keyfs and remove ...".
  virtual std::string forget() const = 0;
};

// Replaces a memory that is not usable: every answer is kUnknown, so no key is created.
class BrokenMemory final : public HostMemory {
 public:
  BrokenMemory(Error why, std::string forget) : why_(std::move(why)), forget_(std::move(forget)) {}
  Task<Recall> recall(std::string) override { co_return Recall::unknown(why_); }
  void note(const Stored&, bool) override {}
  void note_seen(const std::string&, Sighting) override {}
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
