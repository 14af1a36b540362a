// Records in etcd, over the JSON gateway of its v3 API, for several hosts.
//
// A record is the JSON text at PREFIX/records/ID; its revision is the key's mod_revision. Every
// write of a record also writes its key's name to PREFIX/changed (store/etcd/watch.h). The
// configuration is in store/etcd/options.h, the guard against an empty or foreign cluster in
// store/etcd/identity.h.
//
//   put_if_absent  one transaction; the winner comes back in the same reply. Sent to another member
//                  if one is silent: a record found there afterwards is ours if it is byte for byte
//                  what we sent
//   get            linearizable. If no member can answer so (no quorum), any member's own copy is
//                  used for a hit that need not be strong, never for a miss
//   list           pages of one revision, until that is compacted; then of the current one
//   watch          see store/etcd/watch.h
//
// Thread-safety: on the loop's thread, see store/store.h. Ownership: owns its HTTP client and a
// thread for its files; loop, arena, poller and random source outlive it. Blocking: only open(),
// and the destructor, which waits for a file that is being written. Errors: as in store/store.h;
// kInvalid for a cluster other than the one that this host knows.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/crypto.h"
#include "base/http.h"
#include "base/loop.h"
#include "base/secret.h"
#include "store/etcd/board.h"
#include "store/etcd/client.h"
#include "store/etcd/identity.h"
#include "store/etcd/options.h"
#include "store/etcd/registry.h"
#include "store/store.h"

namespace keyfs {

struct EtcdParts {
  Loop& loop;
  CurlPoller& poller;
  SecretArena& arena;
  Random& random;
};

// For make_store (store/factory.h): the store of a [store] section with type = etcd.
Result<std::unique_ptr<Store>> make_etcd_store(const ConfigSection& section, EtcdParts parts,
                                               const std::string& state_dir);

class EtcdWatch;

class EtcdStore final : public Store {
 public:
  // Reads files, and blocks on them; contacts no member. kInvalid or kDenied for a file of the
  // configuration that can't be used, and as EtcdIdentity::load().
  static Result<std::unique_ptr<EtcdStore>> open(EtcdParts parts, EtcdOptions options);
  ~EtcdStore() override;

  Task<Result<std::string>> identity(TimePoint deadline) override;
  Task<Result<Got>> get(std::string id, Read read, TimePoint deadline) override;
  Task<Result<PutResult>> put_if_absent(Record record, TimePoint deadline) override;
  Task<Result<std::optional<Stored>>> replace(Record record, std::string revision,
                                              TimePoint deadline) override;
  Task<Result<ListPage>> list(std::string after, size_t limit, TimePoint deadline) override;
  bool can_watch() const override { return true; }
  Task<void> watch(ChangeListener& listener) override;
  Board* board() override { return &board_; }
  Task<StoreCheck> check(TimePoint deadline) override;
  std::string trouble() const override;

 private:
  friend class EtcdBoard;
  friend class EtcdWatch;
  EtcdStore(EtcdParts parts, EtcdOptions options, std::unique_ptr<HttpClient> http,
            std::optional<EtcdKnown> known);

  std::string key_of(const std::string& id) const { return records_ + id; }
  // Written with every record: its revision is that of the newest change.
  std::string changed_key() const { return options_.prefix + "/changed"; }
  // A record of this or another store.
  Result<Stored> to_stored(const EtcdKeyValue& kv, const std::string& id) const;
  // A record of this store, as far as known.
  Result<Stored> to_own(const EtcdKeyValue& kv, const std::string& id) const;

  Task<Result<Got>> found(std::string id, EtcdReply reply, bool linearizable, TimePoint deadline);
  struct Written {
    bool ours = false;
    std::optional<EtcdKeyValue> there;  // what is there now, if not known to be ours
    int64_t revision = 0;
  };
  // In the store that this host knows. If a comparison fails, what is at the key now.
  Task<Result<Written>> transact(EtcdPutIf txn, TimePoint deadline);
  Task<Result<Written>> write(std::string key, std::string value, EtcdCompare compare,
                              TimePoint deadline);
  Task<Result<EtcdReply>> page(const std::string& from, size_t limit, int64_t revision,
                               TimePoint deadline);
  Task<CheckItem> check_member(size_t endpoint, TimePoint deadline);
  // A record came from a member's own copy, which may be older than what the watch has announced.
  void served_locally(int64_t revision);
  void note_record(int64_t mod_revision);

  Loop& loop_;
  Random& random_;
  EtcdOptions options_;
  std::string records_;  // the prefix of all records
  EtcdIdentity identity_;
  Worker files_;
  EtcdClient client_;
  EtcdRegistry registry_;
  EtcdBoard board_;
  EtcdWatch* watch_ = nullptr;  // the one that is running
  int64_t newest_record_ = 0;   // the highest mod_revision of a record seen
};

}  // namespace keyfs
