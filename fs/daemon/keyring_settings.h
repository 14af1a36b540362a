// What a configuration makes of the keyring's options.
//
// Thread-safety: a plain function. Blocking: never. Errors: none.
#pragma once

#include "fs/daemon/configuration.h"
#include "fs/keys/keyring.h"

namespace keyfs {

KeyringOptions keyring_options(const Configuration& configuration);

}  // namespace keyfs
