// The signing keys of one configuration, with everything that they stand on, and the thread that
// they work on.
//
// Thread-safety: serve() from any thread. Ownership: shared by the calls that begin while it is the
// current one; the last one to let go destroys it. Blocking: build() while it asks KMS or the
// store, until `deadline`; the destructor until the thread has ended its turn: calls that still run
// are then answered kUnavailable. Errors: build(): kInvalid for the configuration, otherwise what
// keeps the keys from being loaded.
#pragma once

#include <memory>
#include <string>

#include "base/clock.h"
#include "base/http.h"
#include "base/log.h"
#include "base/result.h"
#include "fs/spire/key_service.h"
#include "fs/spire/plugin_settings.h"

namespace keyfs {

class KeySet {
 public:
  static Result<std::shared_ptr<KeySet>> build(SpireSettings settings, CurlGlobal& curl,
                                               const Clock& clock, Log& log, TimePoint deadline);
  ~KeySet();
  KeySet(const KeySet&) = delete;
  KeySet& operator=(const KeySet&) = delete;

  // Answers `call` in time. A caller that goes away ends its task.
  void serve(RpcCallPtr call, KeyMethod method, std::string request);

 private:
  struct Impl;
  explicit KeySet(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace keyfs
