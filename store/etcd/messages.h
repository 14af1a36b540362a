// Messages to and from etcd: the v3 API over the JSON gateway
// (https://etcd.io/docs/v3.4/dev-guide/api_grpc_gateway/, rpc.proto and kv.proto of etcd 3.4).
//
// Keys and values are base64 there, 64-bit numbers are strings, and default values are omitted.
// Here keys and values are plain bytes.
//
// Thread-safety: plain functions and values. Blocking: never.
// Errors: kUnavailable for a reply that is not from etcd; the message quotes nothing of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace keyfs {

// Larger replies are not from etcd, or useless: a page of 256 records; a line of a watch, which
// etcd splits into fragments of its largest request (1.5 MiB, unless configured otherwise).
inline constexpr size_t kMaxEtcdReply = size_t{64} << 20;
// The same for a reply that holds one record at most: many opens may wait for one each. etcd takes no
// larger value than 1.5 MiB (unless configured otherwise), which is a third more in base64, so that
// a value that is no record is told as that, and not as a member that fails.
inline constexpr size_t kMaxEtcdReplyOfOne = size_t{5} << 19;
inline constexpr size_t kMaxEtcdWatchLine = size_t{32} << 20;

struct EtcdHeader {
  uint64_t cluster_id = 0;
  uint64_t member_id = 0;
  int64_t revision = 0;  // of the whole store, all prefixes, when the reply was made
};

struct EtcdKeyValue {
  std::string key;
  std::string value;
  int64_t mod_revision = 0;
  int64_t create_revision = 0;
  int64_t version = 0;  // how often it was written since it was created
};

// The reply to a range, a txn, a put or a status; only the parts that it has.
struct EtcdReply {
  EtcdHeader header;
  bool succeeded = false;
  bool more = false;
  std::vector<EtcdKeyValue> kvs;
  std::vector<EtcdReply> responses;  // of a txn's operations, in order
  size_t endpoint = 0;               // the member that answered (set by EtcdClient)
};
Result<EtcdReply> parse_etcd_reply(std::string_view text);

// A refusal by the gateway or the member behind it: its gRPC code and text. Never shown verbatim.
struct EtcdRefusal {
  int code = 2;  // https://grpc.github.io/grpc/core/md_doc_statuscodes.html
  std::string words;
};
EtcdRefusal parse_etcd_refusal(std::string_view text);

// One line of a watch's stream.
struct EtcdWatchReply {
  struct Event {
    bool deleted = false;
    EtcdKeyValue kv;  // without a value when deleted
  };
  EtcdHeader header;
  bool created = false;
  bool canceled = false;
  bool fragment = false;               // the events of the last revision continue in the next line
  int64_t compact_revision = 0;        // not 0: the requested revision has been compacted
  std::optional<EtcdRefusal> refusal;  // why it was canceled, or why there is no stream
  std::vector<Event> events;
};
Result<EtcdWatchReply> parse_etcd_watch_reply(std::string_view line);

struct EtcdRange {
  explicit EtcdRange(std::string first) : key(std::move(first)) {}

  std::string key;
  std::string range_end;  // empty: the one key
  int64_t limit = 0;
  int64_t revision = 0;
  bool serializable = false;
  bool keys_only = false;
};
// Paths below a member's URL.
inline constexpr char kEtcdRangePath[] = "/v3/kv/range";
inline constexpr char kEtcdTxnPath[] = "/v3/kv/txn";

std::string to_json(const EtcdRange& range);

// A comparison of a txn: exactly one of the three.
struct EtcdCompare {
  std::string key;
  std::optional<int64_t> create_revision;  // 0: there is no such key
  std::optional<int64_t> mod_revision;
  std::optional<std::string> value;
};
// If all comparisons hold, `key` gets `value`, or is removed; otherwise the keys in `otherwise` are
// read.
struct EtcdPutIf {
  std::vector<EtcdCompare> compares;
  std::string key;
  std::string value;
  bool remove = false;
  std::string changed;  // when not empty: this key gets the name of the other one
  std::vector<std::string> otherwise;
};
std::string to_json(const EtcdPutIf& txn);

std::string watch_request(const std::string& key, const std::string& range_end,
                          int64_t start_revision);

// The range_end for all keys that begin with `prefix`.
std::string end_of_prefix(std::string prefix);

}  // namespace keyfs
