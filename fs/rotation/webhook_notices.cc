#include "fs/rotation/webhook_notices.h"

#include <utility>

#include "fs/rotation/message.h"
#include "fs/rotation/run_report.h"
#include "fs/rotation/runs.h"

namespace keyfs {

Task<Result<void>> WebhookNotices::tell(RunDocument run, std::string (*message)(const RunReport&)) {
  constexpr std::chrono::seconds kPatience{10};
  const auto view = co_await look_at_run(board_, run.run, loop_.now() + kPatience);
  if (!view) co_return fail(view.error());
  const RunReport report = report_of(run, *view ? (*view)->sheets : Sheets());
  co_return co_await webhook_.send(message(report));
}

Task<Result<void>> WebhookNotices::ended(RunDocument run) {
  return tell(std::move(run), message_of_end);
}

Task<Result<void>> WebhookNotices::taken_over(RunDocument run) {
  return tell(std::move(run), message_of_takeover);
}

Task<Result<void>> WebhookNotices::stopped(RunDocument run) {
  return tell(std::move(run), message_of_stop);
}

}  // namespace keyfs
