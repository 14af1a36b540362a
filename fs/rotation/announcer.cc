#include "fs/rotation/announcer.h"

#include <chrono>
#include <optional>
#include <utility>

#include "store/board_update.h"

namespace keyfs {
namespace {

constexpr Duration kCall = std::chrono::seconds(30);
constexpr Duration kLookEvery = std::chrono::hours(1);  // it is woken before

}  // namespace

Announcer::Announcer(Loop& loop, Board& board, Log& log, const Tenure& tenure, RunNotices* notices)
    : loop_(loop), board_(board), log_(log), tenure_(tenure), notices_(notices), wake_(loop) {}

void Announcer::ended(RunView run) { add(&RunNotices::ended, std::move(run)); }
void Announcer::taken_over(RunView run) { add(&RunNotices::taken_over, std::move(run)); }
void Announcer::stopped(RunView run) { add(&RunNotices::stopped, std::move(run)); }

void Announcer::add(Tell tell, RunView run) {
  if (!tells()) return;
  if (waiting_.size() == kMost) {
    log_.warn("a message about a rotation was not sent: too many wait",
              {{"run", waiting_.front().run.run.run}});
    waiting_.pop_front();
  }
  waiting_.push_back({tell, std::move(run)});
  wake_.set();
}

Task<bool> Announcer::work() {
  waiting_.clear();
  for (;;) {
    if (waiting_.empty()) {
      co_await wake_.wait(loop_.now() + kLookEvery);
      continue;
    }
    Message message = std::move(waiting_.front());
    waiting_.pop_front();
    std::string run = message.run.run.run;
    const uint32_t attempt = message.run.run.attempt;
    const bool of_end = message.tell == &RunNotices::ended;
    auto telling = (notices_->*message.tell)(std::move(message.run));
    auto told = co_await std::move(telling);
    if (!told) {
      log_.warn("a message about a rotation could not be sent",
                {{"run", run}, {"reason", told.error().message}});
    }
    if (of_end) co_await note_end(std::move(run), attempt, std::move(told));
  }
}

Task<void> Announcer::note_end(std::string run, uint32_t attempt, Result<void> told) {
  using Text = Result<std::optional<std::string>>;
  const ChangeDocument change = [&](const BoardDocument* there) -> Text {
    if (!tenure_.may_act()) return fail(Code::kUnavailable, "this host may not act any more");
    if (there == nullptr) return std::optional<std::string>();
    auto document = parse_run(there->text);
    if (!document) return fail(document.error());
    // A retry has begun since, and has an end of its own.
    const bool ours =
        document->attempt == attempt && document->notice == RunDocument::Notice::kSending;
    if (!ours) return std::optional<std::string>();
    document->notice = told ? RunDocument::Notice::kSent : RunDocument::Notice::kFailed;
    document->notice_why = told ? std::string() : told.error().message;
    return std::optional<std::string>(to_text(*document));
  };
  const auto noted =
      co_await update_document(board_, loop_, run_name(run), change, loop_.now() + kCall);
  if (noted) co_return;
  log_.warn("it could not be noted whether the message about a rotation was sent",
            {{"run", run}, {"reason", noted.error().message}});
}

}  // namespace keyfs
