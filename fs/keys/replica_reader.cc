#include "fs/keys/replica_reader.h"

#include <sys/stat.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "fs/keys/replica.h"
#include "fs/keys/replica_db.h"
#include "fs/keys/replica_mark.h"

namespace keyfs {
namespace {

Recall unreadable(const std::string& path, const Error& error) {
  if (error.code == Code::kCorrupt) return Recall::unknown(replica_damaged(path));
  return Recall::unknown(Error(
      Code::kUnavailable, "what this host has seen, in " + path +
                              ", can't be read: " + error.message +
                              " (run this as the user that keyfs runs as, or on another host)"));
}

}  // namespace

ReplicaReader::ReplicaReader(Loop& loop, std::string path, std::optional<Error> doubt)
    : loop_(loop),
      path_(std::move(path)),
      doubt_(std::move(doubt)),
      worker_(loop, "keyfs-recall") {}

ReplicaReader::~ReplicaReader() = default;

std::string ReplicaReader::forget() const { return how_to_forget(path_); }

Task<Recall> ReplicaReader::recall(std::string id) {
  std::function<Recall()> work = [this, id] { return look_up(id); };
  Recall recall = co_await worker_.run(std::move(work));
  if (recall.what == Recall::What::kNever && doubt_) co_return Recall::unknown(*doubt_);
  co_return recall;
}

Recall ReplicaReader::look_up(const std::string& id) {
  if (db_ == nullptr) {
    struct stat info {};
    const int why = ::stat(path_.c_str(), &info) == 0 ? 0 : errno;
    if (why != 0 && why != ENOENT) {
      return unreadable(path_, Error(Code::kUnavailable, std::generic_category().message(why)));
    }
    if (const std::string aside = damaged_replica(path_); !aside.empty()) {
      return Recall::unknown(
          Error(Code::kUnavailable,
                "the replica of records that this host has seen is damaged; once the store holds "
                "everything that it should, remove " +
                    aside));
    }
    if (why == ENOENT) return never_seen();
    auto opened = ReplicaDb::open(loop_.clock(), path_);
    if (!opened) return unreadable(path_, opened.error());
    db_ = std::move(*opened);
    // Once for the open file, which stays what it is, whatever happens to its name.
    if (auto ok = check_replica_is_the_one(path_); !ok) other_ = std::move(ok.error());
  }
  auto row = db_->get(id);
  Recall recall;
  if (!row) {
    if (db_->damaged()) return Recall::unknown(std::move(row.error()));
    if (row.error().code != Code::kCorrupt) return unreadable(path_, row.error());
    recall.what = Recall::What::kKnown;  // damaged, but still a record
    recall.why = std::move(row.error());
  } else if (*row) {
    recall.what = Recall::What::kKnown;
    if ((*row)->unproven) recall.why = seen_unproven(id);
    if (!(*row)->stored.record.from_rkms) recall.stored = std::move((*row)->stored);
  } else {
    return never_seen();
  }
  // What commands have noted in it since proves nothing of what was seen before; it may contradict.
  if (other_) {
    recall.what = Recall::What::kUnknown;
    recall.why = other_;
  }
  return recall;
}

Recall ReplicaReader::never_seen() const {
  if (auto ok = check_replica_is_the_one(path_); !ok) return Recall::unknown(ok.error());
  Recall never;
  never.what = Recall::What::kNever;
  return never;
}

Task<Result<std::vector<std::string>>> ReplicaReader::ids(size_t limit) {
  using Ids = std::vector<std::string>;
  std::function<Result<Ids>()> work = [this, limit]() -> Result<Ids> {
    if (db_ == nullptr) return Ids();
    return db_->ids(limit);
  };
  co_return co_await worker_.run(std::move(work));
}

Task<Result<int64_t>> ReplicaReader::misnamed() {
  std::function<Result<int64_t>()> work = [this]() -> Result<int64_t> {
    if (db_ == nullptr) return 0;
    return db_->misnamed();
  };
  co_return co_await worker_.run(std::move(work));
}

}  // namespace keyfs
