// A whole FUSE side on a backend that a test can make hang and fail, and count: in memory, without
// store and regions.
#pragma once

#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/config.h"
#include "fs/audit/audit.h"
#include "fs/audit/audit_line.h"
#include "fs/mount/ops.h"
#include "fs/mount/session.h"
#include "fs/policy/policy.h"
#include "support/log_capture.h"
#include "support/temporary_directory.h"

namespace keyfs::testing {

// Shared mappings of what is read directly: since libfuse 3.17, and the kernel's 6.6.
#ifdef FUSE_CAP_DIRECT_IO_ALLOW_MMAP
inline constexpr bool kLibfuseKnowsSharedMappings = true;
#else
inline constexpr bool kLibfuseKnowsSharedMappings = false;
#endif

// A temporary directory with a mount point; nothing stays mounted afterwards.
class MountDirectory {
 public:
  MountDirectory() = default;
  ~MountDirectory() {
    while (::umount2((path() + "/mnt").c_str(), MNT_DETACH) == 0) {
    }
  }
  MountDirectory(const MountDirectory&) = delete;
  MountDirectory& operator=(const MountDirectory&) = delete;
  std::string path() const { return directory_.path(); }

 private:
  const TemporaryDirectory directory_;
};

// Keys by id, invented on creation. Everything except the counters on the loop's thread, or before
// it runs.
class FakeBackend final : public FuseBackend {
 public:
  FakeBackend(Loop& loop, KeyCache& cache, SecretArena& arena)
      : loop_(loop), cache_(cache), arena_(arena) {}

  // `text` is the contents of the file.
  void add(const std::string& id, std::string text) {
    std::lock_guard lock(mutex_);
    keys_[id] = std::move(text);
  }
  void fail_with(std::optional<Error> error) {
    std::lock_guard lock(mutex_);
    error_ = std::move(error);
  }
  void hang(bool on) { hang_ = on; }
  // Of listings: how many keys a page has, and from which page on they hang, or fail.
  void page_size(size_t keys) { page_size_ = keys; }
  void hang_from_page(size_t page) { hang_from_ = page; }
  // Pages are already known, as in a list that somebody else has read.
  void know_pages(bool known) { pages_known_ = known; }
  void fail_from_page(size_t page, std::optional<Error> error) {
    std::lock_guard lock(mutex_);
    fail_from_ = page;
    page_error_ = std::move(error);
  }
  // A new current version; the number that it has. Earlier ones stay.
  uint32_t rotate(const std::string& id, std::string text) {
    std::lock_guard lock(mutex_);
    const uint32_t number = current_of(id);
    old_[id][number] = std::exchange(keys_[id], std::move(text));
    return current_[id] = number + 1;
  }
  // An old version that is retired.
  void retire(const std::string& id, uint32_t version) {
    std::lock_guard lock(mutex_);
    old_[id][version].clear();
  }
  SharedKey make(const std::string& id, uint32_t version) {
    std::lock_guard lock(mutex_);
    return make_locked(id, version);
  }
  bool exists(const std::string& id) {
    std::lock_guard lock(mutex_);
    return keys_.contains(id);
  }

  Task<Result<std::optional<Opened>>> open(OpenRequest request) override {
    ++opens;
    const Waiting waiting(*this);
    while (hang_) co_await loop_.sleep_for(std::chrono::milliseconds(5));
    co_return find(request);
  }
  void refresh(KeyRef entry) override {
    ++refreshes;
    cache_.refreshed(*entry);
  }
  Task<Result<std::optional<KeyInfo>>> describe(std::string id, TimePoint, ForUser) override {
    ++describes;
    while (hang_) co_await loop_.sleep_for(std::chrono::milliseconds(5));
    std::lock_guard lock(mutex_);
    if (error_) co_return fail(*error_);
    const auto found = keys_.find(id);
    if (found == keys_.end()) co_return std::nullopt;
    KeyInfo info;
    info.version = current_of(id);
    info.bytes = static_cast<uint32_t>(found->second.size());
    info.created = created_of(info.version);
    info.regions = regions_;
    info.versions[info.version] = {info.bytes, info.created, regions_};
    for (const auto& [number, text] : old_[id]) {
      const auto bytes = static_cast<uint32_t>(text.size());
      if (bytes > 0) info.versions[number] = {bytes, created_of(number), regions_};
    }
    co_return info;
  }
  std::shared_ptr<KeyListing> list() override {
    ++lists;
    return std::make_shared<Listing>(*this);
  }
  std::optional<uint32_t> listed_bytes(std::string_view id) const override {
    std::lock_guard lock(mutex_);
    const auto found = listed_.find(id);
    return found == listed_.end() ? std::nullopt : std::optional(found->second);
  }

  // Blocks until that many are waiting.
  void await_waiting(size_t count) {
    std::unique_lock lock(waiting_mutex_);
    changed_.wait(lock, [&] { return waiting_ == count; });
  }

