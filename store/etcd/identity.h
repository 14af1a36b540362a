// Which etcd cluster this host uses, and its latest revision. An empty cluster, somebody else's, or
// one restored from an old backup looks just like one in which a key was never created, and keyfs
// would create a second key for an id.
//
// What is remembered in STATE_DIR/etcd-cluster, lines of "name value":
//   cluster   the cluster id (hexadecimal), which every reply of etcd carries
//   store     a random id that the first keyfs wrote into the cluster, at PREFIX/store-id. It
//             differs even if a new cluster has the same cluster id as the old one, and every write
//             compares it, on the server, in its own transaction
//   revision  a revision that the cluster had reached. A linearizable reply below it means that
//             writes were lost. Written before a write of ours is told, and else as it advances,
//             at most once a second, and at the end
//   behind    1 when that was seen
// When any of it does not fit, nothing is created or changed any more (but a key may be disabled),
// no miss is believed, and a watch confirms nothing; keys that are found are served. An operator
// who means it says so (store/known_store.h, whose file names the store as well).
//
// Thread-safety: none, except for the static functions, which several processes may call at once.
// Blocking: only those: they touch the file. Errors: of those kCorrupt for a malformed file,
// kInvalid if it now names another cluster, and the file system's; of the others kInvalid.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "base/result.h"
#include "store/etcd/messages.h"

namespace keyfs {

struct EtcdKnown {
  uint64_t cluster_id = 0;
  std::string store_id;
  int64_t revision = 0;
  bool behind = false;

  bool operator==(const EtcdKnown&) const = default;
};

class EtcdIdentity {
 public:
  // nullopt: nothing is known yet.
  static Result<std::optional<EtcdKnown>> load(const std::string& state_dir);
  // Writes atomically; a higher revision of the same store that is already there is kept.
  static Result<void> store(const std::string& state_dir, EtcdKnown known);
  // The same, unless the file is gone: an operator has made this host forget its store.
  static Result<void> update(const std::string& state_dir, EtcdKnown known);

  // `state_dir` empty: nothing is remembered.
  EtcdIdentity(std::string state_dir, std::optional<EtcdKnown> known);

  const std::string& state_dir() const { return state_dir_; }
  bool established() const { return established_; }
  const EtcdKnown& known() const { return known_; }
  bool is_known() const { return known_.cluster_id != 0; }

  // The least revision that a linearizable reply to a request sent now must have.
  int64_t mark() const { return known_.revision; }

  // Checks whether a reply with this header may be used at all; kInvalid from another cluster.
  Result<void> accept_cluster(const EtcdHeader& header) const;
  // Notes an accepted reply; `sent_at_mark` is mark() from when a linearizable request was sent, 0
  // for others.
  void note(const EtcdHeader& header, int64_t sent_at_mark);

  // What was read at PREFIX/store-id in that cluster, or written there by us.
  Result<void> establish(const EtcdHeader& header, const std::string& store_id);
  // Nothing was there.
  Result<void> may_found(const EtcdHeader& header) const;

  // Whether a miss may be believed and keys may be created; otherwise kInvalid, with the reason and
  // the remedy.
  Result<void> may_create() const;
  // It was seen that the cluster has gone back in time.
  bool behind() const { return known_.behind; }
  void went_back() { known_.behind = known_.behind || is_known(); }

  // Whether `known()` needs to be stored; and notes that it was.
  bool unsaved() const { return established_ && saved_ != known_; }
  bool unsaved_but_revision() const;
  bool saved_up_to(int64_t revision) const {
    return !established_ || state_dir_.empty() || saved_.revision >= revision;
  }
  // Stores `known`; the file's own thread-safety applies.
  static Result<void> save(const std::string& state_dir, EtcdKnown known, bool first) {
    return first ? store(state_dir, std::move(known)) : update(state_dir, std::move(known));
  }
  bool never_saved() const { return saved_.cluster_id == 0; }
  void saved(const EtcdKnown& known) { saved_ = known; }

 private:
  std::string file() const;
  std::string remedy() const;

  std::string state_dir_;
  EtcdKnown known_;
  EtcdKnown saved_;
  bool established_ = false;
};

}  // namespace keyfs
