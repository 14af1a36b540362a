#include "fs/cli/handed_over.h"

namespace keyfs {

bool is_settled(const TicketFate& fate) {
  switch (fate.state) {
    case TicketFate::State::kWaiting:
    case TicketFate::State::kOverdue:
      return false;
    case TicketFate::State::kInRun:
      return fate.key == RotatedKey::State::kCurrent || fate.key == RotatedKey::State::kRefused;
    case TicketFate::State::kGone:
      break;
  }
  return true;
}

Result<void> take_up(RotationToken& token, const std::optional<TicketFate>& fate, Random& random) {
  return fate && is_settled(*fate) ? token.renew(random) : token.take_back();
}

}  // namespace keyfs
