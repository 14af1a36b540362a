// One region's replica of the DynamoDB table: each function is one call to AWS, without retries.
//
// Thread-safety: none; on the loop's thread. Ownership: owns its client; what the client refers to
// outlives it. Blocking: never.
// Errors, prefixed with the region's name:
//   kUnavailable, kTimeout, kThrottled   transient: try again, or another replica
//   kDenied           no permission: the message names the IAM action; or no such table
//                     (is_missing_table())
//   kUnauthenticated  see base/aws/client.h
//   kCorrupt          the item exists but is not a record
//   kInvalid          a bug in keyfs
// A write that fails with one of the first three may still have taken effect.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "base/aws/client.h"
#include "base/loop.h"
#include "store/dynamodb/item.h"

namespace keyfs {

// Whether an error of a replica says that its region has no such table.
bool is_missing_table(const Error& error);

class DynamoDbReplica {
 public:
  DynamoDbReplica(HttpClient& http, AwsCredentialProvider& credentials, std::string region,
                  std::string endpoint, DynamoDbNames names);

  const std::string& region() const { return region_; }
  const std::string& table() const { return names_.table; }
  // Another table of the same region, by the same credentials.
  std::unique_ptr<DynamoDbReplica> beside(std::string table) const;

  struct Reply {
    bool condition_failed = false;
    bool proven = false;  // by the CRC that DynamoDB sends with each reply
    std::string body;
  };
  // Any operation; a condition that does not hold is no error.
  Task<Result<Reply>> call(std::string operation, std::string body, TimePoint deadline);

  // nullopt: there is no such item here. `consistent`: by a strongly consistent read, which costs
  // twice as much.
  Task<Result<std::optional<Stored>>> get(std::string id, bool consistent, TimePoint deadline);

  // The id of the store, which is a separate item; nullopt: it has none yet.
  Task<Result<std::optional<std::string>>> get_store_id(bool consistent, TimePoint deadline);
  // Sets the id if there is none, and returns the current one. The reply may lack it if another
  // host was faster.
  Task<Result<std::optional<std::string>>> found_store(std::string store_id, TimePoint deadline);

  struct Written {
    bool done = false;  // the condition held
    // Otherwise the existing item, if it was sent.
    std::optional<Stored> found;
  };
  // Writes the item if there is none.
  Task<Result<Written>> put(std::string id, std::string record, std::string revision,
                            TimePoint deadline);
  // Replaces the item if it has that old revision; kInvalid for one that is no revision of this
  // store.
  Task<Result<Written>> update(std::string id, std::string record, std::string revision,
                               std::string old_revision, bool forget_rkms, TimePoint deadline);
  // Removes the item if it is exactly this one. False: it is not there, or it is another.
  Task<Result<bool>> remove(std::string id, std::string record, std::string revision,
                            TimePoint deadline);
  // Records that are bound to another store than `store_id` (empty: any) are listed as corrupt.
  Task<Result<ListPage>> scan(std::string after, size_t limit, std::string store_id,
                              TimePoint deadline);
  Task<Result<TableDescription>> describe(TimePoint deadline);
  // Asks for it; describe() tells when it is active.
  Task<Result<void>> create_table(TimePoint deadline);
  // Turns point-in-time recovery on.
  Task<Result<void>> protect_by_recovery(TimePoint deadline);
  Task<Result<bool>> is_protected_by_recovery(TimePoint deadline);
  // Tests whether writes are permitted; writes nothing.
  Task<Result<void>> try_put(TimePoint deadline);
  Task<Result<void>> try_update(TimePoint deadline);
  Task<Result<void>> try_remove(TimePoint deadline);

 private:
  // What became of a write that was answered with success by who knows whom: as Written tells.
  Task<Result<Written>> read_back(std::string id, std::string revision, std::string old_revision,
                                  TimePoint deadline);
  Task<Result<void>> try_write(std::string operation, std::string body, TimePoint deadline);
  Error to_error(const std::string& operation, const AwsReply& reply) const;

  HttpClient& http_;
  AwsCredentialProvider& credentials_;
  std::string region_;
  DynamoDbNames names_;
  AwsClient client_;
};

}  // namespace keyfs
