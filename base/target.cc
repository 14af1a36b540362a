#include "base/target.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;

bool worth_moving_ahead(Duration mine, Duration of_the_one_before) {
  return of_the_one_before > mine + mine / 2 + 2ms;
}

bool worth_keeping_ahead(Duration mine, Duration of_the_one_configured_before) {
  return of_the_one_configured_before > mine + mine / 5 + 1ms;
}

}  // namespace

void Target::failed(const Error& error, Duration latency) {
  // A caller who came with little time left says nothing about the target.
  const bool too_early = error.code == Code::kTimeout && latency < health.hedge_delay();
  if (!too_early) health.failed(error);
}

void Target::gave_up(Duration waited) {
  if (waited >= health.hedge_delay()) health.gave_up(waited);
}

std::optional<Error> Target::ask_for_token() {
  if (health.take_token()) return std::nullopt;
  const auto& last = health.last_error();
  const bool about_the_target =
      last && last->code != Code::kCorrupt && last->code != Code::kInvalid;
  Error error(about_the_target ? last->code : Code::kUnavailable,
              "circuit open: retry budget used up");
  if (last) error.message += " (" + last->message + ")";
  return error;
}

std::shared_ptr<FairTurns> turns_for(Loop& loop, size_t calls_at_once) {
  return std::make_shared<FairTurns>(loop, calls_at_once, FairTurns::Shares::kNone);
}

bool should_swap(const Target& first, const Target& second) {
  const auto one = first.health.expected();
  const auto two = second.health.expected();
  if (!one || !two) return second.index < first.index;
  if (first.index < second.index) return worth_moving_ahead(*two, *one);
  return !worth_keeping_ahead(*one, *two);
}

}  // namespace keyfs
