#include "store/etcd/client.h"

#include <algorithm>
#include <map>
#include <utility>

#include "base/race.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;

// A page of a list, as base64 in JSON.
constexpr Duration kLeastPause = 50ms;  // between two rounds; doubled
constexpr Duration kMostPause = 1s;
constexpr size_t kAtOnce = 8;  // requests to one member
constexpr size_t kMostHedges = 2;
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
  // Makes a member that is cut off from its leader say so at once, and end its streams.
  if (needs_leader) request.headers.push_back({"Grpc-Metadata-hasleader", "true"});
  request.body = std::move(body);
  request.max_response = kMaxEtcdReply;
  if (!token.empty()) request.secret_headers.push_back({"Authorization", std::move(token)});
  return request;
}

// One of the few calls that may ask a second member while the first has just been slow.
class Hedge {
 public:
  explicit Hedge(size_t& under_way) : under_way_(under_way) {}
  ~Hedge() {
    if (taken_) --under_way_;
  }
  Hedge(const Hedge&) = delete;
  Hedge& operator=(const Hedge&) = delete;
  bool take() {
    if (taken_ || under_way_ >= kMostHedges) return taken_;
    ++under_way_;
    taken_ = true;
    return true;
  }

 private:
  size_t& under_way_;
  bool taken_ = false;
};

}  // namespace

EtcdClient::EtcdClient(std::unique_ptr<HttpClient> http, Worker& files, EtcdIdentity& identity,
                       const EtcdOptions& options)
    : http_(std::move(http)),
      identity_(identity),
      options_(options),
      endpoints_(options.endpoints),
      auth_(*http_, files, options.user, options.password_file) {
  for (size_t i = 0; i < endpoints_.size(); ++i) {
    slots_.push_back(std::make_unique<EtcdSlots>(loop(), kAtOnce));
  }
}

EtcdClient::Answer EtcdClient::judge(size_t endpoint, const EtcdCall& call,
                                     const HttpResponse& response, int64_t sent_at_mark,
                                     bool with_token) {
  if (response.status != 200) {
    EtcdFailure failure =
        to_failure(parse_etcd_refusal(response.text()), response.status, auth_.user());
    // etcd 3.4 calls a request without a token one of a user who may do nothing.
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

Task<EtcdClient::Answer> EtcdClient::ask(size_t endpoint, const EtcdCall& call, TimePoint deadline,
                                         Duration patience) {
  std::optional<EtcdSlots::Slot> slot;
  if (!call.urgent) {
    slot.emplace(*slots_[endpoint]);
    co_await slot->held();
  }
  const TimePoint begin = loop().now();
  const TimePoint until = std::min(deadline, begin + patience);
  bool again = false;
  Answer answer = co_await one_try(endpoint, call, until, again);
  if (again) answer = co_await one_try(endpoint, call, until, again);
  if (answer) {
    endpoints_.answered(endpoint, call.needs_leader);
    if (call.needs_leader) leaderless_ = false;
    co_return answer;
  }
  const EtcdFailure& failure = answer.error();
  // One who had hardly time to answer is not to blame.
  const bool hurried = failure.error.code == Code::kTimeout && until - begin < options_.hedge_after;
  if (failure.next == EtcdNext::kOtherEndpoint && !failure.useless && !hurried) {
    endpoints_.failed(endpoint, loop().now(), failure.alive);
  }
  co_return answer;
}

Task<EtcdClient::Answer> EtcdClient::round(const EtcdCall& call, TimePoint deadline,
                                           Duration patience, std::vector<Said>& said) {
  const std::vector<size_t> order = endpoints_.order(loop().now(), call.needs_leader);
  TaskGroup<Answer> tries(loop());
  Hedge hedge(hedges_);
  std::map<size_t, size_t> asked;  // number of the try -> endpoint
  size_t next = 0;
  size_t foreign = 0;
  const auto all_rest = [&] {
    return std::all_of(asked.begin(), asked.end(), [&](const auto& one) {
      return endpoints_.resting(one.second, loop().now());
    });
  };
  while (next < order.size() || !tries.empty()) {
    if (next < order.size() && (asked.empty() || all_rest() || hedge.take())) {
      const size_t endpoint = order[next++];
      asked[tries.start(ask(endpoint, call, deadline, patience))] = endpoint;
    }
    TimePoint until = deadline;
    if (next < order.size()) until = std::min(until, loop().now() + options_.hedge_after);
    auto finished = co_await tries.next(until);
    if (!finished) {
      if (loop().now() >= deadline) break;
      continue;
    }
    const size_t endpoint = asked.at(finished->number);
    asked.erase(finished->number);
    if (finished->value) {
      // Who was asked earlier and is still silent is not asked first the next time.
      for (const auto& [number, silent] : asked) {
        if (number < finished->number) endpoints_.failed(silent, loop().now(), false);
      }
      co_return std::move(finished->value);
    }
    const EtcdFailure& failure = finished->value.error();
    foreign += failure.foreign ? 1 : 0;
    if (failure.next == EtcdNext::kGiveUp || foreign == order.size()) {
      EtcdFailure out = failure;
      out.next = EtcdNext::kGiveUp;
      out.error = out.error.within(endpoints_.host(endpoint));
      co_return tl::unexpected<EtcdFailure>(std::move(out));
    }
    said.push_back({endpoint, failure.error.message});
  }
  for (const auto& [number, endpoint] : asked) said.push_back({endpoint, kSilent});
  if (call.needs_leader) leaderless_ = true;
  co_return failing(Error(Code::kUnavailable, "no member of etcd answered"));
}

std::string EtcdClient::told(const std::vector<Said>& said) const {
  std::map<size_t, std::string> last;
  for (const Said& one : said) {
    // What a member said before it was given no more time tells more than that.
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
    co_return failing(Error(Code::kTimeout, "no time was left to ask"), EtcdNext::kGiveUp);
  }
  std::vector<Said> said;
  Duration patience = options_.attempt_timeout;
  for (Duration pause = kLeastPause;; pause = std::min(pause * 2, kMostPause), patience *= 2) {
    Answer answer = co_await round(call, deadline, patience, said);
    if (answer || answer.error().next == EtcdNext::kGiveUp) co_return answer;
    if (loop().now() < deadline && !call.one_round) {
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
    EtcdFailure ended{Error(Code::kUnavailable, "ended the stream")};
    ended.alive = true;
    co_return ended;
  }
  EtcdFailure failure =
      to_failure(parse_etcd_refusal(response->text()), response->status, auth_.user());
  if (failure.next == EtcdNext::kNewToken) auth_.refused(endpoints_.url(endpoint), number);
  co_return failure;
}

}  // namespace keyfs