  static constexpr WallTime kCreated{std::chrono::milliseconds(1'700'000'000'000)};
  std::atomic<int> opens{0}, refreshes{0}, describes{0}, lists{0}, pages{0};
  std::atomic<int> open_lists{0};  // not yet released

 private:
  struct Waiting {
    explicit Waiting(FakeBackend& self) : backend(self) { backend.count(1); }
    ~Waiting() { backend.count(-1); }
    Waiting(const Waiting&) = delete;
    Waiting& operator=(const Waiting&) = delete;
    FakeBackend& backend;
  };
  // The keys as they were when it was opened.
  class Listing final : public KeyListing {
   public:
    explicit Listing(FakeBackend& backend) : backend_(backend) {
      ++backend_.open_lists;
      std::lock_guard lock(backend_.mutex_);
      for (const auto& [id, text] : backend_.keys_) {
        keys_.emplace_back(id, static_cast<uint32_t>(text.size()));
      }
    }
    ~Listing() override { --backend_.open_lists; }
    Task<Result<KeyPageRef>> page(size_t number, TimePoint) override {
      ++backend_.pages;
      std::optional<Waiting> waiting;
      while (backend_.hang_ || number >= backend_.hang_from_) {
        if (!waiting) waiting.emplace(backend_);
        co_await backend_.loop_.sleep_for(std::chrono::milliseconds(5));
      }
      std::lock_guard lock(backend_.mutex_);
      if (backend_.error_) co_return fail(*backend_.error_);
      if (backend_.page_error_ && number >= backend_.fail_from_) {
        co_return fail(*backend_.page_error_);
      }
      co_return make(number);
    }
    KeyPageRef known(size_t number) const override {
      if (!backend_.pages_known_) return nullptr;
      std::lock_guard lock(backend_.mutex_);
      return make(number);
    }

   private:
    KeyPageRef make(size_t number) const {
      const size_t begin = number * backend_.page_size_;
      const size_t end = std::min(begin + backend_.page_size_, keys_.size());
      std::vector<ListedKey> page;
      for (size_t i = begin; i < end; ++i) {
        page.push_back({keys_[i].first, KeyState::kEnabled, keys_[i].second, false});
        backend_.listed_[keys_[i].first] = keys_[i].second;
      }
      return std::make_shared<const KeyPage>(page, end == keys_.size());
    }

    FakeBackend& backend_;
    std::vector<std::pair<std::string, uint32_t>> keys_;
  };
  void count(int by) {
    std::lock_guard lock(waiting_mutex_);
    waiting_ += static_cast<size_t>(by);
    changed_.notify_all();
  }
  Result<std::optional<Opened>> find(const OpenRequest& request) {
    std::lock_guard lock(mutex_);
    if (error_) return fail(*error_);
    const std::string id(request.entry->id());
    Opened opened;
    if (!keys_.contains(id)) {
      if (!request.may_create) return std::nullopt;
      keys_[id] = "created-" + id;
      opened.created = true;
    }
    const uint32_t current = current_of(id);
    const uint32_t version = request.version == 0 ? current : request.version;
    if (version != current) {
      const auto old = old_[id].find(version);
      if (old == old_[id].end()) return std::nullopt;
      if (old->second.empty()) return fail(Code::kRevoked, "retired");
    }
    const SharedKey key = make_locked(id, version);
    if (version == current) cache_.put(*request.entry, key, loop_.now(), cache_.epoch());
    opened.key = key;
    opened.source = KeySource::kRegion;
    return opened;
  }

  uint32_t current_of(const std::string& id) {
    const auto found = current_.find(id);
    return found == current_.end() ? 1 : found->second;
  }
  static WallTime created_of(uint32_t version) {
    return kCreated + std::chrono::hours(24) * (version - 1);
  }
  SharedKey make_locked(const std::string& id, uint32_t version) {
    auto key = std::make_shared<DataKey>();
    const bool current = version == current_of(id);
    key->key = *arena_.copy_of(current ? keys_.at(id) : old_.at(id).at(version));
    key->version = version;
    key->created = created_of(version);
    key->regions = regions_;
    key->region = &regions_->front();
    return key;
  }

  Loop& loop_;
  KeyCache& cache_;
  SecretArena& arena_;
  mutable std::mutex mutex_;
  std::map<std::string, uint32_t> current_;                     // if it is not 1
  std::map<std::string, std::map<uint32_t, std::string>> old_;  // empty: retired
  std::map<std::string, std::string> keys_;
  std::map<std::string, uint32_t, std::less<>> listed_;
  std::optional<Error> error_;
  std::atomic<bool> hang_{false};
  std::atomic<size_t> page_size_{1000}, hang_from_{SIZE_MAX};
  std::atomic<bool> pages_known_{false};
  size_t fail_from_ = 0;
  std::optional<Error> page_error_;
  RegionList regions_ =
      std::make_shared<const std::vector<std::string>>(std::vector<std::string>{"alpha", "beta"});
  std::mutex waiting_mutex_;
  std::condition_variable changed_;
  size_t waiting_ = 0;
};

// Two names with that beginning and the same hash (fs/mount/file_numbers.h).
inline std::pair<std::string, std::string> names_of_one_number(const std::string& beginning) {
  std::map<uint32_t, std::string> seen;
  for (int number = 0;; ++number) {
    const std::string name = beginning + std::to_string(number);
    const auto [place, fresh] = seen.try_emplace(file_number(name), name);
    if (!fresh) return {place->second, name};
  }
}

class TextFile final : public VirtualFile {
 public:
  TextFile(std::string name, std::string text) : name_(std::move(name)), text_(std::move(text)) {}
  std::string_view name() const override { return name_; }
  std::string render() override { return text_; }

