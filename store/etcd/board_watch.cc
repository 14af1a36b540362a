#include "store/etcd/board_watch.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <utility>

#include "base/race.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;

constexpr Duration kProbeEvery = 5s;
constexpr Duration kProbePatience = 2s;
constexpr Backoff kBackoff{50ms, 2s, 0.5};

}  // namespace

EtcdBoardWatch::EtcdBoardWatch(EtcdClient& client, EtcdIdentity& identity, std::string documents,
                               BoardListener& listener)
    : client_(client), identity_(identity), documents_(std::move(documents)), listener_(listener) {}

void EtcdBoardWatch::gap(int64_t next) {
  next_ = next;
  listener_.on_gap();
}

Task<std::optional<int64_t>> EtcdBoardWatch::probe(size_t endpoint) {
  EtcdRange range(documents_ + "pulse");  // any key: what counts is the revision
  range.keys_only = true;
  EtcdCall call(kEtcdRangePath, to_json(range));
  call.urgent = true;
  const TimePoint until = client_.loop().now() + kProbePatience;
  const auto answer = co_await client_.ask(endpoint, call, until, kProbePatience);
  if (!answer) co_return std::nullopt;
  co_return answer->header.revision;
}

Task<EtcdBoardWatch::Event> EtcdBoardWatch::probe_later(size_t endpoint) {
  co_await client_.loop().sleep_for(kProbeEvery);
  const auto revision = co_await probe(endpoint);
  // Below what was announced: it has gone back in time, and the stream waits for what is to come.
  co_return Event{What::kProbed, created_ && revision && *revision + 1 >= next_};
}

Task<EtcdBoardWatch::Event> EtcdBoardWatch::stream(size_t endpoint, EtcdIncoming& incoming) {
  std::function<bool(std::string_view)> on_data = [&incoming](std::string_view piece) {
    if (!incoming.lines.append(piece)) return false;
    incoming.wake();
    return true;
  };
  std::string body = watch_request(documents_, end_of_prefix(documents_), next_);
  const EtcdFailure failure =
      co_await client_.stream(endpoint, "/v3/watch", std::move(body), std::move(on_data));
  if (!failure.alive || failure.error.code == Code::kUnavailable) {
    client_.endpoints().failed(endpoint, true, failure.error, kProbePatience, failure.alive);
  }
  co_return Event{What::kStreamEnded, false};
}

Task<EtcdBoardWatch::Event> EtcdBoardWatch::wait_for_data(EtcdIncoming& incoming) {
  co_await incoming.wait();
  co_return Event{What::kData};
}

bool EtcdBoardWatch::take_lines(EtcdIncoming& incoming) {
  while (const auto line = incoming.lines.next()) {
    const auto reply = parse_etcd_watch_reply(*line);
    if (!reply || reply->canceled) {
      // What it said is unknown, or what it should say was compacted.
      if (!reply || reply->compact_revision != 0) next_ = 0;
      return false;
    }
    if (!identity_.accept_cluster(reply->header)) return false;
    created_ = created_ || reply->created;
    int64_t newest = 0;
    for (const auto& event : reply->events) {
      newest = std::max(newest, event.kv.mod_revision);
      if (event.kv.mod_revision < next_ || !event.kv.key.starts_with(documents_)) continue;
      listener_.on_change(event.kv.key.substr(documents_.size()));
    }
    // The next line may continue the same revision.
    if (newest != 0) next_ = std::max(next_, newest + (reply->fragment ? 0 : 1));
  }
  return true;
}

Task<bool> EtcdBoardWatch::follow(size_t endpoint) {
  const auto revision = co_await probe(endpoint);
  if (!revision) co_return false;
  if (next_ == 0 || *revision + 1 < next_) gap(*revision + 1);

  created_ = false;
  EtcdIncoming incoming(client_.loop());
  TaskGroup<Event> events(client_.loop());
  events.start(stream(endpoint, incoming));
  events.start(wait_for_data(incoming));
  events.start(probe_later(endpoint));
  for (;;) {
    const auto event = co_await events.next();
    if (!take_lines(incoming)) co_return created_;
    if (event->value.what == What::kStreamEnded || !event->value.good) co_return created_;
    if (event->value.what == What::kData) events.start(wait_for_data(incoming));
    if (event->value.what == What::kProbed) events.start(probe_later(endpoint));
  }
}

Task<void> EtcdBoardWatch::run() {
  for (unsigned failures = 0;;) {
    const bool begun = co_await follow(client_.endpoints().order(true).front()->index);
    failures = begun ? 0 : failures + 1;
    co_await client_.loop().sleep_for(kBackoff.pause(failures, client_.random()));
  }
}

}  // namespace keyfs
