// What consumers are known from an earlier life of the daemon, and what is kept at once for the next.
#include <algorithm>
#include <chrono>
#include <utility>

#include "fs/rotation/consumers_impl.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;

constexpr size_t kMaxWaitingNews = size_t{1} << 20;  // bytes, while the disk is slow

}  // namespace

void Consumers::Impl::load() {
  if (file.empty()) return;
  const bool list_good = load_list();
  const bool news_good = load_news(list_good);
  list_lost = !list_good || !news_good;
  // If this life ends before it has written one, the next is not to take its lines for all.
  if (list_lost) has_list = true;
}

bool Consumers::Impl::load_list() {
  const auto tell = [&](const std::string& reason) {
    log.warn(
        "which programs use keys is learned anew: "
        "a rotation tells only those that open a key before it",
        {{"reason", reason}});
    return false;
  };
  auto text = read_private_text(file, kMaxConsumerFile);
  if (!text) return tell(text.error().message);
  if (!*text) return true;
  auto programs = parse_consumers(**text, epoch);
  if (!programs) return tell(set_aside(file, programs.error().message));
  for (ConsumerTable::Program& program : *programs) {
    std::erase_if(program.processes, [](const auto& process) { return !is_running(process.id); });
    table.restore(std::move(program));
  }
  written = std::move(**text);
  has_list = true;
  return true;
}

bool Consumers::Impl::load_news(bool list_good) {
  bool good = true;
  const auto tell = [&](const std::string& reason) {
    good = false;
    log.warn(
        "programs that opened a key just before keyfs ended may not be known: "
        "a rotation tells them only if they open a key again before it",
        {{"reason", reason}});
  };
  for (const std::string& path : news.paths()) {
    auto read = news.read(path, epoch);
    if (!read) {
      tell(read.error().message);
      continue;
    }
    if (!*read) continue;
    const NewsText& text = **read;
    has_news = true;
    dirty = true;
    if (!text.damage.empty()) {
      tell(text.damage);
    } else if (text.cut != 0) {
      log.debug("a line about a new consumer was cut short as the machine stopped, and is left out",
                {{"file", path}, {"bytes", uint64_t{text.cut}}});
    }
    if (list_good && text.list && !has_list) {
      tell(file + ": is missing, while " + path + " is there");
    }
    for (const ConsumerTable::Program& program : text.programs) {
      std::optional<ProcessId> process;
      for (const ConsumerTable::Process& one : program.processes) {
        if (is_running(one.id)) process = one.id;
      }
      for (const auto& [id, use] : program.keys) {
        table.note(program.who, process, !program.unfollowed, id, use, program.seen);
      }
      table.add_fitted(program.who, program);
    }
  }
  return good;
}

void Consumers::Impl::note_news(const Who& who, const std::optional<ProcessId>& process,
                                bool knowable, std::string_view key, uint32_t version,
                                WallTime now) {
  if (file.empty() || news_lines.size() >= kMaxWaitingNews) return;
  ConsumerTable::Program program;
  program.who = who;
  program.keys[std::string(key)].version = version;
  program.seen = now;
  program.unfollowed = !knowable;
  const auto known = table.programs().find(who);
  program.fitted_others = known == table.programs().end() || known->second.fitted_others;
  if (known != table.programs().end()) program.fitted = known->second.fitted;
  if (process && !epoch.empty()) program.processes.push_back({*process, program.keys});
  news_lines += news_line(program);
  write_soon.set();
}

Task<bool> Consumers::Impl::write_news() {
  for (;;) {
    if (news_lines.empty()) {
      co_await write_soon.wait(loop.now() + 1h);
      continue;
    }
    const std::function<Result<bool>()> work = [this, header = news_header(epoch, has_list),
                                                lines = std::exchange(news_lines, {})] {
      Result<void> done;
      if (is_ours) done = is_ours();
      if (done) done = news.append(header, lines);
      return done ? Result<bool>(true) : Result<bool>(fail(done.error()));
    };
    has_news = true;
    const auto appended = co_await news_disk.run(work);
    if (appended) {
      news_error.clear();
      continue;
    }
    if (news_error.empty()) {
      log.warn(
          "could not note at once which program has opened a key: "
          "a rotation may not tell it if keyfs is killed within seconds",
          {{"reason", appended.error().message}});
    }
    news_error = appended.error().message;
    co_await loop.sleep_for(1s);
  }
}

Task<bool> Consumers::Impl::turn_news() {
  if (!has_news) co_return false;
  has_news = false;
  const std::function<Result<bool>()> work = [this]() -> Result<bool> {
    // What another daemon that has begun meanwhile has noted is not taken out of its way.
    if (is_ours) {
      if (const auto ours = is_ours(); !ours) return fail(ours.error());
    }
    return news.turn();
  };
  const auto turned = co_await news_disk.run(work);
  if (!turned || !*turned) has_news = true;
  co_return turned.has_value();
}

Task<bool> Consumers::Impl::drop_news() {
  const std::function<Result<bool>()> work = [this] {
    const auto dropped = news.drop();
    return dropped ? Result<bool>(true) : Result<bool>(fail(dropped.error()));
  };
  const auto dropped = co_await news_disk.run(work);
  if (!dropped) has_news = true;
  co_return dropped.has_value();
}

}  // namespace keyfs
