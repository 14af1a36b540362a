// Records in a DynamoDB table, with replicas in several regions (a Global Table) or in one.
//
//   [store]
//   type = dynamodb
//   table = keyfs                     ; the board's is keyfs-board (store/dynamodb/board.h)
//   regions = us-east-1, us-west-2    ; replicas of one table; the first is its home
//   endpoint = http://...             ; instead of AWS's: one for all regions, or one for each
//   accept_rkms_records = no          ; read items that RKMS wrote
//   profile = ...   role_arn = ...    ; whose credentials, as in [region]
//
// A hit is good from any replica, since a version's plaintext never changes, and is reported as
// possibly stale (Read::kAny). Whether an id is absent, what a strong read finds, and who created
// it first is decided
//   - by the home region alone, for a plain table and for a Global Table in the eventual mode
//     (MREC), where each replica knows only its own writes;
//   - by any replica in the strongly consistent mode (MRSC).
// The table is described once to learn the mode; until that succeeds, home decides, and other
// regions are not asked at all: they might have an unrelated table. So while home is down, creation
// in MREC fails, and never makes a second key.
//
// The store's own id (store/known_store.h) lies in the item `.keyfs-store`, which is written at its
// first use. It is read, strongly, before the first miss is believed and the first key is made, and
// again after each write, before its success is told: a table that was deleted and made anew under
// a running keyfs may get a record then, which is bound to the old store and served to nobody. It
// is removed again, so that the id stays free, if it is still byte for byte what was written.
// It is no transaction: those conflict with each other at the one item that all of them check, so
// that of many writers at once nearly all would fail, and the strong mode (MRSC) has none.
// A replacement needs nothing of the kind: a table made anew has no item of the old revision.
//
// Reads ask the first healthy replica in the order of the configuration, and the next one too when
// that fails or takes unusually long (base/hedge.h). Where home decides, home is asked by a strong
// read at once: it takes one round trip like an eventual one, and its answer needs no other behind
// it. In the strong mode it would take a round trip between regions: there a hit is read
// eventually. Calls that may pass are made again until the deadline, with growing random pauses,
// from a budget that all calls share.
//
// Thread-safety, blocking, ownership: see store/store.h; what the replicas refer to must outlive
// the store. Errors: as in store/dynamodb/replica.h.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/aws/credentials.h"
#include "base/config.h"
#include "base/crypto.h"
#include "base/environment.h"
#include "base/http.h"
#include "base/loop.h"
#include "base/race.h"
#include "base/retry.h"
#include "base/target.h"
#include "base/worker.h"
#include "store/dynamodb/board.h"
#include "store/dynamodb/replica.h"
#include "store/dynamodb/retries.h"
#include "store/store.h"

namespace keyfs {

class DynamoDbStore final : public Store {
 public:
  // The longest that one attempt may take: one that hangs leaves time for another.
  static constexpr Duration kAttempt = std::chrono::seconds(3);

  // At least one replica; the first is home. `state_dir`: where the store's id is remembered;
  // empty: nowhere. `known`: what is remembered there.
  DynamoDbStore(Loop& loop, Random& random, DynamoDbNames names,
                std::vector<std::unique_ptr<DynamoDbReplica>> replicas, std::string state_dir = {},
                std::string known = {}, Duration attempt = kAttempt);
  ~DynamoDbStore() override;

  Task<Result<std::string>> identity(TimePoint deadline) override;
  Task<Result<Got>> get(std::string id, Read read, TimePoint deadline) override;
  Task<Result<PutResult>> put_if_absent(Record record, TimePoint deadline) override;
  Task<Result<std::optional<Stored>>> replace(Record record, std::string revision,
                                              TimePoint deadline) override;
  Task<Result<ListPage>> list(std::string after, size_t limit, TimePoint deadline) override;
  Board* board() override { return board_.get(); }
  Task<StoreCheck> check(TimePoint deadline) override;

  // Creates the table at home: on-demand, protected from deletion, with point-in-time recovery; and
  // the board's. An existing table is left unchanged.
  Task<Result<TableMade>> make_table(TimePoint deadline) override;

 private:
  enum class Mode { kUnknown, kHomeDecides, kAnyDecides };
  struct Topology {
    Mode mode = Mode::kUnknown;
    std::vector<bool> replica;  // which of replicas_ belong to the one table
    std::optional<Error> why_unknown;
  };

