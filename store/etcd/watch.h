// The change feed of an etcd cluster: one stream (POST /v3/watch) over all records, from one member
// at a time.
//
// Every write of a record also writes PREFIX/changed, so the revision of that key is that of the
// newest change. Twice a second the stream's member gets a linearizable read of it, the probe,
// which shows two things: that the member is up and follows its leader, and how far the stream must
// have come. (etcd's own progress notifications come only every ten minutes.) The feed is live
// while
// - the stream is open and has shown the newest change that a probe knew of, and
// - probes are answered, and the changes that they know arrive through the stream within kStall.
// So a member that stops, or is cut off from the others, is noticed within probe_every +
// probe_timeout, and a stuck stream within probe_every + kStall.
//
// After a break it resumes from its last revision, at the member that answers a probe first; if
// that revision has been compacted, the listener gets a gap.
//
// A cluster that has gone back in time (store/etcd/identity.h), which the linearizable probe shows
// by its revision, or by that of PREFIX/changed or how often that was written, confirms nothing: a
// stream from a revision that is yet to come is silent, and what was announced may have been lost.
// The listener is told of a gap, and changes are announced from the present on; but the feed is not
// live any more.
//
// A record that was read from a member's own copy (without a quorum) may be older than what was
// already announced: the feed then restarts from there.
//
// Thread-safety: none; on the loop's thread. Ownership: the store outlives it, it outlives its
// task. Blocking: never. Errors: none; it keeps trying until dropped.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/race.h"
#include "store/etcd/client.h"
#include "store/etcd/incoming.h"
#include "store/etcd/messages.h"
#include "store/store.h"

namespace keyfs {

class EtcdStore;

class EtcdWatch {
 public:
  EtcdWatch(EtcdStore& store, ChangeListener& listener);
  ~EtcdWatch();
  EtcdWatch(const EtcdWatch&) = delete;
  EtcdWatch& operator=(const EtcdWatch&) = delete;

  // Never ends; drop it to stop.
  Task<void> run();

  // A record of that revision, which may be older than what was announced, was served.
  void rewind(int64_t revision);

 private:
  struct Probed {
    size_t endpoint = 0;
    TimePoint sent{};
    int64_t revision = 0;  // of the whole cluster
    int64_t changed = 0;   // of the newest change of a record; 0: none known
    int64_t created = 0;   // of the first one
    int64_t changes = 0;   // how many there were
  };
  // What wakes the task that follows a stream.
  enum class What { kStreamEnded, kData, kProbed };
  struct Event {
    What what;
    std::optional<EtcdFailure> failure;
    Probed probed;
  };
  // The stream that rewind() wakes.
  struct Attached {
    Attached(EtcdWatch& owner, EtcdIncoming& incoming) : watch(owner) {
      watch.incoming_ = &incoming;
    }
    ~Attached() { watch.incoming_ = nullptr; }
    Attached(const Attached&) = delete;
    Attached& operator=(const Attached&) = delete;
    EtcdWatch& watch;
  };

  // A member that answered a probe; nullopt: none did.
  Task<std::optional<Probed>> find_member();
  // Returns when the stream can no longer be trusted; true: it was live.
  Task<bool> follow(Probed first);
  Task<Event> stream(size_t endpoint, int64_t start, EtcdIncoming& incoming);
  Task<Event> wait_for_data(EtcdIncoming& incoming);
  Task<Event> probe(size_t endpoint);
  Task<Event> probe_later(size_t endpoint);
  Task<bool> keep_members_warm();
  Task<bool> keep_remembering();

  // Whether the cluster has gone back in time, as far as this host knows by now.
  bool went_back() const;
  void compare(const Probed& probed);
  // Decides from where to begin.
  void begin(const Probed& first);
  void take_probe(const Probed& probed);
  bool caught_up() const { return goal_ < next_; }
  // False: the stream is no longer usable.
  bool take_lines(EtcdIncoming& incoming);
  bool take(const EtcdWatchReply& reply);
  void announce(const EtcdWatchReply& reply);
  void gap(int64_t next);
  void set_live(bool live);

  EtcdStore& store_;
  EtcdClient& client_;
  ChangeListener& listener_;
  int64_t next_ = 0;        // the first revision not yet announced; 0: none
  int64_t announcing_ = 0;  // the newest revision of a reply that comes in fragments
  int64_t goal_ = 0;        // the newest change that a probe told of
  int64_t probed_ = 0;      // the highest such
  int64_t created_at_ = 0;  // of the key that `changes_` counts
  int64_t changes_ = 0;
  TimePoint goal_sent_{};
  TimePoint goal_by_{};    // when it must have arrived
  TimePoint announced_{};  // all changes up to then have been announced
  bool created_ = false;
  bool live_ = false;
  bool restart_ = false;
  EtcdIncoming* incoming_ = nullptr;
};

}  // namespace keyfs
