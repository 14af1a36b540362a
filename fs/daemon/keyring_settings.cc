#include "fs/daemon/keyring_settings.h"

#include "fs/daemon/backends.h"

namespace keyfs {

KeyringOptions keyring_options(const Configuration& configuration) {
  const Settings& settings = configuration.settings;
  KeyringOptions options;
  options.key_bytes = settings.key_bytes;
  options.open_deadline = settings.open_deadline;
  options.waiting_opens = settings.waiting_opens;
  options.creates_per_second = settings.creates_per_second;
  if (all_local(configuration.file)) {
    // An SQLite file does one thing at a time: more at once would only wait there, out of turn.
    options.fetches_at_once = 8;
    options.creations_at_once = 4;
  }
  options.creator = host_name();
  return options;
}

}  // namespace keyfs
