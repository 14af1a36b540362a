#include "fs/rotation/feed.h"

#include <algorithm>
#include <utility>

#include "base/race.h"

namespace keyfs {

BoardFeed::BoardFeed(Loop& loop, Board& board, Log& log, RandomFraction random,
                     RecordsListener* records, FeedOptions options)
    : loop_(loop),
      board_(board),
      log_(log),
      random_(std::move(random)),
      records_(records),
      options_(options),
      wake_(loop) {}

Task<void> BoardFeed::run() {
  TaskGroup<bool> tasks(loop_);
  tasks.start(poll());
  if (board_.can_watch()) tasks.start(watch());
  while (!tasks.empty()) co_await tasks.next();
}

Task<bool> BoardFeed::poll() {
  for (;;) {
    const auto looked = co_await look_once();
    if (!looked && !silent_) {
      log_.warn("the board is silent: this host does not hear of changed keys and rotations",
                {{"reason", looked.error().message}});
    }
    if (looked && silent_) log_.info("the board can be read again");
    silent_ = !looked;
    co_await wake_.wait(loop_.now() + scaled(options_.poll_every, 0.8 + 0.4 * random_()));
  }
}

Task<bool> BoardFeed::watch() {
  co_await board_.watch(*this);
  co_return true;
}

Task<Result<void>> BoardFeed::look_once() {
  auto there = co_await board_.peek(pulse_name(options_.shard), loop_.now() + options_.call);
  if (!there) co_return fail(there.error());
  // None yet, or one that may be older than what was seen: nothing is to be learned from it.
  if (!*there) co_return Result<void>();
  auto pulse = parse_pulse((*there)->text);
  if (!pulse) co_return fail(pulse.error());
  if (is_older(*pulse)) {
    auto surely = co_await board_.get(pulse_name(options_.shard), loop_.now() + options_.call);
    if (!surely) co_return fail(surely.error());
    if (!*surely) co_return Result<void>();
    pulse = parse_pulse((*surely)->text);
    if (!pulse) co_return fail(pulse.error());
  }
  const bool another = pulse_ && (pulse_->place.life != pulse->place.life || is_older(*pulse));
  if (records_ != nullptr && (!pulse_ || another || pulse_->place != pulse->place)) {
    // What was read before the first pulse was seen may have changed since.
    const auto changed = pulse_ && !another ? pulse->since(pulse_->place) : std::nullopt;
    if (changed) {
      records_->on_records(*changed);
    } else {
      records_->on_records_gap();
    }
  }
  pulse_ = std::move(*pulse);
  if (another) {
    log_.warn("the board is another one than before: this host lists itself there again");
    for (FeedFollower* follower : followers_) follower->on_new_board();
  }
  for (FeedFollower* follower : followers_) follower->on_pulse(*pulse_);
  co_return Result<void>();
}

bool BoardFeed::is_older(const Pulse& pulse) const {
  return pulse_ && pulse_->place.life == pulse.place.life &&
         (pulse.place.serial < pulse_->place.serial || pulse.tickets < pulse_->tickets);
}

void BoardFeed::on_change(const std::string& name) {
  if (name == pulse_name(options_.shard)) wake_.set();
  for (FeedFollower* follower : followers_) follower->on_board(name);
}

void BoardFeed::on_gap() {
  wake_.set();
  for (FeedFollower* follower : followers_) follower->on_board("");
}

}  // namespace keyfs
