// The change feed of an etcd cluster: one stream (POST /v3/watch) over all records, from one member
// at a time.
//
// After a break it goes on, at another member where need be, from the revision that it had come to;
// when that has been compacted, the listener is told of a gap. It is live while
// - the stream is open and has caught up: either the cluster had not moved on, or a change that is
//   known to lie in between has come through (etcd sends what a stream has missed in order), and
// - the stream's member answers linearizable reads, one a second: so it is up, and follows its
//   leader. etcd's own progress notifications come every ten minutes only.
// A member that stops answering is noticed within probe_every + probe_timeout.
//
// A record that was read from a member's own copy (without a quorum) may be older than what was
// announced already: the feed then starts again from there.
//
// Thread-safety: none; on the loop's thread. Ownership: the store outlives it, it outlives its
// task. Blocking: never. Errors: none; it goes on trying until dropped.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/race.h"
#include "store/etcd_client.h"
#include "store/etcd_messages.h"
#include "store/store.h"

namespace keyfs {

class EtcdStore;

class EtcdWatch {
 public:
  EtcdWatch(EtcdStore& store, ChangeListener& listener);
  ~EtcdWatch();
  EtcdWatch(const EtcdWatch&) = delete;
  EtcdWatch& operator=(const EtcdWatch&) = delete;

  Task<void> run();

  // Something of that revision was served that may be older than what was announced.
  void rewind(int64_t revision);

 private:
  // What wakes the task that follows a stream.
  enum class What { kStreamEnded, kData, kProbed };
  struct Event {
    What what;
    std::optional<EtcdFailure> failure;
    int64_t revision = 0;
  };
  struct Incoming;
  // The stream that rewind() wakes.
  struct Attached {
    Attached(EtcdWatch& owner, Incoming& incoming) : watch(owner) { watch.incoming_ = &incoming; }
    ~Attached() { watch.incoming_ = nullptr; }
    Attached(const Attached&) = delete;
    Attached& operator=(const Attached&) = delete;
    EtcdWatch& watch;
  };

  // Returns when the stream is no longer to be trusted; true: it was live.
  Task<bool> follow(size_t endpoint);
  Task<Event> stream(size_t endpoint, int64_t start, Incoming& incoming);
  Task<Event> wait_for_data(Incoming& incoming);
  Task<Event> probe(size_t endpoint);
  Task<Event> probe_later(size_t endpoint);
  Task<bool> keep_members_warm();

  // Decides from where to begin when the cluster has come to `revision`.
  int64_t begin_at(int64_t revision);
  // False: the stream is of no use any more.
  bool take_lines(Incoming& incoming);
  bool take(const EtcdWatchReply& reply);
  void announce(const EtcdWatchReply& reply);
  void gap(int64_t next);
  void set_live(bool live);

  EtcdStore& store_;
  EtcdClient& client_;
  ChangeListener& listener_;
  int64_t next_ = 0;    // the first revision that was not yet announced; 0: none
  int64_t anchor_ = 0;  // once this revision has come, the stream has caught up; 0: it has
  bool created_ = false;
  bool live_ = false;
  bool restart_ = false;
  Incoming* incoming_ = nullptr;
};

}  // namespace keyfs
