// Tells people of runs by the webhook: one message when a run has ended, one when it was taken over
// or is being stopped.
//
// Thread-safety: none; on the loop's thread. Ownership: refers to the webhook, which outlives it
// and its tasks. Blocking: never. Errors: why a message was not sent: those of
// fs/rotation/webhook.h.
#pragma once

#include "base/result.h"
#include "base/task.h"
#include "fs/rotation/announcer.h"
#include "fs/rotation/report.h"
#include "fs/rotation/webhook.h"

namespace keyfs {

class WebhookNotices final : public RunNotices {
 public:
  explicit WebhookNotices(Webhook& webhook) : webhook_(webhook) {}

  Task<Result<void>> ended(RunView run) override;
  Task<Result<void>> taken_over(RunView run) override;
  Task<Result<void>> stopped(RunView run) override;

 private:
  Webhook& webhook_;
};

}  // namespace keyfs
