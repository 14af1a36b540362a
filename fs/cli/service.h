// A mounted keyfs: every part of it, built in order, and what runs beside the file system.
//
// Thread-safety: build() and run() on one thread, which is not the loop's; the service runs the
// loop on a thread of its own. Ownership: owns all parts. Blocking: build() reads files and opens
// the store; run() until it is unmounted. Errors: kInvalid for the configuration or the mount
// point, kUnavailable for the system.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "fs/cli/command_line.h"

namespace keyfs {

struct ServiceOptions {
  CommonArguments common;
  MountArguments mount;      // the mount point is absolute
  bool log_to_file = false;  // else to standard error
};

struct ServiceHooks {
  std::function<void()> on_ready;
  std::function<void()> on_reloading;
  std::function<void()> on_reloaded;
  std::function<void()> on_stopping;
};

class Service {
 public:
  // Mounted when it returns, and not yet served.
  static Result<std::unique_ptr<Service>> build(const ServiceOptions& options);
  ~Service();
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;

  const std::string& mountpoint() const;  // absolute
  Result<void> run(const ServiceHooks& hooks);
  void stop();  // from any thread

 private:
  struct Parts;
  explicit Service(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace keyfs
