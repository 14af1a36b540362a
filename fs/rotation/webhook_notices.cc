#include "fs/rotation/webhook_notices.h"

#include <utility>

#include "fs/rotation/message.h"
#include "fs/rotation/run_report.h"

namespace keyfs {

Task<Result<void>> WebhookNotices::ended(RunView run) {
  co_return co_await webhook_.send(message_of_end(report_of(run.run, run.sheets)));
}

Task<Result<void>> WebhookNotices::taken_over(RunView run) {
  co_return co_await webhook_.send(message_of_takeover(report_of(run.run, run.sheets)));
}

Task<Result<void>> WebhookNotices::stopped(RunView run) {
  co_return co_await webhook_.send(message_of_stop(report_of(run.run, run.sheets)));
}

}  // namespace keyfs
