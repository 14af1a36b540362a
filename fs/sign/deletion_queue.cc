#include "fs/sign/deletion_queue.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "fs/sign/state_files.h"

namespace keyfs {
namespace {

constexpr Backoff kDeletionPause{std::chrono::seconds(10), std::chrono::hours(1), 0.5};

int64_t in_milliseconds(WallTime time) { return time.time_since_epoch().count(); }

// What is on disk; nullopt for what says nothing.
std::optional<Doomed> parse_doomed(const nlohmann::json& json) {
  Doomed doomed(text_in(json, "custody"), text_in(json, "key"), text_in(json, "id"),
                text_in(json, "instead"), WallTime{});
  if (doomed.custody.empty() || doomed.key.empty() || doomed.id.empty()) return std::nullopt;
  const auto named = json.find("unless_named");
  doomed.unless_named = named == json.end() || !named->is_boolean() || named->get<bool>();
  const auto number = [&json](const char* name) -> int64_t {
    const auto place = json.find(name);
    return place != json.end() && place->is_number_integer() ? place->get<int64_t>() : 0;
  };
  doomed.not_before = WallTime(std::chrono::milliseconds(number("not_before")));
  doomed.tries = static_cast<unsigned>(std::clamp<int64_t>(number("tries"), 0, 1000));
  return doomed;
}

}  // namespace

Task<Result<void>> DeletionQueue::write(std::string file, Doomed doomed) {
  const nlohmann::json json = {
      {"custody", doomed.custody}, {"key", doomed.key},
      {"id", doomed.id},           {"unless_named", doomed.unless_named},
      {"instead", doomed.instead}, {"not_before", in_milliseconds(doomed.not_before)},
      {"tries", doomed.tries}};
  std::function<Result<void>()> work = [path = directory_ + "/" + file, json] {
    return write_state_file(path, json);
  };
  auto written = co_await worker_.run(std::move(work));
  if (written) {
    unwritten_.erase(file);
  } else {
    unwritten_.insert(file);
  }
  co_return written;
}

Task<Result<void>> DeletionQueue::add(Doomed doomed) {
  auto file = state_file_name(doomed.custody, doomed.key);
  if (!file) co_return fail(std::move(file.error()));
  const auto present = entries_.find(*file);
  if (present != entries_.end()) {
    doomed.not_before = std::min(doomed.not_before, present->second.not_before);
  }
  entries_[*file] = doomed;
  sum_up();
  co_return co_await write(*file, doomed);
}

Task<Result<void>> DeletionQueue::look() {
  struct Found {
    std::map<std::string, Doomed> doomed;
    std::set<std::string> damaged;
  };
  std::function<Result<Found>()> read = [directory = directory_]() -> Result<Found> {
    auto names = state_files_in(directory, ".json");
    if (!names) return fail(std::move(names.error()));
    Found found;
    for (const std::string& name : *names) {
      const std::string path = directory + "/" + name;
      // A link, a directory, a file of somebody else: it holds up no other.
      auto json = read_state_file(path);
      auto doomed = json && *json ? parse_doomed(**json) : std::nullopt;
      if (doomed) {
        found.doomed.emplace(name, std::move(*doomed));
      } else if (::faccessat(AT_FDCWD, path.c_str(), F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
        found.damaged.insert(path);
      }
    }
    return found;
  };
  // What is added while the disk is read is not in the answer.
  std::set<std::string> before;
  for (const auto& [file, doomed] : entries_) before.insert(file);
  auto found = co_await worker_.run(std::move(read));
  if (!found) co_return fail(std::move(found.error()));
  const WallTime latest =
      loop_.clock().wall() + std::chrono::duration_cast<std::chrono::milliseconds>(longest_);
  for (const std::string& file : before) {
    if (!found->doomed.contains(file) && !unwritten_.contains(file) && !at_work_.contains(file)) {
      entries_.erase(file);  // another process has done it
    }
  }
  for (const std::string& path : found->damaged) {
    if (damaged_.contains(path)) continue;
    log_.error(
        "what a key to be deleted was is not readable: an old signing key may stay; look for it in "
        "its custody, delete it there, and remove the file",
        {{"file", path}});
  }
  damaged_ = std::move(found->damaged);
  for (auto& [file, doomed] : found->doomed) {
    doomed.not_before = std::min(doomed.not_before, latest);
    entries_.try_emplace(file, std::move(doomed));
  }
  sum_up();
  co_return Result<void>();
}

Task<bool> DeletionQueue::work(Delete one, TimePoint deadline) {
  const WallTime now = loop_.clock().wall();
  std::vector<std::string> due;
  for (const auto& [file, doomed] : entries_) {
    if (doomed.not_before <= now && !at_work_.contains(file)) due.push_back(file);
  }
  bool all = true;
  for (const std::string& file : due) {
    const auto place = entries_.find(file);
    if (place == entries_.end() || at_work_.contains(file)) continue;
    if (loop_.now() >= deadline) co_return false;
    struct AtWork {
      AtWork(std::set<std::string>& set, std::string f) : files(set), file(std::move(f)) {
        files.insert(file);
      }
      AtWork(const AtWork&) = delete;
      AtWork& operator=(const AtWork&) = delete;
      ~AtWork() { files.erase(file); }
      std::set<std::string>& files;
      std::string file;
    };
    const AtWork at_work(at_work_, file);
    Doomed doomed = place->second;
    auto done = co_await one(doomed);
    if (done) {
      std::function<Result<void>()> remove = [path = directory_ + "/" + file] {
        return remove_state_file(path);
      };
      if (*done) ++deleted_;
      entries_.erase(file);
      unwritten_.erase(file);
      sum_up();
      // If the file stays, the next process asks once more, and hears that it is done.
      (void)co_await worker_.run(std::move(remove));
      continue;
    }
    all = false;
    if (doomed.tries == 0) {
      log_.warn("a signing key could not be deleted, and is tried again",
                {{"key", doomed.key}, {"id", doomed.id}, {"reason", done.error().message}});
    }
    doomed.not_before =
        loop_.clock().wall() + std::chrono::duration_cast<std::chrono::milliseconds>(
                                   kDeletionPause.pause(std::min(doomed.tries, 20u), random_));
    ++doomed.tries;
    doomed.trouble = done.error().message;
    entries_[file] = doomed;
    sum_up();
    (void)co_await write(file, doomed);
  }
  co_return all;
}

std::optional<WallTime> DeletionQueue::next_due() const {
  std::optional<WallTime> first;
  for (const auto& [file, doomed] : entries_) {
    if (!first || doomed.not_before < *first) first = doomed.not_before;
  }
  return first;
}

std::vector<std::string> DeletionQueue::keys() const {
  std::vector<std::string> keys;
  for (const auto& [file, doomed] : entries_) keys.push_back(doomed.key);
  return keys;
}

void DeletionQueue::sum_up() {
  Summary summary;
  summary.waiting = entries_.size();
  summary.deleted = deleted_;
  unsigned most = 0;
  for (const auto& [file, doomed] : entries_) {
    if (doomed.trouble.empty() || doomed.tries <= most) continue;
    most = doomed.tries;
    summary.trouble = doomed.key + ": " + doomed.trouble;
  }
  if (!damaged_.empty()) {
    summary.trouble = *damaged_.begin() + " is damaged: an old key may not be deleted";
  }
  const std::lock_guard lock(mutex_);
  summary_ = std::move(summary);
}

DeletionQueue::Summary DeletionQueue::summary() const {
  const std::lock_guard lock(mutex_);
  return summary_;
}

}  // namespace keyfs
