// What a command on keys starts with: the configuration, the parts that it names, and this host's
// memory.
//
// Thread-safety: one thread, which runs the loop inside run(). Ownership: owns all parts.
// Blocking: open() and run().
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "base/clock.h"
#include "base/http.h"
#include "base/log.h"
#include "base/result.h"
#include "fs/cli/command_line.h"
#include "fs/cli/output.h"
#include "fs/daemon/backends.h"
#include "fs/daemon/configuration.h"
#include "fs/keys/replica_reader.h"
#include "fs/keys/replica_writer.h"
#include "fs/upkeep/told_store.h"

namespace keyfs {

// Discards every line: commands report errors in their answer.
class SilentSink final : public LogSink {
 public:
  void write(LogLevel, std::string_view) noexcept override {}
  uint64_t lost() const noexcept override { return 0; }
};

// What a command may create. A command that creates no key creates nothing: a mistyped path must
// not become an empty store.
enum class Makes {
  kNothing,
  kDatabase,  // for [store] type = sqlite
  kAll,       // and everything that --embedded needs
};

// kDenied if `path` does not exist and would be created in a directory that belongs to neither this
// user nor root: a daemon that runs as the directory's owner would refuse what root creates there.
Result<void> check_whose(const std::string& path);

// For fs/keys/replica_writer.h. kDenied if this user has no access, or from check_whose();
// otherwise kUnavailable.
Result<void> make_state_dir(const std::string& path);

// Whether root has created state_dir, which a daemon that runs as another user could not use: a
// command cannot know that user, so it says what to do. Blocking: stat(2).
class RootsStateDir {
 public:
  // Before the command does anything. `path` is state_dir; empty: it is never told.
  explicit RootsStateDir(std::string path);
  // Afterwards; "" when there is nothing to tell.
  std::string told() const;

 private:
  std::string path_;  // empty: it was there, or this is not root
};

// load_configuration(); ends the process when a disk does not answer in time (fs/cli/overdue.h).
Result<Configuration> load_configuration(const CommonArguments& common, Output& output);

struct CommandContext {
  // Destroys a context, or abandons it if that takes too long: a thread that reads from a hanging
  // disk would hold up a finished command forever. The program then exits with _exit()
  // (end_process()).
  struct TakeDown {
    static constexpr std::chrono::seconds kPatience{2};
    void operator()(CommandContext* context) const noexcept;
  };
  using Owner = std::unique_ptr<CommandContext, TakeDown>;

  CurlGlobal curl;
  SystemClock clock;
  SilentSink sink;
  Log log{sink, clock};
  Configuration configuration;
  std::unique_ptr<Backends> backends;
  // Of the board, once it was asked in vain: it is not asked again.
  std::optional<Error> board_trouble;

  // Reads files and asks nobody over the network; ends the process when a disk does not answer in
  // time (fs/cli/overdue.h). kInvalid for the configuration, otherwise as Backends::open().
  static Result<Owner> open(const CommonArguments& common, Output& output,
                            Makes makes = Makes::kNothing);
  // This host's memory of records, for a command to ask and to write. Of the context, so that a
  // state_dir that begins to hang does not hold up the command's end.
  ReplicaReader& memory();
  ReplicaWriter& notebook();
  // The store for commands that change what hosts serve. What they change is told by tell_others().
  Store& told_store();
  // Tells other hosts what was changed, if they would not hear of it soon otherwise; what could not
  // be told is told with the next. `last`: a warning if it can't be told; that it was changed stays
  // true.
  void tell_others(bool last, Output& output);
  // For a message of board_trouble: when others hear of what was changed, which tell_others() does
  // not say once more then. Empty if they hear of it all the same.
  std::string when_heard();
  // For one key, from now on: open_deadline.
  TimePoint deadline() const { return clock.now() + configuration.settings.open_deadline; }
  // Blocks until the task is done.
  template <class T>
  T run(Task<T> task) {
    return backends->loop().run_task(std::move(task));
  }

 private:
  explicit CommandContext(Configuration loaded) : configuration(std::move(loaded)) {}

  // After `backends`, whose loop they use.
  std::optional<ReplicaReader> memory_;
  std::optional<ReplicaWriter> notebook_;
  std::optional<ToldStore> told_store_;
  bool untold_ = false;  // others could not be told, and are told at the end only
  bool said_when_ = false;
};

}  // namespace keyfs