 private:
  const std::string name_;
  const std::string text_;
};

// Collects what the audit writes.
struct AuditLines {
  std::mutex mutex;
  std::string text;
  bool broken = false;  // no line can be written
};
class AuditCapture final : public AuditSink {
 public:
  explicit AuditCapture(std::shared_ptr<AuditLines> lines) : lines_(std::move(lines)) {}
  LineFile::Written write(std::string_view text) override {
    std::lock_guard lock(lines_->mutex);
    if (lines_->broken) return {0, Error(Code::kUnavailable, "no space left on device")};
    lines_->text += text;
    return {static_cast<size_t>(std::count(text.begin(), text.end(), '\n')), std::nullopt};
  }
  Result<void> reopen() override { return {}; }

 private:
  const std::shared_ptr<AuditLines> lines_;
};

// Users that need not exist on the machine: 1001 may read and create app-*, 1002 may only read
// shared-*, group 2000 reads team-*, 0 is named nowhere but where it says so.
constexpr auto kTestPolicy = R"(
[keys app-*]
read = uid:1001
create = uid:1001
[keys shared-*]
read = uid:1001, uid:1002
[keys team-*]
read = gid:2000
[keys HEAD]
read = uid:0
create = uid:0
[keys root-*]
read = uid:0
create = uid:0
[admin]
read = uid:0
)";

inline std::unique_ptr<const Policy> policy_of(std::string_view text) {
  SystemNames names;
  const auto file = ConfigFile::parse(text, "test.ini");
  EXPECT_TRUE(file) << (file ? "" : file.error().message);
  auto policy = Policy::load(*file, names);
  EXPECT_TRUE(policy) << (policy ? "" : policy.error().message);
  return std::move(*policy);
}

// Everything up to the FuseOps, with the loop running on a thread of its own.
class FuseSide {
 public:
  // Signing keys, which work on this side's loop and end before it.
  struct Signing {
    virtual ~Signing() = default;
    virtual SigningKeys& keys() = 0;
  };
  using MakeSigning = std::function<std::unique_ptr<Signing>(Loop&, Log&)>;

  // `audited_opens` false: the audit is off.
  explicit FuseSide(FuseOptions options = {}, CacheOptions cache_options = {},
                    OpenListener* opens = nullptr, bool audited_opens = true,
                    const MakeSigning& make_signing = {}, Audit::Options audit_options = {})
      : signing(make_signing ? make_signing(loop, log.log()) : nullptr),
        cache(cache_options),
        audit(audited_opens ? std::make_unique<AuditCapture>(audited) : nullptr, log.log(), clock,
              audit_options),
        ops(FuseParts{loop, backend, cache, arena, policy, audit, processes, files, metrics,
                      log.log(), InodeIds{uint64_t{7} << InodeIds::kBits}, opens,
                      signing != nullptr ? &signing->keys() : nullptr},
            std::move(options)) {
    files.add(std::make_unique<TextFile>("version", "keyfs test\n"));
    files.add(std::make_unique<TextFile>("status", "{}\n"));
    runner_ = std::thread([this] { loop.run(); });
  }
  ~FuseSide() {
    end_session();
    loop.stop();
    runner_.join();
    loop.shutdown();
  }

  void serve(std::unique_ptr<FuseSession> session) {
    session_ = std::move(session);
    server_ = std::thread([this] {
      const auto served = session_->run({});
      EXPECT_TRUE(served) << (served ? "" : served.error().message);
    });
  }
  void end_session() {
    if (session_ == nullptr) return;
    session_->stop();
    server_.join();
    session_.reset();
  }
  FuseSession* session() { return session_.get(); }

  std::string audit_lines() {
    audit.flush();
    std::lock_guard lock(audited->mutex);
    return audited->text;
  }

  SystemClock clock;
  IdlePoller poller;
  Loop loop{clock, poller};
  LogCapture log;
  const std::unique_ptr<Signing> signing;
  SecretArena arena;
  KeyCache cache;
  FakeBackend backend{loop, cache, arena};
  PolicyHolder policy{policy_of(kTestPolicy)};
  std::shared_ptr<AuditLines> audited = std::make_shared<AuditLines>();
  Audit audit;
  ProcessCache processes{audit_fields};
  VirtualFiles files;
  Metrics metrics;
  FuseOps ops;

 private:
  std::thread runner_;
  std::unique_ptr<FuseSession> session_;
  std::thread server_;
};

}  // namespace keyfs::testing