  template <class T>
  using Attempt = DynamoDbRetries::Attempt<T>;
  template <class T>
  Task<Result<T>> with_retries(TimePoint deadline, Attempt<T> attempt) {
    return retries_.run<T>(deadline, std::move(attempt));
  }

  struct Candidate : Target {
    Candidate(DynamoDbReplica& the_replica, size_t place, Health the_health,
              std::shared_ptr<FairTurns> turns)
        : Target(the_replica.region(), place, std::move(the_health), std::move(turns)),
          replica(the_replica) {}
    DynamoDbReplica& replica;
  };
  template <class T>
  using Ask = std::function<Task<Result<T>>(DynamoDbReplica& replica, TimePoint deadline)>;
  template <class T>
  class Question;
  // The first answer of `replicas` (indices), which are asked in order: the next one if the last
  // failed or is slow.
  template <class T>
  Task<Result<T>> ask(std::vector<size_t> replicas, TimePoint deadline, Ask<T> question);
  // The first answer from the replicas that may be read.
  template <class T>
  Task<Result<T>> ask_readable(TimePoint deadline, Ask<T> question);
  // That of one replica.
  template <class T>
  Task<Result<T>> ask_one(size_t replica, TimePoint deadline, Ask<T> question);

  // Establishes the id, once: reads it where it is decided, creates it in a store that has none and
  // that this host does not know, compares and remembers it.
  Task<Result<void>> establish(TimePoint deadline);
  Task<Result<bool>> establish_now(TimePoint deadline);
  Task<bool> establish_in_background();
  void start_establishing();
  // Checks that the table is still the established store. One call, after a write.
  Task<Result<void>> verify(TimePoint deadline);
  Error other_store(const std::optional<std::string>& there) const;
  // Removes what this host has put into what turned out to be another store; what became of it.
  Task<std::string> take_back(const Record& record, std::string json, std::string revision,
                              TimePoint deadline);
  Task<Result<Got>> look(DynamoDbReplica& replica, std::string id, bool strong, TimePoint deadline);
  // A record with an origin is one of this store.
  Task<Result<void>> check_own(const Record& record, TimePoint deadline);

  Task<Result<TableMade>> make_records_table(TimePoint deadline);

  Task<Result<Topology>> describe(TimePoint deadline);
  Task<Result<Topology>> describe_now();
  Task<Result<Topology>> describe_by(DynamoDbReplica& replica, TimePoint deadline);
  Task<bool> describe_in_background();
  void start_describing();
  Topology topology_from(size_t replica, const TableDescription& description) const;
  // In the order to ask: healthy ones first.
  std::vector<size_t> readable() const;
  std::vector<size_t> deciding() const;
  void check_topology(const Result<Topology>& topology, StoreCheck& check) const;
  Result<std::string> new_revision();

  Loop& loop_;
  Random& random_;
  const RandomFraction fraction_;  // of random_
  DynamoDbNames names_;
  std::vector<std::unique_ptr<DynamoDbReplica>> replicas_;
  std::vector<std::unique_ptr<Candidate>> candidates_;  // as replicas_
  DynamoDbRetries retries_;
  Topology topology_;
  TimePoint describe_again_{};
  const std::string state_dir_;
  std::unique_ptr<Worker> files_;  // when there is a state_dir
  std::string store_id_;           // the one that this host knows; empty: none
  std::string heard_id_;           // as any replica told it, to compare records with
  bool established_ = false;
  std::optional<Error> refused_;  // it is another store
  TimePoint establish_again_{};
  std::unique_ptr<DynamoDbBoard> board_;
  SingleFlight<Result<Topology>> describing_;
  SingleFlight<Result<bool>> establishing_;  // must be destroyed before what its work uses
  TaskGroup<bool> background_;
};

struct DynamoDbParts {
  Loop& loop;
  Random& random;
  HttpClient& http;
  // The credentials for `profile` and `role_arn` (may be empty).
  std::function<AwsCredentialProvider&(const std::string& profile, const std::string& role_arn)>
      credentials;
  Environment environment;
  std::string state_dir{};  // empty: the store is not remembered
};
// From the [store] section.
Result<std::unique_ptr<Store>> make_dynamodb_store(const ConfigSection& section,
                                                   const DynamoDbParts& parts);

}  // namespace keyfs
