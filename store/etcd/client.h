// Calls to an etcd cluster through the JSON gateways of its members.
//
// A call goes to the preferred member. When that one is silent for `hedge_after`, or cannot, the
// next one is asked as well (base/hedge.h); the first answer counts. So every request may be
// carried out more than once, also after the call has returned: callers send only what may be (a
// transaction that compares revisions). What a call gives up is told member by member. Few calls
// race a member that is merely slow, so that an overloaded cluster is not asked for more; once one
// of them has shown that it is silent, all go on elsewhere.
//
// Thread-safety: none; on the loop's thread. Ownership: owns the HTTP client; worker, identity
// and random source outlive it; it outlives its tasks. Blocking: never. Errors: see call().
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/http.h"
#include "base/retry.h"
#include "base/worker.h"
#include "store/etcd/auth.h"
#include "store/etcd/endpoints.h"
#include "store/etcd/error.h"
#include "store/etcd/identity.h"
#include "store/etcd/messages.h"
#include "store/etcd/options.h"

namespace keyfs {

struct EtcdCall {
  EtcdCall(std::string call_path, std::string call_body)
      : path(std::move(call_path)), body(std::move(call_body)) {}

  std::string path;  // "/v3/kv/range"
  std::string body;
  // Linearizable: only members that see a leader can answer. Otherwise any member answers from its
  // own copy.
  bool needs_leader = true;
  // Longer replies are not from etcd. Only a page of records needs more.
  size_t max_response = kMaxEtcdReplyOfOne;
  // Each member is asked at most once; otherwise repeatedly until the deadline.
  bool one_round = false;
  // In ask(): does not wait for its turn at a member that has many requests of ours.
  bool urgent = false;
  // If this is false for an answer, the member counts as unable to answer.
  std::function<bool(const EtcdReply&)> useful;
};

class EtcdClient {
 public:
  EtcdClient(std::unique_ptr<HttpClient> http, Worker& files, EtcdIdentity& identity,
             Random& random, const EtcdOptions& options);

  using Answer = tl::expected<EtcdReply, EtcdFailure>;

  // The first useful answer of any member. kTimeout after the deadline, with what each member said;
  // kDenied, kUnauthenticated, kInvalid if all members would say the same; kUnavailable if a
  // single-round call failed at all of them.
  Task<Answer> call(EtcdCall call, TimePoint deadline);
  // Asks one member only, for no longer than `patience`; its failure is the answer.
  Task<Answer> ask(size_t endpoint, const EtcdCall& call, TimePoint deadline, Duration patience);

  // A stream from one member; incoming data goes to `on_data` (base/http.h). Ends when the member
  // ends it.
  Task<EtcdFailure> stream(size_t endpoint, std::string path, std::string body,
                           std::function<bool(std::string_view)> on_data);

  // True if no member could answer the last linearizable call.
  bool leaderless() const { return leaderless_; }

  EtcdEndpoints& endpoints() { return endpoints_; }
  Loop& loop() { return http_->loop(); }
  const RandomFraction& random() const { return random_; }
  const std::string& user() const { return auth_.user(); }

 private:
  struct Said {
    size_t endpoint;
    std::string what;
  };
  class Round;
  Task<Answer> one_try(size_t endpoint, const EtcdCall& call, TimePoint until, bool& again);
  // In its turn.
  Task<Answer> ask_now(size_t endpoint, const EtcdCall& call, TimePoint until);
  void note(size_t endpoint, const EtcdCall& call, const Answer& answer, Duration latency);
  Task<Answer> round(const EtcdCall& call, TimePoint deadline, Duration patience,
                     std::vector<Said>& said);
  Answer judge(size_t endpoint, const EtcdCall& call, const HttpResponse& response,
               int64_t sent_at_mark, bool with_token);
  std::string told(const std::vector<Said>& said) const;

  std::unique_ptr<HttpClient> http_;
  EtcdIdentity& identity_;
  const EtcdOptions& options_;
  const RandomFraction random_;
  EtcdEndpoints endpoints_;
  EtcdAuth auth_;
  bool leaderless_ = false;
};

}  // namespace keyfs
