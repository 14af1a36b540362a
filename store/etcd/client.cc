#include "store/etcd/client.h"

#include <algorithm>
#include <map>
#include <utility>

#include "base/hedge.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;

constexpr Backoff kBetweenRounds{50ms, 1s, 0.5};
constexpr char kSilent[] = "did not answer";

tl::unexpected<EtcdFailure> failing(Error error, EtcdNext next = EtcdNext::kOtherEndpoint) {
  EtcdFailure failure{std::move(error)};
  failure.next = next;
  return tl::unexpected<EtcdFailure>(std::move(failure));
}

HttpRequest request_for(const std::string& url, std::string body, bool needs_leader,
                        TimePoint until, SecretBytes token) {
  HttpRequest request("POST", url, until);
  request.headers.push_back({"Content-Type", "application/json"});
  // Makes a member that is cut off from its leader say so immediately, and end its streams.
  if (needs_leader) request.headers.push_back({"Grpc-Metadata-hasleader", "true"});
  request.body = std::move(body);
  request.max_response = kMaxEtcdReplyOfOne;
  if (!token.empty()) request.secret_headers.push_back({"Authorization", std::move(token)});
  return request;
}

}  // namespace

EtcdClient::EtcdClient(std::unique_ptr<HttpClient> http, Worker& files, EtcdIdentity& identity,
                       Random& random, const EtcdOptions& options)
    : http_(std::move(http)),
      identity_(identity),
      options_(options),
      random_(random_fraction(random)),
      endpoints_(loop(), random_, options),
      auth_(*http_, files, options.user, options.password_file) {}

EtcdClient::Answer EtcdClient::judge(size_t endpoint, const EtcdCall& call,
                                     const HttpResponse& response, int64_t sent_at_mark,
                                     bool with_token) {
  if (response.status != 200) {
    EtcdFailure failure =
        to_failure(parse_etcd_refusal(response.text()), response.status, auth_.user());
    // etcd 3.4 treats a request without a token as one by a user without permissions.
    if (failure.error.code == Code::kDenied && !with_token && !auth_.user().empty()) {
      failure.next = EtcdNext::kNewToken;
    }
    return tl::unexpected<EtcdFailure>(std::move(failure));
  }
  auto reply = parse_etcd_reply(response.text());
  if (!reply) return failing(reply.error());
  if (auto ok = identity_.accept_cluster(reply->header); !ok) {
    auto foreign = failing(ok.error());
    foreign.value().foreign = true;
    return foreign;
  }
  identity_.note(reply->header, sent_at_mark);
  reply->endpoint = endpoint;
  if (call.useful && !call.useful(*reply)) {
    auto useless = failing(Error(Code::kUnavailable, "does not have it"));
    useless.value().useless = true;
    return useless;
  }
  return std::move(*reply);
}

Task<EtcdClient::Answer> EtcdClient::one_try(size_t endpoint, const EtcdCall& call, TimePoint until,
                                             bool& again) {
  auto token = co_await auth_.token(endpoints_.url(endpoint), until);
  if (!token) co_return tl::unexpected<EtcdFailure>(std::move(token.error()));
  const bool with_token = !token->text.empty();
  const int64_t mark = call.needs_leader ? identity_.mark() : 0;
  HttpRequest request = request_for(endpoints_.url(endpoint) + call.path, call.body,
                                    call.needs_leader, until, std::move(token->text));
  request.max_response = call.max_response;
  const auto response = co_await http_->send(std::move(request));
  if (!response) co_return failing(response.error());
  Answer answer = judge(endpoint, call, *response, mark, with_token);
  if (!answer && answer.error().next == EtcdNext::kNewToken) {
    auth_.refused(endpoints_.url(endpoint), token->number);
    answer.error().next = EtcdNext::kOtherEndpoint;
    again = true;
  }
  co_return answer;
}

Task<EtcdClient::Answer> EtcdClient::ask_now(size_t endpoint, const EtcdCall& call,
                                             TimePoint until) {
  bool again = false;
  Answer answer = co_await one_try(endpoint, call, until, again);
  if (again) answer = co_await one_try(endpoint, call, until, again);
  co_return answer;
}

void EtcdClient::note(size_t endpoint, const EtcdCall& call, const Answer& answer,
                      Duration latency) {
  if (answer) {
    endpoints_.answered(endpoint, call.needs_leader, latency);
    if (call.needs_leader) leaderless_ = false;
    return;
  }
  const EtcdFailure& failure = answer.error();
  if (failure.next != EtcdNext::kOtherEndpoint || failure.useless) return;
  endpoints_.failed(endpoint, call.needs_leader, failure.error, latency, failure.alive);
}

Task<EtcdClient::Answer> EtcdClient::ask(size_t endpoint, const EtcdCall& call, TimePoint deadline,
                                         Duration patience) {
  FairTurns::Ticket ticket(std::nullopt);
  FairTurns::Turn turn;
  if (!call.urgent) turn = co_await endpoints_.turns(endpoint).take(ticket);
  const TimePoint begin = loop().now();
  Answer answer = co_await ask_now(endpoint, call, std::min(deadline, begin + patience));
  note(endpoint, call, answer, loop().now() - begin);
  co_return answer;
}

