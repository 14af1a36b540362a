#include "fs/rotation/consumer_news.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/private_file.h"
#include "base/strict_json.h"
#include "fs/rotation/consumer_file.h"

namespace keyfs {
namespace {

constexpr size_t kMaxNewsLine = size_t{64} << 10;
constexpr size_t kMaxNewsValues = 1000;
constexpr mode_t kNewsMode = 0600;

std::string stem_of(const std::string& list) {
  constexpr std::string_view kEnding = ".json";
  return list.ends_with(kEnding) ? list.substr(0, list.size() - kEnding.size()) : list;
}

// Without a new line at its end, or of zeros: bytes that were never written.
size_t size_of_whole_lines(std::string_view text) {
  text = text.substr(0, text.find('\0'));
  const size_t last = text.rfind('\n');
  return last == std::string_view::npos ? 0 : last + 1;
}

// Of epochs (process_epoch()): for sure.
bool are_of_two_boots(std::string_view one, std::string_view other) {
  one = one.substr(0, one.find(' '));
  other = other.substr(0, other.find(' '));
  return !one.empty() && !other.empty() && one != other;
}

Result<void> cut(const std::string& path, size_t size) {
  const auto file = open_private_file(path, O_WRONLY, Guard::kOurs);
  if (!file) return fail(file.error());
  if (::ftruncate(file->get(), static_cast<off_t>(size)) != 0) {
    return fail(os_error(path, "cannot be cut"));
  }
  return {};
}

}  // namespace

std::string news_header(const std::string& epoch, bool list) {
  const nlohmann::json header = {{"keyfs_consumers_new", 1}, {"epoch", epoch}, {"list", list}};
  return header.dump() + "\n";
}

std::string news_line(const ConsumerTable::Program& program) {
  return json_of(program, true).dump() + "\n";
}

Result<NewsText> parse_news(std::string_view text, const std::string& epoch) {
  NewsText news;
  news.good = size_of_whole_lines(text);
  news.cut = text.size() - news.good;
  const bool is_blank = text.find_first_not_of('\0') == std::string_view::npos;
  text = text.substr(0, news.good);
  bool begun = false;
  bool rebooted = is_blank;  // since its last header was written
  bool same = false;
  for (size_t number = 1; !text.empty(); ++number) {
    const auto damaged = [number] {
      return fail(Code::kCorrupt, "line " + std::to_string(number) + " is damaged");
    };
    const size_t size = text.find('\n');
    const auto line = parse_strict_json(text.substr(0, size), kMaxNewsLine, kMaxNewsValues);
    text.remove_prefix(size + 1);
    if (!line || !line->is_object()) return damaged();
    if (line->contains("keyfs_consumers_new")) {
      const auto version = line->value("keyfs_consumers_new", nlohmann::json());
      const auto its_epoch = line->value("epoch", nlohmann::json());
      if (version != nlohmann::json(1) || !its_epoch.is_string()) return damaged();
      begun = true;
      same = !epoch.empty() && its_epoch.get<std::string>() == epoch;
      rebooted = are_of_two_boots(its_epoch.get<std::string>(), epoch);
      news.list = news.list || line->value("list", nlohmann::json()) == nlohmann::json(true);
      continue;
    }
    auto program = program_of_json(*line, same);
    if (!begun || !program) return damaged();
    news.programs.push_back(std::move(*program));
  }
  if (news.cut != 0 && !rebooted) {
    news.damage = "its end is damaged, and the machine was not started since";
  }
  return news;
}

ConsumerNews::ConsumerNews(const std::string& list)
    : before_(stem_of(list) + ".new.1"), now_(stem_of(list) + ".new"), paths_{before_, now_} {}

Result<std::optional<NewsText>> ConsumerNews::read(const std::string& path,
                                                   const std::string& epoch) {
  auto text = read_private_text(path, 2 * kMaxConsumerNews);
  if (!text) return fail(text.error());
  if (!*text) return std::optional<NewsText>();
  auto news = parse_news(**text, epoch);
  if (!news) return fail(news.error().code, set_aside(path, news.error().message));
  if (!news->damage.empty()) news->damage = set_aside(path, news->damage);
  // Or the next line would follow in the middle of one.
  if (news->cut != 0 && news->damage.empty()) {
    if (auto ok = cut(path, news->good); !ok) return fail(ok.error());
  }
  return std::optional<NewsText>(std::move(*news));
}

Result<void> ConsumerNews::append(const std::string& header, const std::string& lines) {
  if (!file_) {
    auto opened = LineFile::open("new consumers", now_, kNewsMode);
    if (!opened) return fail(opened.error());
    struct stat about {};
    if (::stat(now_.c_str(), &about) != 0) return fail(os_error(now_, "cannot be examined"));
    size_ = static_cast<size_t>(about.st_size);
    file_ = std::move(*opened);
    if (auto begun = append("", header); !begun) {
      file_.reset();
      return begun;
    }
  }
  if (size_ + lines.size() > kMaxConsumerNews) {
    return fail(Code::kUnavailable, now_ + ": is full until " + stem_of(now_) + " is written");
  }
  LineFile::Written written = file_->write(lines);
  if (written.error) {
    (void)cut(now_, size_);
    file_.reset();
    return fail(std::move(*written.error));
  }
  // Somebody has removed it: the new one lacks the header.
  if (written.elsewhere) {
    file_.reset();
    (void)::unlink(now_.c_str());
    return fail(Code::kUnavailable, now_ + ": was removed");
  }
  size_ += lines.size();
  return {};
}

Result<bool> ConsumerNews::turn() {
  if (::access(before_.c_str(), F_OK) == 0) return false;
  if (std::rename(now_.c_str(), before_.c_str()) != 0 && errno != ENOENT) {
    return fail(os_error(now_, "cannot be renamed"));
  }
  file_.reset();
  return true;
}

Result<void> ConsumerNews::drop() {
  if (::unlink(before_.c_str()) == 0 || errno == ENOENT) return {};
  return fail(os_error(before_, "cannot be removed"));
}

}  // namespace keyfs
