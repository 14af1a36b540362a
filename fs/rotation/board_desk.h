// The runs on the board (fs/rotation/runs.h), as the command line sees and steers them.
//
// A retry and a stop are tickets: whoever holds the lock does them. A mark is made here.
//
// Thread-safety, blocking, errors: those of fs/rotation/run_desk.h. Ownership: refers to its parts,
// which outlive it and its tasks.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/crypto.h"
#include "base/loop.h"
#include "fs/rotation/documents.h"
#include "fs/rotation/run_desk.h"
#include "fs/rotation/runs.h"
#include "store/board.h"

namespace keyfs {

class BoardDesk final : public RunDesk {
 public:
  // `shards`: of the pulse.
  BoardDesk(Loop& loop, Board& board, Random& random, unsigned shards = 1)
      : loop_(loop), board_(board), random_(random), shards_(shards) {}

  Task<Result<Page>> list(std::string after, size_t limit, TimePoint deadline) override;
  Task<Result<std::optional<RunReport>>> report(std::string run, TimePoint deadline) override;
  Task<Result<RunHolder>> holder(TimePoint deadline) override;
  Task<Result<RunOutlook>> outlook(TimePoint deadline) override;
  Task<Result<std::vector<std::string>>> waiting(TimePoint deadline) override;
  // The runs are listed once, and later only those that have come since.
  Task<Result<std::vector<TicketFate>>> fates(std::vector<std::string> tokens,
                                              TimePoint deadline) override;
  Task<Result<std::optional<RunChange>>> retry(std::string run, std::string by,
                                               TimePoint deadline) override;
  Task<Result<std::optional<RunChange>>> mark_done(std::string run, std::string consumer,
                                                   std::string host, std::string by,
                                                   TimePoint deadline) override;
  Task<Result<std::optional<RunChange>>> stop(std::string run, std::string by,
                                              TimePoint deadline) override;

 private:
  // Tokens of the retries that were asked for, by run.
  using Retries = std::multimap<std::string, std::string>;
  Task<Result<Retries>> retries(TimePoint deadline);
  Task<Result<RunNow>> now(TimePoint deadline);
  Task<Result<std::optional<RunDocument>>> document(std::string run, TimePoint deadline);
  Task<Result<void>> find_runs(TimePoint deadline);
  Task<Result<void>> put(Ticket::Kind kind, std::string run, std::string by, TimePoint deadline);

  Loop& loop_;
  Board& board_;
  Random& random_;
  const unsigned shards_;

  std::optional<uint64_t> found_up_to_;       // the number of a run
  std::map<std::string, std::string> taken_;  // which run has taken which ticket last, by token
};

}  // namespace keyfs