// Each member once at most.
class EtcdClient::Round final : public HedgedWork<Target, Answer> {
 public:
  Round(EtcdClient& client, const EtcdCall& call, TimePoint deadline, Duration patience,
        std::vector<Said>& said)
      : client_(client), call_(call), deadline_(deadline), patience_(patience), said_(said) {}

  Task<Answer> ask(Target& member) override {
    const TimePoint until = std::min(deadline_, client_.loop().now() + patience_);
    return client_.ask_now(member.index, call_, until);
  }

  Verdict judge(Target& member, Answer& answer, Duration latency) override {
    client_.note(member.index, call_, answer, latency);
    if (answer) return Verdict::kTake;
    EtcdFailure& failure = answer.error();
    foreign_ += failure.foreign ? 1 : 0;
    if (failure.next == EtcdNext::kGiveUp || foreign_ == client_.endpoints_.size()) {
      failure.next = EtcdNext::kGiveUp;
      failure.error = failure.error.within(member.name);
      return Verdict::kStop;
    }
    said_.push_back({member.index, failure.error.message});
    return Verdict::kNext;
  }

  void refused(Target& member, Error why) override {
    said_.push_back({member.index, std::move(why.message)});
  }

  void timed_out(Target& member, std::optional<Duration> waited) override {
    said_.push_back({member.index, kSilent});
    if (waited) member.failed(Error(Code::kTimeout, kSilent), *waited);
  }

 private:
  EtcdClient& client_;
  const EtcdCall& call_;
  const TimePoint deadline_;
  const Duration patience_;
  std::vector<Said>& said_;
  size_t foreign_ = 0;
};

Task<EtcdClient::Answer> EtcdClient::round(const EtcdCall& call, TimePoint deadline,
                                           Duration patience, std::vector<Said>& said) {
  Round work(*this, call, deadline, patience, said);
  Hedge<Target, Answer> hedge(loop(), work, deadline);
  auto taken = co_await hedge.run(endpoints_.order(call.needs_leader));
  if (taken) co_return std::move(taken->answer);
  if (call.needs_leader) leaderless_ = true;
  co_return failing(Error(Code::kUnavailable, "no member of etcd answered"));
}

std::string EtcdClient::told(const std::vector<Said>& said) const {
  std::map<size_t, std::string> last;
  for (const Said& one : said) {
    // What a member said before its time ran out is more informative than the time-out.
    if (one.what != kSilent || last[one.endpoint].empty()) last[one.endpoint] = one.what;
  }
  std::string text;
  for (const auto& [endpoint, what] : last) {
    const std::string& host = endpoints_.host(endpoint);
    text += text.empty() ? "" : "; ";
    text += what.starts_with(host) ? what : host + ": " + what;
  }
  return text;
}

Task<EtcdClient::Answer> EtcdClient::call(EtcdCall call, TimePoint deadline) {
  const TimePoint begin = loop().now();
  if (begin >= deadline) {
    co_return failing(Error(Code::kTimeout, "no time left to ask"), EtcdNext::kGiveUp);
  }
  std::vector<Said> said;
  // The second round waits longer, for a cluster that is slow. No round waits longer than that: what
  // was sent into an outage is never answered, however soon the cluster is back.
  const Duration first = options_.attempt_timeout;
  for (unsigned number = 0;; ++number) {
    const Duration patience = number == 0 ? first : 2 * first;
    Answer answer = co_await round(call, deadline, patience, said);
    if (answer || answer.error().next == EtcdNext::kGiveUp) co_return answer;
    if (loop().now() < deadline && !call.one_round) {
      const Duration pause = kBetweenRounds.pause(number, random_);
      co_await loop().sleep_until(std::min(deadline, loop().now() + pause));
      if (loop().now() < deadline) continue;
    }
    const bool late = loop().now() >= deadline;
    const std::string prefix = late ? "timed out after " + to_text(loop().now() - begin)
                                    : std::string("no member of etcd could answer");
    co_return failing(
        Error(late ? Code::kTimeout : Code::kUnavailable, prefix + " (" + told(said) + ")"));
  }
}

Task<EtcdFailure> EtcdClient::stream(size_t endpoint, std::string path, std::string body,
                                     std::function<bool(std::string_view)> on_data) {
  auto token =
      co_await auth_.token(endpoints_.url(endpoint), loop().now() + options_.attempt_timeout);
  if (!token) co_return std::move(token.error());
  const uint64_t number = token->number;
  HttpRequest request = request_for(endpoints_.url(endpoint) + path, std::move(body), true,
                                    TimePoint::max(), std::move(token->text));
  request.on_data = std::move(on_data);
  const auto response = co_await http_->send(std::move(request));
  if (!response) co_return EtcdFailure{response.error()};
  if (response->status == 200) {
    EtcdFailure ended{Error(Code::kUnavailable, "closed the stream")};
    ended.alive = true;
    co_return ended;
  }
  EtcdFailure failure =
      to_failure(parse_etcd_refusal(response->text()), response->status, auth_.user());
  if (failure.next == EtcdNext::kNewToken) auth_.refused(endpoints_.url(endpoint), number);
  co_return failure;
}

}  // namespace keyfs
