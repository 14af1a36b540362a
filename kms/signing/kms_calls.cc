#include "kms/signing/kms_calls.h"

#include <chrono>

#include "base/strict_json.h"
#include "kms/signing/kms_messages.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;

constexpr size_t kMaxSigningReply = size_t{1} << 20;
constexpr Backoff kManagingPauses{100ms, 3s, 0.5};

bool ask_kms_again(const KmsAnswer& answer, const KmsQuestion& question) {
  if (question.until_there && answer.is("NotFoundException")) return true;
  if (question.until_ready && answer.is("KMSInvalidStateException")) return true;
  const Code code = answer.error->code;
  // A number of keys or aliases that is used up does not come back in time.
  if (code == Code::kThrottled) return !answer.is("LimitExceededException");
  return may_pass(code) && !question.once && !question.elsewhere;
}

}  // namespace

Task<KmsAnswer> KmsCalls::once(SigningSlot& slot, KmsQuestion question, TimePoint deadline) {
  // Invalid UTF-8 must not throw.
  AwsCall call(question.operation,
               question.body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace),
               deadline);
  call.max_response = kMaxSigningReply;
  call.own_connection = question.once;
  const TimePoint begin = loop_.now();
  auto reply = co_await slot.client->call(std::move(call));
  KmsAnswer answer;
  if (!reply) {
    answer.error = reply.error().within(question.operation + " in " + slot.name);
  } else if (!reply->ok()) {
    answer.refusal = reply->reason();
    answer.error = kms_signing_error(*reply, question.operation, question.subject, slot.name);
  } else if (!reply->http.text().empty()) {
    auto body = parse_strict_json(reply->http.text(), kMaxSigningReply);
    if (body && body->is_object()) {
      answer.body = std::move(*body);
    } else {
      answer.error = Error(Code::kUnavailable, "the reply to " + question.operation + " in " +
                                                   slot.name + " does not come from KMS");
    }
  }
  if (reply) {
    const std::string* id = reply->http.header("x-amzn-requestid");
    if (id != nullptr) answer.request_id = *id;
  }
  if (observer_ != nullptr) {
    observer_->on_call(slot.name, question.operation, answer.error ? &*answer.error : nullptr,
                       loop_.now() - begin);
  }
  co_return answer;
}

Task<KmsAnswer> KmsCalls::ask(SigningSlot& slot, KmsQuestion question, TimePoint deadline) {
  int spent = 0;
  for (unsigned retry = 0;; ++retry) {
    KmsAnswer answer = co_await once(slot, question, deadline);
    if (!answer.error) {
      budget_.succeeded(spent);
      co_return answer;
    }
    if (!ask_kms_again(answer, question)) co_return answer;
    const bool trouble = may_pass(answer.error->code);
    const TimePoint next = loop_.now() + kManagingPauses.pause(retry, random_);
    if (next >= deadline || (trouble && !budget_.take(RetryBudget::kRetry))) co_return answer;
    if (trouble) spent += RetryBudget::kRetry;
    co_await loop_.sleep_until(next);
  }
}

}  // namespace keyfs
