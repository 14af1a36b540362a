// What `keyfs rotate` and `keyfs promote` have done to keys becomes known to their consumers by a
// ticket on the board: whoever runs rotations finds it done, and tells the consumers in a run. For
// what could not be done now the ticket asks to do it later.
//
// A board that is not there, or not for this user, is a configuration like others: it is told, and
// changes the exit code only with --wait. One that does not answer is asked no more by this command:
// what was done is then told to nobody, until the same command is run again.
//
// Thread-safety: one thread, which runs the context's loop. Ownership: refers to the output; keeps
// its board's parts, so the context must outlive the calls. Blocking: all but count(). Errors: told,
// and counted.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fs/cli/board_rotation.h"
#include "fs/cli/command_context.h"
#include "fs/cli/key_answers.h"
#include "fs/cli/output.h"
#include "fs/rotation/documents.h"
#include "fs/rotation/run_desk.h"

namespace keyfs {

class Telling {
 public:
  // What came of a key by this command itself.
  enum class Own { kDone, kPartial, kFailed };
  enum class Asked {
    kNot,      // there is nothing to tell, or nothing that could be done later
    kPut,      // there is a ticket
    kNoBoard,  // there can't be one
    kSilent,   // there is none, or that is not known
  };

  Telling(Output& output, bool waits) : output_(output), waits_(waits) {}

  // Puts the ticket, but for the time and the user, which are filled in. `done`: what it asks for
  // was done by this command.
  Asked ask(CommandContext& context, Ticket ticket, bool done);
  // "ticket", and why there is none.
  void tell(KeyAnswers::Json& json, const std::string& token, Asked asked) const;
  // Counts the key, or waits for its ticket's end in finish().
  void count(KeyAnswers& keys, const std::string& id, const std::string& token, Own own,
             Asked asked);
  bool waits() const { return waits_; }
  // What has become of a ticket that an earlier command has put; nullopt: the board does not tell.
  std::optional<TicketFate> fate(CommandContext& context, const std::string& token);

  // After all keys.
  void finish(KeyAnswers& keys);

 private:
  struct Awaited {
    std::string id;
    std::string token;
  };
  // Finds the board, if there is one and it was not silent before.
  void reach(CommandContext& context);
  Result<void> put(const Ticket& ticket, bool done);
  // When consumers are told; counts a lock that is damaged, since no host can tell them then.
  void say_how(KeyAnswers& keys);
  void wait(KeyAnswers& keys);

  Output& output_;
  const bool waits_;
  std::unique_ptr<BoardRotation> rotation_;
  CommandContext* context_ = nullptr;  // once something was asked
  Board* board_ = nullptr;
  std::vector<std::string> untold_;  // ids of keys that were changed, without a ticket
  bool put_ = false;                 // a ticket for what is done
  bool put_for_later_ = false;       // one for what is overdue
  std::vector<Awaited> awaited_;
};

}  // namespace keyfs
