#include "fs/keys/replica_writer.h"

#include <sys/stat.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "fs/keys/replica_db.h"

namespace keyfs {

ReplicaWriter::ReplicaWriter(Loop& loop, std::string path, std::function<Result<void>()> prepare)
    : loop_(loop),
      path_(std::move(path)),
      prepare_(std::move(prepare)),
      worker_(loop, "keyfs-note") {}

ReplicaWriter::~ReplicaWriter() = default;

Task<Result<void>> ReplicaWriter::prove() {
  std::function<Result<void>()> work = [this]() -> Result<void> {
    if (auto ok = open(); !ok) return ok;
    return db_->prove();
  };
  co_return co_await worker_.run(std::move(work));
}

Task<Result<void>> ReplicaWriter::write_down(Stored stored, bool strong) {
  std::function<Result<void>()> work = [this, stored = std::move(stored), strong] {
    return write(stored, strong);
  };
  co_return co_await worker_.run(std::move(work));
}

Task<Result<void>> ReplicaWriter::write_seen(std::vector<SeenKey> keys) {
  std::function<Result<void>()> work = [this, keys = std::move(keys)] { return see(keys); };
  co_return co_await worker_.run(std::move(work));
}

Result<void> ReplicaWriter::see(const std::vector<SeenKey>& keys) {
  struct stat info {};
  if (db_ == nullptr && ::stat(path_.c_str(), &info) != 0 && errno == ENOENT) return {};
  if (auto ok = open(); !ok) return ok;
  const int64_t now = loop_.clock().wall().time_since_epoch().count();
  std::vector<ReplicaDb::Write> writes;
  writes.reserve(keys.size());
  for (const SeenKey& key : keys) writes.push_back({key.id, row_of(key.what), "", now, false});
  auto written = db_->write(writes);
  if (!written) return fail(std::move(written.error()));
  return {};
}

Result<void> ReplicaWriter::open() {
  if (db_ != nullptr) return {};
  struct stat info {};
  const int why = ::stat(path_.c_str(), &info) == 0 ? 0 : errno;
  if (why == ENOENT) {
    if (auto ok = prepare_(); !ok) return ok;
    if (auto ok = ReplicaDb::begin(loop_.clock(), path_); !ok) return ok;
  } else if (why != 0) {
    const Code code = why == EACCES ? Code::kDenied : Code::kUnavailable;
    return fail(code, path_ + ": " + std::generic_category().message(why));
  }
  auto opened = ReplicaDb::open(loop_.clock(), path_);
  if (!opened) return fail(std::move(opened.error()));
  db_ = std::move(*opened);
  return {};
}

Result<void> ReplicaWriter::write(const Stored& stored, bool strong) {
  ReplicaDb::Write write;
  write.id = stored.record.id;
  write.json = stored.json;
  if (write.json.empty()) {
    auto made = to_json_unchecked(stored.record);
    if (!made && !stored.record.from_rkms) return fail(std::move(made.error()));
    write.json = made ? std::move(*made) : kSeenRkms;
  }
  write.revision = stored.revision;
  write.confirmed = loop_.clock().wall().time_since_epoch().count();
  write.strong = strong;
  if (auto ok = open(); !ok) return ok;
  auto refused = db_->write({write});
  if (!refused) return fail(std::move(refused.error()));
  return {};
}

}  // namespace keyfs
