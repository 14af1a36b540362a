#include "fs/rotation/rotation.h"

#include <chrono>
#include <utility>

#include "base/race.h"
#include "store/board_marks.h"
#include "store/pulse.h"

namespace keyfs {
namespace {

using namespace std::chrono_literals;

RotationOptions consistent(RotationOptions options, const std::string& life) {
  options.agent.host = options.lock.host = options.runner.host = options.host;
  options.agent.life = options.lock.life = life;
  options.agent.poll_every = options.feed.poll_every;
  options.feed.shard = pulse_shard(options.host, options.runner.pulse_shards);
  return options;
}

}  // namespace

Result<std::unique_ptr<Rotation>> Rotation::make(Loop& loop, Board& board, Log& log, Random& random,
                                                 RotationParts parts, RotationOptions options) {
  if (!is_host_name(options.host)) {
    return fail(Code::kInvalid, "this host's name cannot be used on the board");
  }
  const auto life = new_board_mark(random);
  if (!life) return fail(life.error());
  return std::unique_ptr<Rotation>(
      new Rotation(loop, board, log, random, parts, consistent(std::move(options), *life)));
}

Rotation::Rotation(Loop& loop, Board& board, Log& log, Random& random, RotationParts parts,
                   RotationOptions options)
    : loop_(loop),
      options_(std::move(options)),
      also_(parts.also),
      feed_(loop, board, log, random_fraction(random), parts.records, options_.feed),
      agent_(loop, board, log, parts.consumers, parts.keys, parts.refresher, agent_options()) {
  feed_.add(agent_);
  if (!options_.run) return;
  lock_.emplace(loop, board, log, random_fraction(random), options_.lock);
  runner_.emplace(loop, board, log, random, *lock_, parts.changer, parts.notices, options_.runner);
  lock_->set_host(agent_.host());
  runner_->set_host(agent_.host());
  feed_.add(*runner_);
  feed_.add(*this);
}

AgentOptions Rotation::agent_options() {
  AgentOptions options = options_.agent;
  options.on_identity = [this, told = options.on_identity](const std::string& host,
                                                           const HostIdentity& identity) {
    if (lock_) lock_->set_host(host);
    if (runner_) runner_->set_host(host);
    if (told) told(host, identity);
  };
  return options;
}

Task<void> Rotation::run() {
  TaskGroup<bool> tasks(loop_);
  tasks.start(feed_on());
  tasks.start(serve());
  if (lock_) tasks.start(compete());
  while (!tasks.empty()) co_await tasks.next();
}

Task<bool> Rotation::feed_on() {
  co_await feed_.run();
  co_return true;
}

Task<bool> Rotation::serve() {
  co_await agent_.run();
  co_return true;
}

Task<bool> Rotation::compete() {
  // The holder that the board still names may be an earlier life of this daemon: what it did for all
  // must not wait for the next look of an idle candidate.
  lock_->on_alert(2 * options_.lock.take_over_after);
  co_await lock_->run([this] { return hold(); });
  co_return true;
}

Task<bool> Rotation::hold() {
  TaskGroup<bool> tasks(loop_);
  tasks.start(runner_->work());
  if (also_) tasks.start(also_());
  while (!tasks.empty()) co_await tasks.next();
  co_return true;
}

// While there is something to do, the holder is watched closely.
void Rotation::on_pulse(const Pulse& pulse) {
  const bool more = tickets_ && tickets_ != pulse.tickets;  // at the start compete() is alert
  tickets_ = pulse.tickets;
  if (!more && pulse.run.empty()) return;
  lock_->on_alert(10 * options_.runner.settle + 2 * options_.feed.poll_every + 2min);
}

void Rotation::on_board(const std::string& /*name*/) {}

}  // namespace keyfs
