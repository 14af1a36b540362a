// What `keyfs check` tells of [consumer ...] sections: whether their hooks could be run here. None is
// run.
//
// Thread-safety: a plain function. Blocking: on the disks that the programs' paths lead through.
// Errors: in the items, which are not essential: keys are served without hooks.
#pragma once

#include <string>
#include <vector>

#include "base/check_item.h"
#include "fs/rotation/consumer_rules.h"

namespace keyfs {

struct HookPlaces {
  std::string systemctl = "/usr/bin/systemctl";
  std::string systemd = "/run/systemd/system";  // is there where systemd runs: sd_booted(3)
};

// None without such a section.
std::vector<CheckItem> check_consumers(const ConsumerRules& rules, const HookPlaces& places = {});

}  // namespace keyfs
