// What `keyfs check` tells of webhook_file: whether it can be used. Nothing is sent.
//
// Thread-safety: a plain function. Blocking: it reads the file. Errors: in the item, which is not
// essential: rotation works without its messages.
#pragma once

#include <string>

#include "base/check_item.h"
#include "base/secret.h"

namespace keyfs {

CheckItem check_webhook(SecretArena& arena, const std::string& file);

}  // namespace keyfs
