#include "store/etcd/watch.h"

#include <algorithm>
#include <map>
#include <utility>

#include "store/etcd/store.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;

constexpr Duration kPatience = 2s;    // for a stream to begin, and to catch up
constexpr Duration kStall = 500ms;    // for a change that a probe reported to arrive
constexpr Duration kStagger = 100ms;  // the next member is probed after this much silence
constexpr Backoff kBackoff{20ms, 500ms, 0.5};
constexpr Duration kRememberEvery = 1s;
constexpr Duration kKeepWarmEvery = 60s;

}  // namespace

EtcdWatch::EtcdWatch(EtcdStore& store, ChangeListener& listener)
    : store_(store), client_(store.client_), listener_(listener) {
  store_.watch_ = this;
}

EtcdWatch::~EtcdWatch() { store_.watch_ = nullptr; }

void EtcdWatch::set_live(bool live) {
  if (live == live_) return;
  live_ = live;
  listener_.on_live(live, announced_);
}

void EtcdWatch::gap(int64_t next) {
  next_ = next;
  goal_ = 0;
  listener_.on_gap();
}

void EtcdWatch::rewind(int64_t revision) {
  if (next_ == 0 || revision + 1 >= next_) return;
  next_ = revision + 1;
  restart_ = true;
  set_live(false);
  if (incoming_ != nullptr) incoming_->wake();
}

bool EtcdWatch::went_back() const { return store_.identity_.behind(); }

void EtcdWatch::compare(const Probed& probed) {
  // Each is sent when the one before was answered, and what it reads only ever advances.
  if (probed.changed != 0 && probed.changed < probed_) store_.identity_.went_back();
  probed_ = std::max(probed_, probed.changed);
  // The revisions may have passed what was seen before, by the writes of others in the cluster; the
  // count is of keyfs's alone. It starts again only if somebody removes the key.
  if (probed.created == created_at_ && probed.changes < changes_) store_.identity_.went_back();
  if (probed.created == 0) return;
  changes_ = probed.created == created_at_ ? std::max(changes_, probed.changes) : probed.changes;
  created_at_ = probed.created;
}

void EtcdWatch::begin(const Probed& first) {
  restart_ = false;
  created_ = false;
  announcing_ = 0;
  goal_ = 0;
  compare(first);
  if (went_back()) gap(first.revision + 1);
  // Where nothing tells what the newest change is, what was missed cannot be known.
  if (next_ == 0 || (first.changed == 0 && first.revision >= next_)) gap(first.revision + 1);
  take_probe(first);
}

void EtcdWatch::take_probe(const Probed& probed) {
  compare(probed);
  if (went_back() && live_) return;  // it confirms nothing, and what follows it ends
  if (probed.changed < next_) {
    if (caught_up() && !went_back()) announced_ = probed.sent;
    return;
  }
  if (caught_up()) goal_by_ = client_.loop().now() + kStall;
  goal_ = probed.changed;
  goal_sent_ = probed.sent;
}

Task<EtcdWatch::Event> EtcdWatch::probe(size_t endpoint) {
  EtcdRange range(store_.changed_key());
  range.keys_only = true;
  EtcdCall call(kEtcdRangePath, to_json(range));
  call.urgent = true;
  Event event{What::kProbed, std::nullopt, Probed{endpoint, client_.loop().now()}};
  const Duration patience = store_.options_.probe_timeout;
  const auto answer = co_await client_.ask(endpoint, call, event.probed.sent + patience, patience);
  if (!answer) {
    event.failure = answer.error();
    co_return event;
  }
  event.probed.revision = answer->header.revision;
  if (!answer->kvs.empty()) {
    event.probed.changed = answer->kvs[0].mod_revision;
    event.probed.created = answer->kvs[0].create_revision;
    event.probed.changes = answer->kvs[0].version;
  }
  co_return event;
}

Task<EtcdWatch::Event> EtcdWatch::probe_later(size_t endpoint) {
  co_await client_.loop().sleep_for(store_.options_.probe_every);
  co_return co_await probe(endpoint);
}

Task<std::optional<EtcdWatch::Probed>> EtcdWatch::find_member() {
  const std::vector<Target*> order = client_.endpoints().order(true);
  TaskGroup<Event> probes(client_.loop());
  size_t next = 0;
  while (next < order.size() || !probes.empty()) {
    std::optional<TimePoint> until;
    if (next < order.size()) probes.start(probe(order[next++]->index));
    if (next < order.size()) until = client_.loop().now() + kStagger;
    const auto finished = co_await probes.next(until);
    if (finished && !finished->value.failure) co_return finished->value.probed;
  }
  co_return std::nullopt;
}

Task<EtcdWatch::Event> EtcdWatch::stream(size_t endpoint, int64_t start, EtcdIncoming& incoming) {
  std::function<bool(std::string_view)> on_data = [&incoming](std::string_view piece) {
    if (!incoming.lines.append(piece)) return false;
    incoming.wake();
    return true;
  };
  std::string body = watch_request(store_.records_, end_of_prefix(store_.records_), start);
  EtcdFailure failure =
      co_await client_.stream(endpoint, "/v3/watch", std::move(body), std::move(on_data));
  co_return Event{What::kStreamEnded, std::move(failure), {}};
}

Task<EtcdWatch::Event> EtcdWatch::wait_for_data(EtcdIncoming& incoming) {
  co_await incoming.wait();
  co_return Event{What::kData, std::nullopt, {}};
}

