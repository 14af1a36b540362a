// What is to be told of the creation of a key: every record that is saved as ours is told once,
// whether or not anybody still waits for the key.
//
// Each is done for one opener, who may create the key; others may wait for the same key, and have
// not made it. If that opener gets it, it tells of it in the line of its open. But it may have been
// killed, or the daemon be about to end, while the record was on its way to the store; so the
// creation itself is an object that the flight and this opener's result share. If the last of them
// goes and nobody has told, it tells its witness; also if the store never answered whether the
// record was saved.
//
// Thread-safety: none; on the loop's thread, or after the loop has ended. Ownership: owns its
// witness, which refers to what outlives the keyring. Blocking: never. Errors: only begins()'s.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "base/clock.h"
#include "base/loop.h"
#include "base/result.h"

namespace keyfs {

// Of one opener who may create the key: puts on record what comes of it.
class CreationWitness {
 public:
  virtual ~CreationWitness() = default;
  // Right before the record goes to the store. An error: then it doesn't, and no key is created.
  virtual Task<Result<void>> begins(TimePoint deadline) = 0;
  // The record is in the store, but this opener has not told of it. `region` may be null.
  virtual void saved(uint32_t version, const std::string* region) = 0;
  // It may be in the store; why that is not known.
  virtual void perhaps_saved(const std::string& why) = 0;
};

class Creation {
 public:
  // `witness` may be null: nobody wants to know.
  Creation(std::shared_ptr<CreationWitness> witness, uint64_t opener)
      : witness_(std::move(witness)), opener_(opener) {}
  ~Creation();
  Creation(const Creation&) = delete;
  Creation& operator=(const Creation&) = delete;

  Task<Result<void>> begins(TimePoint deadline);
  // From now on the store may have the record.
  void writing() { state_ = State::kWriting; }
  bool is_writing() const { return state_ == State::kWriting; }
  void saved(uint32_t version, const std::string* region);
  void not_saved() { state_ = State::kDone; }
  void perhaps_saved(const std::string& why);
  // Whether it is done for this opener (Keyring::Impl::Asker).
  bool is_for(uint64_t opener) const { return opener == opener_; }
  // The opener for whom it was done has told of it.
  void told() { state_ = State::kDone; }

 private:
  enum class State { kBegun, kWriting, kSaved, kDone };
  const std::shared_ptr<CreationWitness> witness_;
  const uint64_t opener_;
  State state_ = State::kBegun;
  uint32_t version_ = 0;
  const std::string* region_ = nullptr;
};

}  // namespace keyfs
