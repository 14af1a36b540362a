// Which daemon was started last with an instance (fs/daemon/instance_file.h), kept beside it in
// state_dir as the file INSTANCE.daemon.
//
// A daemon whose mount was taken away while files there were open (umount -l) serves these until
// they are closed. Another that is mounted there meanwhile has the same state_dir, and is no copy of
// it elsewhere: it follows the first one, which learns that here.
//
//   4711 1234567 BOOT_ID pid:[4026531836]          the process, and what its number depends on
//
// Thread-safety: successor() from any thread, also of copies; several daemons may take it at once, of which the last
// has it. Blocking: on the disk of state_dir; take() also until the former daemon has ended, for so
// long at most. Errors: none; what cannot be learned or written is as if nobody else were there.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "base/clock.h"
#include "fs/rotation/process_id.h"

namespace keyfs {

class InstanceHolder {
 public:
  explicit InstanceHolder(std::string file);  // for this process
  // `epoch`: process_epoch().
  InstanceHolder(std::string file, ProcessId self, std::string epoch);

  // It is this one's from now on. Waits before that for one that is about to end: it has things to
  // save. The former daemon that runs still; nullopt: none does.
  std::optional<pid_t> take(Duration patience);
  // It is the former's again, which runs still: this one has not served anything. Not if another has
  // it by now.
  void give_back() const;
  // Whoever of this machine has taken it since; it may have ended by now.
  std::optional<pid_t> successor() const;

 private:
  std::optional<ProcessId> last() const;
  std::optional<ProcessId> other() const;
  void write(const ProcessId& process) const;

  const std::string file_;
  const ProcessId self_;
  const std::string epoch_;
  std::optional<ProcessId> former_;
};

}  // namespace keyfs
