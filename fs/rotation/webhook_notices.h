// Tells people of runs by the webhook: one message when a run has ended, one when it was taken over
// or is being stopped.
//
// Thread-safety: none; on the loop's thread. Ownership: refers to its parts, which outlive it and its
// tasks. Blocking: never. Errors: why a message was not sent: the board's, or those of
// fs/rotation/webhook.h.
#pragma once

#include <string>

#include "base/loop.h"
#include "fs/rotation/report.h"
#include "fs/rotation/runner.h"
#include "fs/rotation/webhook.h"
#include "store/board.h"

namespace keyfs {

class WebhookNotices final : public RunNotices {
 public:
  WebhookNotices(Loop& loop, Board& board, Webhook& webhook)
      : loop_(loop), board_(board), webhook_(webhook) {}

  Task<Result<void>> ended(RunDocument run) override;
  Task<Result<void>> taken_over(RunDocument run) override;
  Task<Result<void>> stopped(RunDocument run) override;

 private:
  // `run` is as the runner has it; what became of its consumers is read from the board.
  Task<Result<void>> tell(RunDocument run, std::string (*message)(const RunReport&));

  Loop& loop_;
  Board& board_;
  Webhook& webhook_;
};

}  // namespace keyfs
