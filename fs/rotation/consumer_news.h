// What was learned of consumers since their list was written, a line each, so that a daemon that is
// killed has lost no more of it than what came within the last millisecond.
//
//   consumers.json     the list, as of a moment (fs/rotation/consumer_file.h)
//   consumers.new.1    lines that are older than the list that is being written now
//   consumers.new      lines that came since
//
// The first line of each life of the daemon is a header:
//   {"keyfs_consumers_new": 1, "epoch": "BOOT_ID pid:[N]", "list": true}    "list": there is one, too
// Others are programs as in the list, each with one key. Read in that order, a line says the same
// however often it is read, so that none must be taken out in time, only at some time.
//
// Nothing is synced: what was written survives the daemon, and when the machine dies, its programs
// die with it. So what a power failure leaves at the end (a line that is cut short, or zeros) is left
// out where the machine was started since; any other damage is told, that of the end as well: a
// daemon that is killed leaves whole lines, but for one that was in the middle of a write of several
// pages, and then programs that it knew are missing, too.
//
// Thread-safety: none; one thread at a time. Ownership: of its open file. Blocking: all of it, on the
// disk. Errors: those of base/private_file.h and base/line_file.h; kCorrupt for damage.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/line_file.h"
#include "base/result.h"
#include "fs/rotation/consumer_table.h"

namespace keyfs {

// Of a file: then nothing is added to it any more, until the list is written.
inline constexpr size_t kMaxConsumerNews = size_t{8} << 20;

std::string news_header(const std::string& epoch, bool list);
std::string news_line(const ConsumerTable::Program& program);

struct NewsText {
  std::vector<ConsumerTable::Program> programs;  // in their order
  bool list = false;                             // somewhere it says that there is a list
  size_t good = 0;                               // bytes
  size_t cut = 0;                                // that follow them, and were left out
  std::string damage{};                          // why they are missed; empty: they are not
};
// Processes only of this epoch.
Result<NewsText> parse_news(std::string_view text, const std::string& epoch);

class ConsumerNews {
 public:
  // `list`: the path of the list.
  explicit ConsumerNews(const std::string& list);

  // Oldest first. What a power failure has cut short in them is cut off.
  const std::vector<std::string>& paths() const { return paths_; }
  Result<std::optional<NewsText>> read(const std::string& path, const std::string& epoch);

  // `header`: if this life has not yet written to the file. Whole lines: all of them, or none.
  Result<void> append(const std::string& header, const std::string& lines);
  // Before a list is made: what was appended so far is older than it. False: there is something
  // older still, of a list that was not written, so that another turn is due after drop().
  Result<bool> turn();
  // Once the list is there: of what is older.
  Result<void> drop();

 private:
  const std::string before_;
  const std::string now_;
  const std::vector<std::string> paths_;
  std::optional<LineFile> file_;
  size_t size_ = 0;
};

}  // namespace keyfs