bool EtcdWatch::take_lines(EtcdIncoming& incoming) {
  while (const auto line = incoming.lines.next()) {
    const auto reply = parse_etcd_watch_reply(*line);
    if (!reply) {
      next_ = 0;  // what it said is unknown
      return false;
    }
    if (!take(*reply)) return false;
  }
  return true;
}

bool EtcdWatch::take(const EtcdWatchReply& reply) {
  if (reply.canceled) {
    if (reply.compact_revision != 0) next_ = 0;
    // The next probe finds out whether our token was refused.
    return false;
  }
  if (!store_.identity_.accept_cluster(reply.header)) return false;
  store_.identity_.note(reply.header, 0);
  created_ = created_ || reply.created;
  announce(reply);
  return true;
}

void EtcdWatch::announce(const EtcdWatchReply& reply) {
  std::map<std::string, const EtcdWatchReply::Event*> last;  // of each id in this reply
  int64_t& newest = announcing_;
  for (const auto& event : reply.events) {
    const EtcdKeyValue& kv = event.kv;
    newest = std::max(newest, kv.mod_revision);
    if (kv.mod_revision < next_ || !kv.key.starts_with(store_.records_)) continue;
    last[kv.key.substr(store_.records_.size())] = &event;
  }
  if (newest == 0) return;
  store_.note_record(newest);
  // The next line may continue the same revision.
  if (!reply.fragment) next_ = std::max(next_, std::exchange(announcing_, 0) + 1);
  for (const auto& [id, event] : last) {
    std::optional<Stored> stored;
    if (!event->deleted) {
      // A record that does not parse, or belongs to another store, is handled by whoever asks for
      // it.
      if (auto parsed = store_.to_own(event->kv, id)) stored = std::move(*parsed);
    }
    listener_.on_change(id, stored);
  }
  if (caught_up() && !went_back()) announced_ = std::max(announced_, goal_sent_);
}

Task<bool> EtcdWatch::follow(Probed first) {
  Loop& loop = client_.loop();
  const size_t endpoint = first.endpoint;
  begin(first);
  const bool gone = went_back();

  EtcdIncoming incoming(loop);
  const Attached attached(*this, incoming);
  TaskGroup<Event> events(loop);
  events.start(stream(endpoint, next_, incoming));
  events.start(wait_for_data(incoming));
  events.start(probe_later(endpoint));
  const TimePoint patience = loop.now() + kPatience;
  bool was_live = false;
  for (;;) {
    std::optional<TimePoint> until;
    if (!live_ && (!created_ || !went_back())) {
      until = patience;
    } else if (!caught_up()) {
      until = goal_by_;
    }
    auto event = co_await events.next(until);
    if (!event && live_) {
      co_return was_live;  // it is stuck
    } else if (!event) {
      if (!created_) {
        const Error silent(Code::kUnavailable, "does not begin the stream of changes");
        client_.endpoints().failed(endpoint, true, silent, kPatience, false);
        co_return was_live;
      }
      // The event that shows that the stream has caught up never came: keyfs did not write that key
      // as it is.
      gap(std::max(next_, goal_ + 1));
    } else if (event->value.what == What::kStreamEnded) {
      take_lines(incoming);
      const EtcdFailure& failure = *event->value.failure;
      if (!failure.alive || failure.error.code == Code::kUnavailable) {
        client_.endpoints().failed(endpoint, true, failure.error, kPatience, failure.alive);
      }
      co_return was_live;
    } else if (event->value.what == What::kData) {
      if (!take_lines(incoming)) co_return was_live;
      events.start(wait_for_data(incoming));
    } else {
      if (event->value.failure) co_return was_live;
      take_probe(event->value.probed);
      events.start(probe_later(endpoint));
    }
    if (restart_) co_return true;
    if (went_back() && !gone) co_return was_live;  // what is to come is not what was to come
    if (created_ && caught_up() && !gone) {
      set_live(true);
      was_live = true;
    }
  }
}

Task<bool> EtcdWatch::keep_members_warm() {
  Loop& loop = client_.loop();
  for (;;) {
    const TimePoint until = loop.now() + kKeepWarmEvery;
    // Members forget a token that was unused for five minutes, and a member without a quorum can
    // issue no new one.
    for (size_t i = 0; i < client_.endpoints().size(); ++i) {
      EtcdRange range(store_.registry_.key());
      range.keys_only = true;
      range.serializable = true;
      EtcdCall call(kEtcdRangePath, to_json(range));
      call.needs_leader = false;
      (void)co_await client_.ask(i, call, until, store_.options_.attempt_timeout);
    }
    (void)co_await store_.registry_.identify(until);
    co_await loop.sleep_until(until);
  }
}

Task<bool> EtcdWatch::keep_remembering() {
  for (;;) {
    co_await client_.loop().sleep_for(kRememberEvery);
    // Failing to record the cluster's revision does not matter here.
    (void)co_await store_.registry_.remember(false);
  }
}

Task<void> EtcdWatch::run() {
  Loop& loop = client_.loop();
  TaskGroup<bool> beside(loop);
  beside.start(keep_members_warm());
  beside.start(keep_remembering());
  for (unsigned failures = 0;;) {
    const auto member = co_await find_member();
    const bool was_live = member && co_await follow(*member);
    set_live(false);
    failures = was_live ? 0 : failures + 1;
    co_await loop.sleep_for(kBackoff.pause(failures, client_.random()));
  }
}

}  // namespace keyfs
