#include "fs/cli/check_consumers.h"

#include <unistd.h>

#include "base/file.h"
#include "base/http.h"
#include "fs/rotation/trusted_program.h"

namespace keyfs {
namespace {

CheckItem program(const ConsumerRule& rule) {
  CheckItem item{"consumer " + rule.name, true, rule.refresh.text, "", false};
  if (const auto trusted = check_trusted_program(rule.refresh.target); !trusted) {
    item.ok = false;
    item.detail = trusted.error().message;
    item.remedy = "until then this consumer fails in each rotation, and is told of no new version";
  }
  return item;
}

CheckItem unit(const ConsumerRule& rule, const HookPlaces& places) {
  CheckItem item{"consumer " + rule.name, true, rule.refresh.text, "", false};
  if (::access(places.systemctl.c_str(), X_OK) != 0) {
    item.detail = os_error(places.systemctl, "cannot be run").message;
  } else if (::access(places.systemd.c_str(), F_OK) != 0) {
    item.detail = "systemd does not run here (" + places.systemd + " does not exist)";
  } else {
    return item;
  }
  item.ok = false;
  item.remedy = "refresh it by signal:, exec: or http:, or where systemd runs";
  return item;
}

}  // namespace

std::vector<CheckItem> check_consumers(const ConsumerRules& rules, const HookPlaces& places) {
  std::vector<CheckItem> items;
  for (const ConsumerRule& rule : rules.all()) {
    switch (rule.refresh.kind) {
      case RefreshKind::kExec:
        items.push_back(program(rule));
        break;
      case RefreshKind::kSystemd:
        items.push_back(unit(rule, places));
        break;
      case RefreshKind::kHttp:
        // Whoever knows the whole URL may be able to use it.
        items.push_back({"consumer " + rule.name, true,
                         "http:" + rule.refresh.verb + " " + host_of(rule.refresh.target), "",
                         false});
        break;
      case RefreshKind::kSignal:
      case RefreshKind::kWatch:
        // Only the time will tell.
        items.push_back({"consumer " + rule.name, true, rule.refresh.text, "", false});
        break;
    }
  }
  return items;
}

}  // namespace keyfs
