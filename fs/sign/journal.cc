#include "fs/sign/journal.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string_view>

#include "base/private_file.h"
#include "base/strict_json.h"
#include "fs/sign/state_files.h"

namespace keyfs {
namespace {

std::string begun_line(const Begun& what) {
  nlohmann::json line = {
      {"begun", what.removal ? "removal" : "key"}, {"id", what.id}, {"custody", what.custody}};
  if (what.from) line["from"] = *what.from;
  if (!what.key.empty()) line["key"] = what.key;
  if (!what.token.empty()) line["token"] = what.token;
  if (!what.removal) line["at"] = what.at.time_since_epoch().count();
  return state_line(line);
}

// nullopt: it says nothing.
std::optional<Begun> parse_begun(std::string_view text) {
  Begun what;
  bool first = true;
  for (;;) {
    const size_t end = text.find('\n');
    if (end == text.npos) break;  // cut short, if anything is there
    auto line = parse_strict_json(text.substr(0, end), kMaxStateFile);
    text.remove_prefix(end + 1);
    if (!line || !line->is_object()) break;
    if (std::exchange(first, false)) {
      const std::string begun = text_in(*line, "begun");
      what.id = text_in(*line, "id");
      what.custody = text_in(*line, "custody");
      what.removal = begun == "removal";
      if ((!what.removal && begun != "key") || what.id.empty()) return std::nullopt;
      if (line->contains("from")) what.from = text_in(*line, "from");
      what.token = text_in(*line, "token");
      const auto at = line->find("at");
      if (at != line->end() && at->is_number_integer()) {
        what.at = WallTime(std::chrono::milliseconds(at->get<int64_t>()));
      }
    }
    if (line->contains("key")) what.key = text_in(*line, "key");
    if (line->contains("named")) what.named = true;
  }
  if (first) return std::nullopt;
  return what;
}

Result<std::string> read_begun(const std::string& path, const Descriptor& file) {
  std::string text(kMaxStateFile, '\0');
  const ssize_t got = ::pread(file.get(), text.data(), text.size(), 0);
  if (got < 0) return fail(os_error(path, "could not be read"));
  text.resize(static_cast<size_t>(got));
  return text;
}

// Its owner may have finished it between our open() and our lock.
bool still_named(const std::string& path, const Descriptor& file) {
  struct stat open {};
  struct stat there {};
  return ::fstat(file.get(), &open) == 0 && ::lstat(path.c_str(), &there) == 0 &&
         open.st_ino == there.st_ino && open.st_dev == there.st_dev;
}

}  // namespace

Result<void> BegunEntry::append(const std::string& line) {
  if (!write_all(file_.get(), line) || ::fsync(file_.get()) != 0) {
    return fail(os_error(path_, "could not be written"));
  }
  return {};
}

Result<void> BegunEntry::set_key(const std::string& key) {
  auto written = append(state_line({{"key", key}}));
  if (written) what_.key = key;
  return written;
}

Result<void> BegunEntry::set_named() {
  auto written = append(state_line({{"named", true}}));
  if (written) what_.named = true;
  return written;
}

Result<void> BegunEntry::finish() { return remove_state_file(path_); }

Result<BegunEntryPtr> Journal::begin(Begun what) const {
  if (auto ok = make_state_directory(directory_); !ok) return fail(std::move(ok.error()));
  // Locked before it has its name, so that nobody takes it for one that was left over.
  for (int tries = 0;; ++tries) {
    std::string draft = directory_ + "/XXXXXX";
    Descriptor file(::mkostemp(draft.data(), O_CLOEXEC | O_APPEND));
    if (!file.is_open()) return fail(os_error(directory_, "could not be written"));
    const std::string path = draft + ".json";
    const bool written = ::flock(file.get(), LOCK_EX | LOCK_NB) == 0 &&
                         ::fchmod(file.get(), 0600) == 0 &&
                         write_all(file.get(), begun_line(what)) && ::fsync(file.get()) == 0 &&
                         ::link(draft.c_str(), path.c_str()) == 0;
    const int why = errno;
    ::unlink(draft.c_str());
    if (written) {
      if (!sync_directory(directory_)) {
        auto error = os_error(directory_, "could not be written");
        ::unlink(path.c_str());
        return fail(std::move(error));
      }
      return std::make_shared<BegunEntry>(path, std::move(file), std::move(what));
    }
    // Another process took the draft for one that was left over, or had this name before.
    const bool again = why == EWOULDBLOCK || why == ENOENT || why == EEXIST;
    if (!again || tries == 3) return fail(os_error(directory_, "could not be written", why));
  }
}

Result<Journal::LeftOver> Journal::left_over() const {
  auto names = state_files_in(directory_, "");
  if (!names) return fail(std::move(names.error()));
  LeftOver left;
  for (const std::string& name : *names) {
    const std::string path = directory_ + "/" + name;
    auto file = open_private_file(path, O_RDWR | O_APPEND, Guard::kOurs);
    if (!file) {
      if (errno == ENOENT && file.error().code != Code::kDenied) continue;
      left.damaged.push_back(path);
      continue;
    }
    if (::flock(file->get(), LOCK_EX | LOCK_NB) != 0) {
      ++left.living;
      continue;
    }
    if (!still_named(path, *file)) continue;
    if (!name.ends_with(".json")) {  // a draft: nothing was created after it
      ::unlink(path.c_str());
      continue;
    }
    auto text = read_begun(path, *file);
    if (!text) return fail(std::move(text.error()));
    auto what = parse_begun(*text);
    if (!what) {
      left.damaged.push_back(path);
      continue;
    }
    left.entries.push_back(std::make_shared<BegunEntry>(path, std::move(*file), std::move(*what)));
  }
  return left;
}

Result<std::vector<Begun>> Journal::all() const {
  auto names = state_files_in(directory_, ".json");
  if (!names) return fail(std::move(names.error()));
  std::vector<Begun> all;
  for (const std::string& name : *names) {
    const std::string path = directory_ + "/" + name;
    auto file = open_private_file(path, O_RDONLY, Guard::kOurs);
    if (!file) {
      if (errno == ENOENT && file.error().code != Code::kDenied) continue;
      return fail(std::move(file.error()));
    }
    auto text = read_begun(path, *file);
    if (!text) return fail(std::move(text.error()));
    auto what = parse_begun(*text);
    if (what) all.push_back(std::move(*what));
  }
  return all;
}

}  // namespace keyfs
