// The parsed command line (CLI11). Only the words themselves are checked here.
//
// Thread-safety: plain values. Blocking: never. Errors: only parse_command_line()'s.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "base/result.h"
#include "fs/daemon/configuration.h"

namespace keyfs {

// Which configuration, and how to answer. Common to all commands.
struct CommonArguments : ConfigurationSource {
  bool json = false;
};

struct MountArguments {
  std::string mountpoint;
  std::string options;  // as after -o, comma separated
  bool foreground = false;
};
struct CheckArguments {
  bool create_table = false;
  bool accept_store = false;
};
struct ExplainArguments {
  std::string id;    // empty: show the configuration in force
  std::string user;  // name or number; empty: the caller
};
struct ListArguments {
  std::string glob;  // empty: all
};
struct DescribeArguments {
  std::vector<std::string> ids;
};
struct CreateArguments {
  std::vector<std::string> ids;
  uint32_t bytes = 0;  // 0: from the configuration
};
struct SetStateArguments {
  enum class Verb { kDisable, kEnable, kDelete } verb = Verb::kDisable;
  bool yes = false;  // kDelete: confirmed
  std::vector<std::string> ids;
};
struct RotateArguments {
  std::vector<std::string> ids;
  bool hold = false;  // made and tested, not made current
  std::string token;  // empty: this host keeps one until the rotation is done
  bool wait = false;  // until the consumers are told
};
struct PromoteArguments {
  std::string id;
  uint32_t version = 0;
  bool wait = false;  // until the consumers are told
};
struct RetireArguments {
  std::string id;
  uint32_t below = 0;
};
struct DestroyArguments {
  std::string id;
  std::vector<uint32_t> versions;
  bool yes = false;  // confirmed
};
struct HealArguments {
  std::vector<std::string> ids;  // empty: all
  bool adopt = false;
};
struct RewrapArguments {
  std::vector<std::string> ids;  // empty: all
  std::string older_than;        // a date or a time; empty: none
  std::string drop;              // a region; empty: none
  bool dry_run = false;
};
struct RotationArguments {
  enum class Verb { kList, kShow, kRetry, kDone, kStop } verb = Verb::kList;
  std::string run;       // kShow, empty: the newest
  std::string consumer;  // kDone, empty: that `host` was not heard from
  std::string host;      // kDone, empty: every one
  uint32_t limit = 20;   // kList
  bool watch = false;    // kShow, kRetry: until the run has ended
  bool all = false;      // kShow: also the consumers that are well
};
struct SignArguments {
  enum class Verb { kCreate, kList, kDescribe, kRotate, kDisable, kEnable, kDelete };
  Verb verb = Verb::kList;
  std::vector<std::string> ids;  // kList: none
  std::string type;              // kCreate; kRotate, empty: as before
  std::string custody;           // kCreate; empty: as [signing] says
  bool yes = false;              // kDelete: confirmed
};
struct StatusArguments {
  std::string mountpoint;  // empty: every keyfs mounted on this host
};
struct VersionArguments {};
struct HelpArguments {
  std::string text;
};

struct CommandLine {
  CommonArguments common;
  std::variant<HelpArguments, VersionArguments, MountArguments, CheckArguments, ExplainArguments,
               ListArguments, DescribeArguments, CreateArguments, SetStateArguments,
               RotateArguments, PromoteArguments, RetireArguments, DestroyArguments, HealArguments,
               RewrapArguments, RotationArguments, SignArguments, StatusArguments>
      command;
};

// kInvalid, one line for the user, for what is not a command line. Asking for help is a command
// too.
Result<CommandLine> parse_command_line(int argc, const char* const* argv);

}  // namespace keyfs
