#include "fs/keys/replica_reader.h"

#include <sys/stat.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "fs/keys/replica.h"
#include "fs/keys/replica_db.h"
#include "fs/keys/replica_writer.h"

namespace keyfs {
namespace {

Recall unreadable(const std::string& path, const Error& error) {
  const std::string& why = error.message;
  if (error.code == Code::kCorrupt) {
    return Recall::unknown(Error(
        Code::kUnavailable,
        "what this host has seen was in " + path + ", which is damaged: " + why +
            "; start keyfs anew, which sets the file aside, and once all that the store should "
            "hold is there, remove " +
            path + ".damaged and start it anew"));
  }
  return Recall::unknown(Error(
      Code::kUnavailable, "what this host has seen, in " + path + ", can't be read: " + why +
                              " (run this as the user that keyfs runs as, or on another host)"));
}

}  // namespace

ReplicaReader::ReplicaReader(Loop& loop, std::string path)
    : loop_(loop), path_(std::move(path)), worker_(loop, "keyfs-recall") {}

ReplicaReader::~ReplicaReader() = default;

std::string ReplicaReader::forget() const { return how_to_forget(path_); }

Task<Recall> ReplicaReader::recall(std::string id) {
  std::function<Recall()> work = [this, id] { return look_up(id); };
  co_return co_await worker_.run(std::move(work));
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
                "what this host has seen was in a replica of records that is damaged; once all "
                "that the store should hold is there, remove " +
                    aside));
    }
    if (why == ENOENT) {
      Recall never;
      never.what = Recall::What::kNever;
      return never;
    }
    wait_until_made(path_);
    auto opened = ReplicaDb::open(loop_.clock(), path_, false);
    if (!opened) return unreadable(path_, opened.error());
    db_ = std::move(*opened);
  }
  auto row = db_->get(id);
  Recall recall;
  if (!row) {
    // Damage of the file tells of no id; damage of a record does.
    const auto there = row.error().code == Code::kCorrupt ? db_->has(id) : Result<bool>(false);
    if (!there || !*there) return unreadable(path_, row.error());
    recall.what = Recall::What::kKnown;  // damaged, and a record all the same
    recall.why = std::move(row.error());
  } else if (*row) {
    recall.what = Recall::What::kKnown;
    if (!(*row)->stored.record.from_rkms) recall.stored = std::move((*row)->stored);
  } else {
    recall.what = Recall::What::kNever;
  }
  return recall;
}

}  // namespace keyfs
